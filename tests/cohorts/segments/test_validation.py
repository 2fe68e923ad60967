"""Checks of a segment's conditions: place and sentence of each fault."""

from typing import Any

import pytest

from cohorts.segments.conditions import PersonaCondition, SegmentCondition
from cohorts.segments.validation import KnownReferences, read_and_check

KNOWN = KnownReferences(
    goals={7},
    sources={1},
    segments={2: ((SegmentCondition(3),),), 3: ((PersonaCondition("vip"),),), 4: ((SegmentCondition(2),),)},
    custom_data={1},
)


def faults(*conditions: Any, segment_id: int | None = None) -> list[tuple[str, str]]:
    _, found = read_and_check([list(conditions)], KNOWN, segment_id=segment_id)
    return [(fault.place, fault.sentence) for fault in found]


def test_conditions__that_are_valid__have_no_fault() -> None:
    assert (
        faults(
            {"on": "trait", "path": ["plan"], "test": {"type": "text", "texts": ["pro"]}},
            {"on": "group"},
            {"on": "groupTrait", "path": ["size"], "test": {"type": "number", "how": "above", "number": 5}},
            {"on": "persona", "name": "vip", "negated": True},
            {"on": "customData", "index": 1, "test": {"type": "any"}},
            {"on": "goal", "goal": 7, "times": 2, "days": 30, "revenue": 9.5, "currency": "USD"},
            {"on": "seen", "which": "last", "test": {"type": "date", "how": "longer_ago", "days": 7}},
            {"on": "visits", "test": {"type": "number", "how": "at_least", "number": 2}, "days": 30},
            {"on": "source", "source": 1},
            {"on": "segment", "segment": 2},
        )
        == []
    )


@pytest.mark.parametrize(
    ("condition", "place", "sentence"),
    [
        ({"on": "moon"}, "[0][0].on", "Invalid value 'moon'."),
        ({"on": "persona"}, "[0][0]", "Object missing required field `name`."),
        ({"on": "goal", "goal": "7"}, "[0][0].goal", "Expected `int`, got `str`."),
        ({"on": "goal", "goal": 8}, "[0][0].goal", "The site has no goal with the id 8."),
        ({"on": "goal", "goal": 7, "times": 0}, "[0][0].times", "The number of conversions is between 1 and 1,000."),
        ({"on": "goal", "goal": 7, "revenue": 1}, "[0][0].currency", "A revenue needs a currency, for example USD."),
        (
            {"on": "goal", "goal": 7, "revenue": 1, "currency": "usd\0"},
            "[0][0].currency",
            "A currency has three capital letters, for example USD.",
        ),
        ({"on": "persona", "name": "a\0"}, "[0][0].name", "A text must not have a null character."),
        (
            {"on": "goal", "goal": 7, "days": 0},
            "[0][0].days",
            "The days must be more than 0 and at most 3,650.",
        ),
        ({"on": "source", "source": 2}, "[0][0].source", "The site has no source with the id 2."),
        ({"on": "segment", "segment": 9}, "[0][0].segment", "The site has no segment with the id 9."),
        (
            {"on": "customData", "index": 5, "test": {"type": "any"}},
            "[0][0].index",
            "The site has no custom data with the index 5.",
        ),
        (
            {"on": "trait", "path": [], "test": {"type": "any"}},
            "[0][0].path",
            "A path has between 1 and 10 names.",
        ),
        (
            {"on": "trait", "path": ["a"], "test": {"type": "text", "texts": []}},
            "[0][0].test.texts",
            "Enter 1 to 100 values.",
        ),
        (
            {"on": "trait", "path": ["a"], "test": {"type": "number", "how": "between", "number": 2, "most": 1}},
            "[0][0].test.most",
            "`between` needs a second number that is not smaller than the first.",
        ),
        (
            {"on": "trait", "path": ["a"], "test": {"type": "date", "how": "since", "date": "soon"}},
            "[0][0].test.date",
            "A date such as 2026-11-22 or 2026-11-22T08:30:00Z is needed.",
        ),
        (
            {"on": "seen", "which": "last", "test": {"type": "date", "how": "within", "days": 1, "date": "\0"}},
            "[0][0].test.date",
            "Only `before` and `since` compare with a date.",
        ),
        (
            {"on": "trait", "path": ["a"], "test": {"type": "date", "how": "within"}},
            "[0][0].test.days",
            "A number of days is needed.",
        ),
        (
            {"on": "visits", "test": {"type": "number", "how": "at_least", "number": 2}, "days": 366},
            "[0][0].days",
            "The days must be more than 0 and at most 365.",
        ),
        ({"on": "persona", "name": ""}, "[0][0].name", "A value has 1 to 500 characters."),
    ],
)
def test_condition__with_a_fault__is_named_by_place_and_sentence(condition: Any, place: str, sentence: str) -> None:
    assert faults(condition) == [(place, sentence)]


def test_segments__that_lead_back_to_the_edited_one__are_refused() -> None:
    assert faults({"on": "segment", "segment": 4}, segment_id=3)[0][1].startswith("The conditions lead back")
    assert faults({"on": "segment", "segment": 3}, segment_id=3)[0][1].startswith("The conditions lead back")
    assert faults({"on": "segment", "segment": 3}, segment_id=4) == []


def test_conditions__without_any_or_with_too_many__are_refused() -> None:
    persona = {"on": "persona", "name": "vip"}
    assert read_and_check([], KNOWN)[1][0].sentence == "A segment needs a condition. Add one."
    assert read_and_check([[]], KNOWN)[1][0].place == "[0]"
    assert read_and_check([[persona] * 51], KNOWN)[1][0].sentence == "A segment has at most 50 conditions."
    assert read_and_check([[persona]] * 11, KNOWN)[1][0].sentence == "A segment has at most 10 groups of conditions."
