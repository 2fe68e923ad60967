"""Laws of registers: any order, repetition and grouping of changes gives one defined result."""

import copy
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts import merge

values = st.sampled_from(
    [None, True, False, 1, 1.0, 0, -2, 1.5, "", "a", "1", "é", [], [1], [True], {"b": 1, "a": None}]
)
stamps = st.tuples(st.integers(0, 2), st.integers(0, 1), st.sampled_from(["", "m1", "m2", "é"]))
registers = st.builds(lambda stamp, value: [*stamp, value], stamps, values)
links = st.builds(lambda stamp, code: [*stamp, code], stamps, st.sampled_from(["v1", "v2", "é", "😀"]))


def order(register: list[Any]) -> tuple[Any, ...]:
    """(occurred_at, position, messageId, canonical JSON), spelled out."""
    return *register[:3], json.dumps(register[3], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@given(said=st.lists(registers, min_size=1, max_size=8), chooser=st.randoms())
@pytest.mark.promise("N-10", "K-71", "K-72", "K-64")
def test_latest__in_any_order_and_repetition__is_the_greatest(said: list[list[Any]], chooser: random.Random) -> None:
    known: merge.Registers = {}
    for register in chooser.sample(said * 2, k=len(said) * 2):
        merge.set_latest(known, "x", register)
        known = json.loads(json.dumps(known))  # stored and read again

    assert order(known["x"]) == max(map(order, said))


@given(said=st.lists(links, min_size=1, max_size=8), chooser=st.randoms())
@pytest.mark.promise("N-09", "K-51")
def test_first_visitor__in_any_order_and_repetition__is_the_smallest_time_then_bytes(
    said: list[list[Any]], chooser: random.Random
) -> None:
    known: merge.Registers = {}
    for register in chooser.sample(said * 2, k=len(said) * 2):
        merge.set_earliest(known, "visitor", register)

    assert known["visitor"] == min(said, key=lambda link: (link[0], link[3].encode(), *link[1:3]))


@given(
    identities=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "traits": st.dictionaries(st.sampled_from("ab"), registers, max_size=2),
                "personas": st.dictionaries(st.sampled_from("ab"), registers, max_size=2),
                "group": registers,
            },
        ),
        max_size=4,
    ),
    chooser=st.randoms(),
)
@pytest.mark.promise("N-10", "K-53")
def test_join__of_identities__is_the_same_in_any_grouping(
    identities: list[merge.Registers], chooser: random.Random
) -> None:
    before = copy.deepcopy(identities)
    whole = merge.join(identities)
    in_steps: merge.Registers = {}
    for identity in chooser.sample(identities * 2, k=len(identities) * 2):
        in_steps = merge.join([in_steps, identity])

    assert merge.canonical(whole) == merge.canonical(in_steps)
    assert merge.canonical(identities) == merge.canonical(before)


names = st.sampled_from("abcdef")


@given(
    events=st.lists(st.dictionaries(names, registers, min_size=1, max_size=6), min_size=1, max_size=8),
    most=st.integers(1, 4),
    chooser=st.randoms(),
)
@pytest.mark.promise("N-10")
def test_map__of_more_names_than_it_keeps__is_those_said_last_in_any_order_and_repetition(
    events: list[dict[str, list[Any]]], most: int, chooser: random.Random
) -> None:
    known: merge.Registers = {}
    left_out = set[str]()
    for said in chooser.sample(events * 2, k=len(events) * 2):
        move, beyond, _ = merge.set_all_in_map(known, "traits", said, most=most)
        assert beyond or move or not (said.keys() - known["traits"].keys())
        left_out |= beyond
        known = json.loads(json.dumps(known))  # stored and read again

    latest: dict[str, list[Any]] = {}
    for said in events:
        for name, register in said.items():
            latest[name] = max(latest.get(name, register), register, key=order)
    ranked = sorted(latest, key=lambda name: (latest[name][:3], name), reverse=True)
    assert merge.canonical(known["traits"]) == merge.canonical({name: latest[name] for name in ranked[:most]})
    if len(ranked) > most:
        assert known["left_out"] == {"traits": latest[ranked[most]][0]}
        assert left_out >= set(ranked[most:])
    else:
        assert "left_out" not in known
        assert not left_out
    for said in events:
        assert merge.not_joined({"traits": said}, known) == [
            f"traits.{name}"
            for name, register in said.items()
            if name in ranked[:most] and contradicts(register, latest[name])
        ]


def contradicts(register: list[Any], latest: list[Any]) -> bool:
    """Return whether one message says two things."""
    return bool(register[2]) and register[:3] == latest[:3] and order(register) != order(latest)


@given(
    identities=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "traits": st.dictionaries(names, registers, max_size=6),
                "personas": st.dictionaries(names, registers, max_size=6),
            },
        ),
        max_size=5,
    ),
    chooser=st.randoms(),
)
@pytest.mark.promise("N-10", "K-53")
def test_join__of_more_names_than_are_kept__is_the_same_in_any_grouping(
    identities: list[merge.Registers], chooser: random.Random
) -> None:
    most = {"traits": 2, "personas": 3}
    whole = merge.join(identities, most=most)
    in_steps: merge.Registers = {}
    for identity in chooser.sample(identities * 2, k=len(identities) * 2):
        in_steps = merge.join([in_steps, merge.join([identity], most=most)], most=most)

    assert merge.canonical(whole) == merge.canonical(in_steps)
    assert all(len(whole.get(name, ())) <= most[name] for name in most)


def test_shrink__registers_of_a_version_without_limits__keeps_what_fits() -> None:
    long, fits = "x" * (merge.VALUE_BYTES - 1), "x" * (merge.VALUE_BYTES - 2)
    traits = {f"t{number}": [number, 0, "m", 1] for number in range(merge.MOST_VALUES["traits"])}
    known: merge.Registers = {
        "traits": {
            **traits,
            "long": [10**6, 0, "m", long],
            "fits": [10**6, 0, "m", fits],
            "n" * 256: [10**6, 0, "m", 1],
        },
        "group": [1, 0, "m", "g1"],
    }

    merge.shrink(known)

    assert known["traits"].keys() == {*traits, "long", "fits"} - {"t0", "t1"}
    assert known["traits"]["long"] == [10**6, 0, "m", None]
    assert known["traits"]["fits"] == [10**6, 0, "m", fits]
    assert known["left_out"] == {"traits": 1}
    assert known["group"] == [1, 0, "m", "g1"]


def test_move__same_value_said_later__changes_no_document() -> None:
    registers: merge.Registers = {}

    moves = [
        merge.set_latest(registers, "x", [at, 0, "", value]) for at, value in ((1, "a"), (2, "a"), (1, "b"), (3, "b"))
    ]

    assert moves == [merge.Move.CHANGED, merge.Move.RESTAMPED, merge.Move.STAYED, merge.Move.CHANGED]


@pytest.mark.promise("K-53")
@pytest.mark.parametrize(
    ("registers", "parent"),
    [
        ({}, None),
        ({"traits": {}, "visitor": [1, 0, "", "v1"]}, None),
        ({"anonymous": [1, 0, "", "a1"]}, ("anonymous", "a1")),
        ({"anonymous": [2, 0, "", "a1"], "user": [1, 0, "", "u1"]}, ("user", "u1")),
    ],
)
def test_parent__of_an_identity__is_its_user_else_its_anonymous_id(
    registers: merge.Registers, parent: tuple[str, str] | None
) -> None:
    assert merge.parent_of(registers) == parent


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0), ("1", 1), (None, False), ([], {})])
def test_latest__equal_stamps_with_look_alike_values__still_has_one_winner(one: Any, other: Any) -> None:
    forward: merge.Registers = {}
    backward: merge.Registers = {}
    for value in (one, other):
        merge.set_latest(forward, "x", [1, 0, "", value])
    for value in (other, one):
        merge.set_latest(backward, "x", [1, 0, "", value])

    assert merge.canonical(forward) == merge.canonical(backward)


def test_seen__of_several_identities__is_the_first_and_the_last() -> None:
    joined = merge.join([{"first_seen": 5, "last_seen": 6}, {"first_seen": 3}, {"last_seen": 9}, {}])

    assert (joined["first_seen"], joined["last_seen"]) == (3, 9)
    known = {"first_seen": 3, "last_seen": 9}
    merge.absorb(known, {"first_seen": 4, "last_seen": 8})
    assert known == {"first_seen": 3, "last_seen": 9}
    assert merge.not_joined({"first_seen": 2, "last_seen": 10}, known) == ["first_seen", "last_seen"]
    assert merge.not_joined({"first_seen": 4, "last_seen": 8}, known) == []
    assert merge.not_joined({"first_seen": 2, "last_seen": 10}, {}) == []  # of a version that kept neither
