"""Segments in the words of Kameleoon's SDKs: only what all of them judge alike."""

import re
from decimal import Decimal
from typing import Any

import pytest

from cohorts.models import CustomData
from cohorts.segments.conditions import (
    BooleanTest,
    CompiledSegment,
    Condition,
    CustomDataCondition,
    DateTest,
    Exists,
    GoalCondition,
    ListTest,
    NumberTest,
    PersonaCondition,
    SegmentCondition,
    TextTest,
)
from cohorts.segments.sdk_conditions import ComparedCustomData, say_segments

SHAPES = {3: ComparedCustomData()}


def segment(id_: int, *groups: list[Condition]) -> CompiledSegment:
    return CompiledSegment(id_, f"s{id_}", 1, tuple(map(tuple, groups)))


def datum(test: Any, **options: Any) -> CustomDataCondition:
    return CustomDataCondition(3, test, **options)


def test_segment__of_several_groups__has_operators_that_are_equal() -> None:
    said, reasons = say_segments(
        [segment(1, [GoalCondition(7), datum(Exists())], [GoalCondition(8, negated=True)])], SHAPES
    )

    assert reasons == {}
    assert said[1]["firstLevelOrOperators"] == [False]
    assert [each["orOperators"] for each in said[1]["firstLevel"]] == [[True], []]
    assert said[1]["firstLevel"][1]["conditions"] == [{"targetingType": "CONVERSIONS", "goalId": 8, "isInclude": False}]


@pytest.mark.parametrize(
    ("test", "match_type", "value"),
    [
        (TextTest(("a",)), "EXACT", "a"),
        (TextTest(("a", "é")), "AMONG_VALUES", '["a","é"]'),
        (ListTest(("a", "b")), "AMONG_VALUES", '["a","b"]'),
        (TextTest(("a",), "contains"), "CONTAINS", "a"),
        (TextTest(("a.b", "c"), "begins"), "REGULAR_EXPRESSION", r"^(?:(?:a\.b|c).*)$"),
        (NumberTest("above", Decimal("1.5")), "GREATER", "1.5"),
        (NumberTest("equals", Decimal(2)), "EQUAL", "2"),
        (NumberTest("equals", Decimal("1E+3")), "EQUAL", "1000"),
        (BooleanTest(is_true=True), "TRUE", "true"),
        (BooleanTest(is_true=False), "FALSE", "false"),
    ],
)
def test_custom_data__of_a_test_that_all_sdks_know__is_said(test: Any, match_type: str, value: str) -> None:
    said, _ = say_segments([segment(1, [datum(test)])], SHAPES)

    (condition,) = said[1]["firstLevel"][0]["conditions"]
    assert condition == {
        "targetingType": "CUSTOM_DATUM",
        "customDataIndex": "3",
        "valueMatchType": match_type,
        "value": value,
        "isInclude": True,
    }


@pytest.mark.parametrize(
    "condition",
    [
        PersonaCondition("vip"),
        GoalCondition(7, times=2),
        GoalCondition(7, days=1),
        datum(NumberTest("between", Decimal(1), Decimal(2))),
        datum(NumberTest("at_least", Decimal(1))),
        datum(NumberTest("above", Decimal("1E+400"))),
        datum(ListTest(("a",), "all")),
        datum(DateTest("within", days=1)),
        SegmentCondition(9),
    ],
)
def test_condition__that_sdks_do_not_judge_alike__is_not_said(condition: Condition) -> None:
    said, reasons = say_segments([segment(1, [condition])], SHAPES)

    assert said == {}
    assert reasons[1].endswith(".")


def test_segment__that_names_one_that_is_not_said__is_not_said_either() -> None:
    named, naming = segment(1, [PersonaCondition("vip")]), segment(2, [SegmentCondition(1)])

    assert say_segments([named, naming], SHAPES)[1].keys() == {1, 2}
    assert say_segments([segment(1, [GoalCondition(7)]), naming], SHAPES)[0][2]["firstLevel"][0]["conditions"] == [
        {"targetingType": "SEGMENT", "segmentId": 1, "isInclude": True}
    ]


def test_regular_expression__of_any_text__matches_that_text_alone() -> None:
    text = r"a.b*c(d)[e]\f/g|h"
    said, _ = say_segments([segment(1, [datum(TextTest((text, "x"), "begins"))])], SHAPES)

    expression = said[1]["firstLevel"][0]["conditions"][0]["value"]
    assert re.search(expression, text + "!")
    assert not re.search(expression, "aXb*c(d)[e]\\f/g|h")


@pytest.mark.parametrize(
    ("shape", "is_said"),
    [
        (ComparedCustomData(), True),
        (ComparedCustomData(type=CustomData.Type.LIST), False),
        (ComparedCustomData(type=CustomData.Type.LIST, format=CustomData.Format.NUMBER), True),
        (None, False),
    ],
)
def test_number__of_custom_data_that_may_hold_others__is_not_said(
    shape: ComparedCustomData | None,
    is_said: bool,  # noqa: FBT001
) -> None:
    shapes = {} if shape is None else {3: shape}

    said, reasons = say_segments([segment(1, [datum(NumberTest("above", Decimal(1)))])], shapes)

    assert (set(said), set(reasons)) == (({1}, set()) if is_said else (set(), {1}))


def test_custom_data__filled_from_a_segment__is_not_said() -> None:
    shapes = {3: ComparedCustomData(filled_from=CustomData.Filling.SEGMENT, format=CustomData.Format.BOOLEAN)}

    _, reasons = say_segments([segment(1, [datum(BooleanTest(is_true=True))])], shapes)

    assert "Name that segment instead" in reasons[1]
