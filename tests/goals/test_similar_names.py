"""Goals whose names mean the same (promise N-15)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goals.naming import TEMPLATE, list_conventional_names
from goals.similar_names import group_similar, normalise_name, split_name


@pytest.mark.promise("N-15")
@pytest.mark.parametrize(
    "names",
    [
        ["Sign Up", "sign_up", "Signed Up", "SignUp", "SIGN-UP", "signing up", "Ｓｉｇｎ Up"],
        ["Purchase", "purchased", "Purchases"],
        ["Time", "timed", "Timing"],
        ["Tap", "tapped"],
        ["Stop video", "Stopped Video", "stopping-video"],
        ["إضافة إلى السلة", "إضافة_إلى_السلة"],
    ],
)
def test_likeness__of_names_that_mean_the_same__is_one(names: list[str]) -> None:
    assert len({normalise_name(name) for name in names}) == 1


@pytest.mark.parametrize(
    "names",
    [
        ["Sign Up", "Sign In"],
        ["Order 1", "Order 2"],
        ["Bus", "Bu"],
        ["Sing", "S"],
        ["Need", "Ne"],
        ["Use", "Us"],
        ["We", "W"],
        ["Add", "Ad"],
        ["Card", "Car"],
    ],
)
def test_likeness__of_other_names__differs(names: list[str]) -> None:
    assert len({normalise_name(name) for name in names}) == len(names)


@given(st.text(max_size=40))
def test_likeness__of_any_text__is_one_of_its_cases(name: str) -> None:
    assert normalise_name(name.lower()) == normalise_name(f" {name.lower()}_")


@pytest.mark.parametrize("event_type", ["track", "page", "screen"])
def test_split_name__of_conventional_names__has_their_event(event_type: str) -> None:
    for name in list_conventional_names(event_type, "Buy"):
        assert split_name(name, template=TEMPLATE) in {(event_type, "Buy"), ("", "Buy")}


@pytest.mark.promise("N-15")
def test_group_alike__of_goals__keeps_types_apart() -> None:
    names = [
        (1, "SegmentIO track – Sign Up"),
        (2, "SegmentIO track – sign_up"),
        (3, "SegmentIO page – Sign Up"),
        (4, "Other"),
        (5, "–"),
        (6, "…"),
    ]
    assert group_similar(names, template=TEMPLATE) == [[1, 2]]


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["Signed Up", "SegmentIO track – Signed Up"], [[0, 1]]),
        (["SegmentIO page – Sign Up", "sign_up", "SegmentIO track – Sign Up"], [[1, 2]]),
        (["SegmentIO screen – Sign Up", "Signed Up"], [[0, 1]]),
        (["Signed Up", "sign_up"], [[0, 1]]),
    ],
)
def test_group_similar__of_names_without_type__joins_those_with_one(names: list[str], groups: list[list[int]]) -> None:
    assert group_similar(enumerate(names), template=TEMPLATE) == groups
