"""The names of goals and the lookup, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goals.matching import EventName, KnownGoal, LookupResult, list_lookup_names, look_up, match_goal
from goals.naming import TEMPLATE, list_conventional_names, name_goal


@pytest.mark.promise("K-05", "K-06")
@pytest.mark.parametrize(
    ("type_", "name", "expected"),
    [
        ("track", "Clicked on Checkout", b"SegmentIO track \xe2\x80\x93 Clicked on Checkout"),
        ("page", "Checkout", b"SegmentIO page \xe2\x80\x93 Checkout"),
        ("screen", "Cart", b"SegmentIO screen \xe2\x80\x93 Cart"),
        ("track", "{name} {type} %s", b"SegmentIO track \xe2\x80\x93 {name} {type} %s"),
    ],
)
def test_name__by_the_convention__is_these_bytes(type_: str, name: str, expected: bytes) -> None:
    assert name_goal(type_, name).encode() == expected


def test_name__by_a_sites_template__is_first_of_the_spellings() -> None:
    names = list_conventional_names("track", "Buy", template="{name} ({type})")

    assert names[0] == "Buy (track)"
    assert names[1:] == (
        "SegmentIO track – Buy",
        "SegmentIO track - Buy",
        "SegmentIO track — Buy",
        "Segment.io – Buy",
    )


@given(st.text(min_size=1), st.text(min_size=1), st.sampled_from(["track", "page", "screen"]))
@pytest.mark.promise("K-20")
def test_name__of_different_events__differs(one: str, other: str, type_: str) -> None:
    assert (name_goal(type_, one) == name_goal(type_, other)) is (one == other)


BUY = EventName("track", "Buy")
SPELLINGS = ["SegmentIO track – Buy", "SegmentIO track - Buy", "SegmentIO track — Buy", "Segment.io – Buy"]


@pytest.mark.promise("K-02", "K-07", "K-14")
@pytest.mark.parametrize(
    ("bound", "names", "expected"),
    [
        # Everything there: the binding wins, then each step in turn when those before it are gone.
        ("Elsewhere", ["Buy", *SPELLINGS], "Elsewhere"),
        (None, ["Buy", *SPELLINGS], "Buy"),
        (None, SPELLINGS, SPELLINGS[0]),
        (None, SPELLINGS[1:], SPELLINGS[1]),
        (None, SPELLINGS[2:], SPELLINGS[2]),
        (None, SPELLINGS[3:], SPELLINGS[3]),
        (None, ["buy", "Buy ", "SegmentIO page – Buy", "SegmentIO track–Buy"], None),
        (None, [], None),
    ],
)
def test_match__of_several_goals__takes_the_first_step_that_finds_one(
    bound: str | None, names: list[str], expected: str | None
) -> None:
    goals = {
        name: KnownGoal(number, name, is_named_by_event=False, is_archived=False) for number, name in enumerate(names)
    }
    bindings = {BUY: KnownGoal(99, bound, is_named_by_event=True, is_archived=False)} if bound else {}

    found = match_goal(BUY, bindings=bindings, goals=goals, template=TEMPLATE)

    assert (found.name if found else None) == expected


@pytest.mark.promise("K-14")
def test_match__bare_name_that_an_event_gave__is_passed_over() -> None:
    goals = {"Buy": KnownGoal(1, "Buy", is_named_by_event=True, is_archived=False)}

    assert match_goal(BUY, bindings={}, goals=goals, template=TEMPLATE) is None


def test_names_to_look_up__of_a_batch__are_sorted_and_each_once() -> None:
    names = list_lookup_names([BUY, BUY, EventName("page", "Buy")], template=TEMPLATE)

    assert names == sorted(set(names))
    assert len(names) == 1 + 1 + 2 * 3  # the bare name, `Segment.io – Buy`, three spellings of each type


@pytest.mark.promise("N-04")
@pytest.mark.parametrize(
    ("bound", "names", "expected"),
    [
        ("Elsewhere", ["Buy"], [(None, LookupResult.MATCH)]),
        (None, ["Buy"], [(None, LookupResult.NOTHING), ("Buy", LookupResult.MATCH)]),
        (
            None,
            [SPELLINGS[1]],
            [
                (None, LookupResult.NOTHING),
                ("Buy", LookupResult.NOTHING),
                (SPELLINGS[0], LookupResult.NOTHING),
                (SPELLINGS[1], LookupResult.MATCH),
            ],
        ),
        (
            None,
            [],
            [
                (None, LookupResult.NOTHING),
                ("Buy", LookupResult.NOTHING),
                *((name, LookupResult.NOTHING) for name in SPELLINGS),
            ],
        ),
    ],
)
def test_look_up__until_something_matches__tells_each_step(
    bound: str | None, names: list[str], expected: list[tuple[str | None, LookupResult]]
) -> None:
    goals = {
        name: KnownGoal(number, name, is_named_by_event=False, is_archived=False) for number, name in enumerate(names)
    }
    bindings = {BUY: KnownGoal(99, bound, is_named_by_event=True, is_archived=False)} if bound else {}

    steps = look_up(BUY, bindings=bindings, goals=goals, template=TEMPLATE)

    assert [(step.name, step.result) for step in steps] == expected


def test_look_up__bare_name_that_an_event_gave__says_that_it_was_there() -> None:
    goals = {"Buy": KnownGoal(1, "Buy", is_named_by_event=True, is_archived=False)}

    steps = list(look_up(BUY, bindings={}, goals=goals, template=TEMPLATE))

    assert (steps[1].result, steps[1].goal) == (LookupResult.NAMED_BY_EVENT, goals["Buy"])
