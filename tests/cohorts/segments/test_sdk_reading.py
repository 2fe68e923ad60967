"""Conditions in the words of Kameleoon, read as conditions of a segment."""

from decimal import Decimal
from typing import Any

import pytest

from cohorts.segments.conditions import (
    BooleanTest,
    CompiledSegment,
    Condition,
    CustomDataCondition,
    Exists,
    GoalCondition,
    ListTest,
    NumberTest,
    SegmentCondition,
    Test,
    TextTest,
)
from cohorts.segments.sdk_conditions import ComparedCustomData, NotExpressibleError, say_conditions
from cohorts.segments.sdk_reading import Ids, read_sdk_conditions

SHAPES = {1: ComparedCustomData()}
IDS = Ids(segments={7: 70, 3: 3}, custom_data={501: 5})


def custom(match_type: str, value: Any = None, **others: Any) -> dict[str, Any]:
    found = {"targetingType": "CUSTOM_DATUM", "customDataIndex": "1", "valueMatchType": match_type, "value": value}
    return {**found, "isInclude": True, **others}


def goal(id_: Any, **others: Any) -> dict[str, Any]:
    return {"targetingType": "CONVERSIONS", "goalId": id_, **others}


def group(*conditions: Any, has_or: bool = True) -> dict[str, Any]:
    return {"orOperators": [has_or] * (len(conditions) - 1), "conditions": list(conditions)}


def read(*groups: Any, has_or: bool = False) -> Any:
    found = {"firstLevelOrOperators": [has_or] * (len(groups) - 1), "firstLevel": list(groups)}
    return read_sdk_conditions(found, IDS)


@pytest.mark.parametrize(
    ("found", "condition"),
    [
        (custom("EXACT", "pro"), CustomDataCondition(1, TextTest(("pro",)))),
        (custom("EXACT", "pro", isInclude=False), CustomDataCondition(1, TextTest(("pro",)), negated=True)),
        (custom("CONTAINS", "pr", weight=1), CustomDataCondition(1, TextTest(("pr",), "contains"))),
        (custom("AMONG_VALUES", '["a","b"]'), CustomDataCondition(1, TextTest(("a", "b")))),
        (custom("AMONG_VALUES", ["a"]), CustomDataCondition(1, TextTest(("a",)))),
        (custom("EQUAL", "1.5"), CustomDataCondition(1, NumberTest("equals", Decimal("1.5")))),
        (custom("GREATER", 2), CustomDataCondition(1, NumberTest("above", Decimal(2)))),
        (custom("LOWER", "2"), CustomDataCondition(1, NumberTest("below", Decimal(2)))),
        (custom("TRUE"), CustomDataCondition(1, BooleanTest(is_true=True))),
        (custom("FALSE", "false"), CustomDataCondition(1, BooleanTest(is_true=False))),
        (custom("UNDEFINED"), CustomDataCondition(1, Exists(), negated=True)),
        (custom("UNDEFINED", include=False, isInclude=False), CustomDataCondition(1, Exists())),
        (custom("REGULAR_EXPRESSION", "^(?:.*)$"), CustomDataCondition(1, Exists())),
        (
            custom("EXACT", "a", customDataIndex=None, customDataId=501),
            CustomDataCondition(5, TextTest(("a",))),
        ),
        (goal(1001), GoalCondition(1001)),
        (goal("1001", include=False), GoalCondition(1001, negated=True)),
        ({"targetingType": "SEGMENT", "segmentId": 7}, SegmentCondition(70)),
    ],
)
def test_condition__that_goalpost_knows__is_read(found: dict[str, Any], condition: Condition) -> None:
    assert read(group(found)) == ((condition,),)


def test_operators__of_equal_lists__become_groups_of_alternatives() -> None:
    a, b, c, d = (goal(id_) for id_ in (1, 2, 3, 4))
    one, two, three, four = (GoalCondition(id_) for id_ in (1, 2, 3, 4))

    assert read(group(a, b), group(c)) == ((one, two), (three,))
    assert read(group(a, b, has_or=False), group(c)) == ((one,), (two,), (three,))
    assert read(group(a, b), group(c), has_or=True) == ((one, two, three),)
    assert read(group(a, b, has_or=False), group(c), has_or=True) == ((one, three), (two, three))
    assert read(group(a, b, has_or=False), group(c, d, has_or=False), has_or=True) == (
        (one, three),
        (one, four),
        (two, three),
        (two, four),
    )


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (None, "no conditions"),
        ({"firstLevel": []}, "empty"),
        ({"firstLevel": [1]}, "empty"),
        ({"firstLevel": [{"conditions": []}]}, "empty"),
        ({"firstLevel": [group(goal(1)), group(goal(2))]}, "another length"),
        ({"firstLevel": [{"conditions": [goal(1)], "orOperators": [1]}]}, "another length"),
        ({"firstLevel": [{"conditions": [goal(n) for n in (1, 2, 3)], "orOperators": [True, False]}]}, "mixes"),
        ({"firstLevel": [group({"targetingType": "PAGE_URL"})]}, "asks for PAGE_URL"),
        ({"firstLevel": [group({"targetingType": ["x"]})]}, "asks for"),
        ({"firstLevel": [group(goal(1, countInMillis=5))]}, "has the field countInMillis"),
        ({"firstLevel": [group(goal(0))]}, "goalId is no positive"),
        ({"firstLevel": [group({**goal(1), "goalId": True})]}, "goalId is no positive"),
        ({"firstLevel": [group(goal("9" * 19))]}, "goalId is no positive"),
        ({"firstLevel": [group({"targetingType": "SEGMENT", "segmentId": 8})]}, "segment 8, which is not here"),
        ({"firstLevel": [group(custom("EXACT", customDataIndex=None, customDataId=9))]}, "custom data with the id 9"),
        ({"firstLevel": [group(custom("AMONG_VALUES", "x"))]}, "no list of texts"),
        ({"firstLevel": [group(custom("EQUAL", "x"))]}, "no number"),
        ({"firstLevel": [group(custom("REGULAR_EXPRESSION", "a+"))]}, "regular expression"),
        ({"firstLevel": [group(custom("SOUNDS_LIKE", "a+"))]}, "SOUNDS_LIKE"),
        ({"firstLevel": [group(*(goal(n + 1) for n in range(11)), has_or=False)]}, "more than 10 groups"),
    ],
)
def test_conditions__that_goalpost_does_not_know__are_refused_with_a_reason(found: Any, sentence: str) -> None:
    with pytest.raises(NotExpressibleError, match=sentence):
        read_sdk_conditions(found, IDS)


def test_alternatives__that_become_too_many_groups__are_refused() -> None:
    pair = group(goal(1), goal(2), has_or=False)

    with pytest.raises(NotExpressibleError, match="16 groups"):
        read(pair, pair, pair, pair, has_or=True)


@pytest.mark.parametrize(
    "test",
    [
        TextTest(("a",)),
        TextTest(("a", "b")),
        TextTest(("a",), "contains"),
        NumberTest("above", Decimal(3)),
        BooleanTest(is_true=True),
        Exists(),
    ],
)
def test_segment__that_is_said_to_sdks__is_read_as_it_was(test: Test) -> None:
    conditions = (
        (CustomDataCondition(1, test), GoalCondition(4, negated=True)),
        (SegmentCondition(3),),
    )

    said = say_conditions(CompiledSegment(1, "s", 1, conditions), SHAPES, expressible={3})

    assert read_sdk_conditions(said, IDS) == conditions
    among = CompiledSegment(1, "s", 1, ((CustomDataCondition(1, ListTest(("a", "b"))),),))
    assert read_sdk_conditions(say_conditions(among, SHAPES, expressible=()), IDS)[0] == (
        CustomDataCondition(1, TextTest(("a", "b"))),
    )
