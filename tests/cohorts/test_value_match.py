"""Comparison of values of any type with a text."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts.value_match import matches

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.promise("K-79")
@pytest.mark.parametrize(
    ("actual", "wanted", "expected"),
    [
        # Strings, exactly
        ("scale", "scale", True),
        ("scale", "Scale", False),
        ("scale", " scale", False),
        ("", "", True),
        ("3", "3", True),
        ("3", "3.0", False),
        ("true", "true", True),
        # Numbers, by value
        (3, "3", True),
        (3, "3.0", True),
        (3.0, "3", True),
        (3.0, "3.0", True),
        (3, "3e0", True),
        (3, "+3", True),
        (3, "4", False),
        (-3, "-3", True),
        (-0.0, "0", True),
        (0.1, "0.1", True),
        (0.1, "0.10", True),
        (0.5, ".5", True),
        (0.1 + 0.2, "0.3", False),
        (2**53 + 1, "9007199254740993", True),
        (2**53 + 1, "9007199254740992", False),
        (10**300, "1e300", True),
        (Decimal("0.1"), "0.1", True),
        (3, " 3", False),
        (3, "", False),
        (3, "three", False),
        (1000, "1_000", False),
        (3, "\u0663", False),
        (3, "1e99999999999999999999", False),
        (float("nan"), "nan", False),
        (float("inf"), "Infinity", False),
        # Booleans, true and false only
        (True, "true", True),
        (False, "false", True),
        (True, "false", False),
        (True, "True", False),
        (True, "yes", False),
        (True, "1", False),
        (False, "0", False),
        (1, "true", False),
        # Null, nothing
        (None, "", False),
        (None, "null", False),
        (None, "None", False),
        # A list, any element
        (["free", "scale"], "scale", True),
        ([1, "scale", True], "1.0", True),
        (["free"], "scale", False),
        ([], "", False),
        ([None], "null", False),
        ([["scale"]], "scale", False),
        # An object, nothing
        ({"name": "scale"}, "scale", False),
        ({}, "", False),
    ],
)
def test_matches__value_of_any_type__follows_the_rule(actual: Any, wanted: str, expected: bool) -> None:  # noqa: FBT001
    assert matches(actual, wanted) is expected


@pytest.mark.promise("K-79")
@given(JSON, st.text())
def test_matches__any_value_and_text__never_raises(actual: Any, wanted: str) -> None:
    assert matches(actual, wanted) in {True, False}


@pytest.mark.promise("K-79")
@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_matches__text_of_a_number__matches_it(number: float) -> None:
    assert matches(number, repr(number))
