"""Segments in the words of Kameleoon's SDKs, as far as all of them judge alike. Pure.

A condition that an SDK does not know is true in one and false in another. Operators of a list must be equal, because
SDKs group mixed ones differently. So a segment is said in full or not at all.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec

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
    SegmentCondition,
    Test,
    TextTest,
)

NUMBER_MATCHES: Final = {"equals": "EQUAL", "above": "GREATER", "below": "LOWER"}
ESCAPED: Final = frozenset(r"\.^$*+?{}[]|()/")
MOST_DIGITS: Final = 300  # before or after the point: SDKs read a number as a float


class NotExpressibleError(Exception):
    """The SDKs cannot judge a segment; the argument is a sentence for people."""


@dataclass(frozen=True, slots=True)
class ComparedCustomData:
    """The parts of a definition of custom data on which it depends whether SDKs judge its values alike."""

    type: str = CustomData.Type.UNIQUE
    format: str = CustomData.Format.STRING
    filled_from: str = CustomData.Filling.SDK


Shapes = Mapping[int, ComparedCustomData]  # by index


def say_conditions(segment: CompiledSegment, shapes: Shapes, *, expressible: Collection[int]) -> dict[str, Any]:
    """Return the `conditionsData` of a segment. Raises NotExpressibleError.

    `expressible` has the segments that are in the file, too.
    """
    groups = [[_say(condition, shapes, expressible) for condition in group] for group in segment.conditions]
    if not groups or not all(groups):
        raise NotExpressibleError("A segment without conditions would target everybody.")
    return {
        "firstLevelOrOperators": [False] * (len(groups) - 1),
        "firstLevel": [
            {"orOperators": [True] * (len(conditions) - 1), "conditions": conditions} for conditions in groups
        ],
    }


def say_segments(
    segments: Sequence[CompiledSegment], shapes: Shapes
) -> tuple[dict[int, dict[str, Any]], dict[int, str]]:
    """Return the `conditionsData` of each segment that can be said, and the reason of each that cannot.

    Call it with segments after those that they name.
    """
    said: dict[int, dict[str, Any]] = {}
    reasons: dict[int, str] = {}
    for segment in segments:
        try:
            said[segment.id] = say_conditions(segment, shapes, expressible=said)
        except NotExpressibleError as error:
            reasons[segment.id] = str(error)
    return said, reasons


def _say(condition: Condition, shapes: Shapes, expressible: Collection[int]) -> dict[str, Any]:
    said: dict[str, Any]
    match condition:
        case CustomDataCondition():
            said = _say_custom_data(condition, shapes.get(condition.index))
        case GoalCondition():
            if condition.times != 1 or condition.days is not None or condition.revenue is not None:
                raise NotExpressibleError("SDKs know only that a goal was converted: neither how often, nor when.")
            said = {"targetingType": "CONVERSIONS", "goalId": condition.goal}
        case SegmentCondition():
            if condition.segment not in expressible:
                raise NotExpressibleError("It names a segment that SDKs cannot judge.")
            said = {"targetingType": "SEGMENT", "segmentId": condition.segment}
        case _:
            raise NotExpressibleError(
                "SDKs judge custom data, converted goals and segments of these only. "
                "Fill custom data from this segment and target that."
            )
    return {**said, "isInclude": not condition.negated}


def _say_custom_data(condition: CustomDataCondition, shape: ComparedCustomData | None) -> dict[str, Any]:
    if shape is not None and shape.filled_from == CustomData.Filling.SEGMENT:
        raise NotExpressibleError("It asks for custom data that is filled from a segment. Name that segment instead.")
    if isinstance(condition.test, NumberTest) and (
        shape is None or (shape.format != CustomData.Format.NUMBER and shape.type != CustomData.Type.UNIQUE)
    ):
        raise NotExpressibleError(
            "SDKs compare numbers alike only of custom data with one value or of the format number."
        )
    match_type, value = _say_test(condition.test)
    return {
        "targetingType": "CUSTOM_DATUM",
        "customDataIndex": str(condition.index),
        "valueMatchType": match_type,
        "value": value,
    }


def _say_test(test: Test) -> tuple[str, str]:  # noqa: PLR0911 - a case each
    """Return match type and value of a test of custom data."""
    match test:
        case TextTest(texts=texts, how="equals"):
            if len(texts) == 1:
                return "EXACT", texts[0]
            return "AMONG_VALUES", msgspec.json.encode(texts).decode()
        case TextTest(texts=(text,), how="contains"):
            return "CONTAINS", text
        case TextTest(texts=texts):
            part = f"(?:{'|'.join(map(_escape, texts))})"
            before, after = {"contains": (".*", ".*"), "begins": ("", ".*"), "ends": (".*", "")}[test.how]
            return "REGULAR_EXPRESSION", f"^(?:{before}{part}{after})$"
        case ListTest(texts=texts, how="any"):
            return "AMONG_VALUES", msgspec.json.encode(texts).decode()
        case NumberTest(how="equals" | "above" | "below"):
            return NUMBER_MATCHES[test.how], _spell(test.number)
        case BooleanTest():
            return ("TRUE", "true") if test.is_true else ("FALSE", "false")
        case Exists():
            return "REGULAR_EXPRESSION", "^(?:.*)$"
        case DateTest():
            raise NotExpressibleError("SDKs do not compare times.")
    raise NotExpressibleError("SDKs do not know this test of custom data.")


def _spell(number: Decimal) -> str:
    if abs(number.adjusted()) > MOST_DIGITS:
        raise NotExpressibleError("SDKs do not compare numbers as large or as small as this one.")
    return f"{number:f}"


def _escape(text: str) -> str:
    return "".join(f"\\{letter}" if letter in ESCAPED else letter for letter in text)
