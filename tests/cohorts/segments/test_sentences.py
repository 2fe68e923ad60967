"""Conditions in words."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from cohorts.segments.conditions import Conditions, read_conditions
from cohorts.segments.sentences import ReferenceNames, describe, describe_conditions
from tests.cohorts.segments.strategies import groups

NAMES = ReferenceNames(goals={1: "Buy"}, sources={1: "Shop"}, segments={1: "VIPs"}, custom_data={1: "plan"})


@pytest.mark.parametrize(
    ("condition", "words", "negated"),
    [
        (
            {"on": "trait", "path": ["address", "city"], "test": {"type": "text", "texts": ["Bern", "Basel"]}},
            "trait address.city is “Bern” or “Basel”",
            "trait address.city is not “Bern” or “Basel”, or is missing",
        ),
        (
            {
                "on": "groupTrait",
                "path": ["size"],
                "test": {"type": "number", "how": "between", "number": 5, "most": 9},
            },
            "trait size of the group is between 5 and 9",
            "trait size of the group is not between 5 and 9, or is missing",
        ),
        (
            {"on": "trait", "path": ["plan"], "test": {"type": "any"}},
            "trait plan is there",
            "trait plan is missing",
        ),
        (
            {"on": "customData", "index": 1, "test": {"type": "boolean", "isTrue": True}},
            "custom data “plan” is true",
            "custom data “plan” is not true, or is missing",
        ),
        (
            {"on": "trait", "path": ["at"], "test": {"type": "date", "how": "within", "days": 30.0}},
            "trait at is in the last 30 days",
            "trait at is not in the last 30 days, or is missing",
        ),
        (
            {"on": "trait", "path": ["tags"], "test": {"type": "list", "texts": ["a", "b"], "how": "all"}},
            "trait tags contains “a” and “b”",
            "trait tags does not contain “a” and “b”, or is missing",
        ),
        (
            {"on": "goal", "goal": 1, "times": 2, "revenue": "1000", "currency": "EUR", "days": 1},
            "converted the goal “Buy” at least 2 times with a revenue of at least EUR 1,000 in the last day",
            "did not convert the goal “Buy” at least 2 times with a revenue of at least EUR 1,000 in the last day",
        ),
        (
            {"on": "seen", "which": "first", "test": {"type": "date", "how": "before", "date": "2026-11-22"}},
            "first time seen was before 2026-11-22",
            "first time seen was not before 2026-11-22",
        ),
        (
            {"on": "visits", "test": {"type": "number", "how": "at_least", "number": 2}, "days": 30},
            "number of visits in the last 30 days is at least 2",
            "number of visits in the last 30 days is not at least 2",
        ),
        ({"on": "group"}, "has a group", "has no group"),
        ({"on": "group", "ids": ["acme"]}, "group is “acme”", "group is not “acme”"),
        ({"on": "persona", "name": "vip"}, "is in the persona “vip”", "is not in the persona “vip”"),
        ({"on": "source", "source": 1}, "converted by the source “Shop”", "did not convert by the source “Shop”"),
        ({"on": "segment", "segment": 1}, "is in the segment “VIPs”", "is not in the segment “VIPs”"),
        (
            {"on": "segment", "segment": 9},
            "is in the segment 9, which is gone",
            "is not in the segment 9, which is gone",
        ),
    ],
)
def test_condition__in_words__says_what_it_asks(condition: dict[str, Any], words: str, negated: str) -> None:
    ((both,),) = [read_conditions([[condition, {**condition, "negated": True}]])]

    assert [describe(each, NAMES) for each in both] == [words, negated]


def test_condition__with_many_long_texts__is_cut() -> None:
    texts = ["x" * 100, *"abcdefgh"]
    ((condition,),) = read_conditions([[{"on": "trait", "path": ["a"], "test": {"type": "text", "texts": texts}}]])

    assert describe(condition, NAMES) == f"trait a is “{'x' * 60}…”, “a”, “b”, “c”, “d” or 4 more"


def test_number__with_a_huge_exponent__is_short() -> None:
    test = {"type": "number", "how": "above", "number": Decimal("1e999999")}
    ((condition,),) = read_conditions([[{"on": "trait", "path": ["a"], "test": test}]])

    assert describe(condition, NAMES) == "trait a is more than 1E+999999"


@given(groups)
def test_conditions__of_every_kind__have_words(conditions: Conditions) -> None:
    words = describe_conditions(conditions, NAMES)

    assert [len(group) for group in words] == [len(group) for group in conditions]
    assert all(each for group in words for each in group)
