"""Conditions in the words of Kameleoon, read as conditions of a segment. Pure, and the reverse of `sdk_conditions`."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any, Final, Literal

import msgspec

from cohorts.segments.conditions import (
    BooleanTest,
    Condition,
    Conditions,
    CustomDataCondition,
    Exists,
    GoalCondition,
    NumberTest,
    SegmentCondition,
    Test,
    TextTest,
)
from cohorts.segments.sdk_conditions import NotExpressibleError
from cohorts.segments.validation import MOST_CONDITIONS, MOST_GROUPS

NUMBER_TESTS: Final[Mapping[str, Literal["equals", "above", "below"]]] = {
    "EQUAL": "equals",
    "GREATER": "above",
    "LOWER": "below",
}
ANYTHING: Final = ("^(?:.*)$", ".*", "^.*$")
COMMON_FIELDS: Final = frozenset({"targetingType", "isInclude", "include", "weight", "id"})
FIELDS: Final[Mapping[str, Collection[str]]] = {
    "CUSTOM_DATUM": {"customDataIndex", "customDataId", "valueMatchType", "value"},
    "CONVERSIONS": {"goalId"},
    "SEGMENT": {"segmentId"},
}


class Ids(msgspec.Struct, frozen=True):
    """Ids at Kameleoon, each with its counterpart here."""

    segments: Mapping[int, int]
    custom_data: Mapping[int, int]  # the index of each


def read_sdk_conditions(found: Any, ids: Ids) -> Conditions:
    """Return conditions from a `conditionsData`. Raises NotExpressibleError, whose argument is a sentence."""
    if not isinstance(found, dict):
        raise NotExpressibleError("It has no conditions.")
    groups = _read_list(found.get("firstLevel"))
    between = _read_operator(found.get("firstLevelOrOperators"), groups)
    parts = [_read_group(group, ids) for group in groups]
    return _flatten(parts) if between == "and" else _distribute(parts)


def _read_group(group: Mapping[str, Any], ids: Ids) -> Conditions:
    """Return a group as groups of which one condition each must hold."""
    found = _read_list(group.get("conditions"))
    conditions = tuple(_read_condition(condition, ids) for condition in found)
    if _read_operator(group.get("orOperators"), found) == "or":
        return (conditions,)
    return tuple((condition,) for condition in conditions)


def _read_list(found: Any) -> Sequence[Mapping[str, Any]]:
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        raise NotExpressibleError("A list of its conditions is empty, which holds everybody.")
    return found


def _read_operator(found: Any, between: Sequence[Any]) -> Literal["and", "or"]:
    operators = found if isinstance(found, list) else []
    if len(operators) != len(between) - 1 or not all(isinstance(each, bool) for each in operators):
        raise NotExpressibleError("A list of its operators has another length than its conditions.")
    if len(set(operators)) > 1:
        raise NotExpressibleError("It mixes AND and OR in one list, which SDKs read in different orders.")
    return "or" if True in operators else "and"


def _flatten(parts: Sequence[Conditions]) -> Conditions:
    return _require_bounds(tuple(group for part in parts for group in part))


def _distribute(parts: Sequence[Conditions]) -> Conditions:
    """Return groups that hold if one of the parts does: (a and b) or c is (a or c) and (b or c)."""
    number = 1
    for part in parts:
        number *= len(part)
    if number > MOST_GROUPS:
        raise NotExpressibleError(f"Written as groups of alternatives it has {number:,} groups, which is too many.")
    return _require_bounds(tuple(tuple(each for group in groups for each in group) for groups in product(*parts)))


def _require_bounds(conditions: Conditions) -> Conditions:
    if len(conditions) > MOST_GROUPS or sum(map(len, conditions)) > MOST_CONDITIONS:
        raise NotExpressibleError(f"It has more than {MOST_GROUPS} groups or {MOST_CONDITIONS} conditions.")
    return conditions


def _read_condition(found: Mapping[str, Any], ids: Ids) -> Condition:
    type_ = found.get("targetingType")
    fields = FIELDS.get(type_) if isinstance(type_, str) else None
    if fields is None:
        raise NotExpressibleError(f"It asks for {str(type_)[:60]}, which Goalpost does not know of a person.")
    others = sorted(
        name for name, value in found.items() if value is not None and name not in {*fields, *COMMON_FIELDS}
    )
    if others:
        raise NotExpressibleError(f"Its condition {type_} has the field {others[0][:60]}, which has no counterpart.")
    is_negated = found.get("isInclude", found.get("include", True)) is False
    match type_:
        case "CUSTOM_DATUM":
            test, negates = _read_test(found.get("valueMatchType"), found.get("value"))
            return CustomDataCondition(_read_index(found, ids), test, negated=is_negated != negates)
        case "CONVERSIONS":
            return GoalCondition(_read_id(found.get("goalId"), "goalId"), negated=is_negated)
        case _:
            named = _read_id(found.get("segmentId"), "segmentId")
            if named not in ids.segments:
                raise NotExpressibleError(f"It names the segment {named}, which is not here.")
            return SegmentCondition(ids.segments[named], negated=is_negated)


def _read_index(found: Mapping[str, Any], ids: Ids) -> int:
    if found.get("customDataIndex") is not None:
        return _read_id(found["customDataIndex"], "customDataIndex")
    named = _read_id(found.get("customDataId"), "customDataId")
    if named not in ids.custom_data:
        raise NotExpressibleError(f"It names the custom data with the id {named}, which is not here.")
    return ids.custom_data[named]


def _read_id(found: Any, name: str) -> int:
    """Return a positive number, which some write as text."""
    text = str(found) if isinstance(found, int | str) and not isinstance(found, bool) else ""
    if not text.isascii() or not text.isdecimal() or len(text) > 18 or int(text) == 0:  # noqa: PLR2004 - digits
        raise NotExpressibleError(f"Its {name} is no positive number.")
    return int(text)


def _read_test(match_type: Any, value: Any) -> tuple[Test, bool]:  # noqa: PLR0911 - a case each
    """Return the test of a custom data value, and True if the condition holds without it."""
    text = value if isinstance(value, str) else "" if value is None else msgspec.json.encode(value).decode()
    match match_type:
        case "UNDEFINED":
            return Exists(), True
        case "TRUE" | "FALSE":
            return BooleanTest(match_type == "TRUE"), False
        case "EXACT":
            return TextTest((text,)), False
        case "CONTAINS":
            return TextTest((text,), "contains"), False
        case "AMONG_VALUES":
            return TextTest(_read_texts(text)), False
        case "EQUAL" | "GREATER" | "LOWER":
            return NumberTest(NUMBER_TESTS[match_type], _read_number(text)), False
        case "REGULAR_EXPRESSION" if text in ANYTHING:
            return Exists(), False
        case "REGULAR_EXPRESSION":
            raise NotExpressibleError("It compares with a regular expression. List the values, or a part of them.")
    raise NotExpressibleError(f"It compares custom data by {str(match_type)[:60]}, which has no counterpart.")


def _read_texts(text: str) -> tuple[str, ...]:
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except msgspec.DecodeError as error:
        raise NotExpressibleError("Its value is no list of texts.") from error


def _read_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise NotExpressibleError("Its value is no number.") from error
