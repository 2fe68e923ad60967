"""Segments in the form of Kameleoon's SDKs: only what every SDK reads alike passes. Pure.

The sentences say what the SDKs do otherwise: kameleoon-client-python 3.22 and @kameleoon/javascript-sdk-core 5.17.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from goals.flags.problems import ProblemList

TEXT_TESTS: Final = ("EXACT", "CONTAINS", "REGULAR_EXPRESSION")
NUMBER_TESTS: Final = ("EQUAL", "GREATER", "LOWER")
CUSTOM_DATA_TESTS: Final = ("UNDEFINED", *TEXT_TESTS, *NUMBER_TESTS, "TRUE", "FALSE", "AMONG_VALUES")
BROWSERS: Final = ("CHROME", "INTERNET_EXPLORER", "FIREFOX", "SAFARI", "OPERA", "OTHER")
SYSTEMS: Final = ("WINDOWS", "MAC", "IOS", "LINUX", "ANDROID", "WINDOWS_PHONE")
# The fields of each condition that all SDKs know and that has no reader of its own.
FIELDS: Final[Mapping[str, Mapping[str, str | Sequence[str]]]] = {
    "PAGE_URL": {"matchType": TEXT_TESTS, "url": "text"},
    "PAGE_TITLE": {"matchType": TEXT_TESTS, "title": "text"},
    "PREVIOUS_PAGE": {"matchType": TEXT_TESTS, "url": "text"},
    "VISITOR_CODE": {"matchType": TEXT_TESTS, "visitorCode": "text"},
    "PAGE_VIEWS": {"matchType": NUMBER_TESTS, "pageCount": "number"},
    "VISITS": {"matchType": NUMBER_TESTS, "visitCount": "number"},
    "SAME_DAY_VISITS": {"matchType": NUMBER_TESTS, "visitCount": "number"},
    "FIRST_VISIT": {"matchType": NUMBER_TESTS, "countInMillis": "number"},
    "LAST_VISIT": {"matchType": NUMBER_TESTS, "countInMillis": "number"},
    "DEVICE_TYPE": {"device": ("PHONE", "TABLET", "DESKTOP")},
    "BROWSER": {"browser": BROWSERS},
    "OPERATING_SYSTEM": {"os": SYSTEMS},
    "NEW_VISITORS": {"visitorType": ("NEW", "RETURNING")},
    "GEOLOCATION": {"country": "text"},
    "COOKIE": {"nameMatchType": TEXT_TESTS, "name": "text", "valueMatchType": TEXT_TESTS, "value": "text"},
    "SDK_LANGUAGE": {"sdkLanguage": "text"},
    "APPLICATION_VERSION": {"version": "text", "versionMatchType": NUMBER_TESTS},
    "TARGET_FEATURE_FLAG": {"featureFlagId": "id"},
    "TARGET_EXPERIMENT": {"experimentId": "id"},
    "EXCLUSIVE_EXPERIMENT": {"campaignType": ("EXPERIMENT", "PERSONALIZATION", "ANY")},
}
ANCHORED: Final = re.compile(r"\^\(\?:.*\)\$", re.DOTALL)
NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
INDEX: Final = re.compile(r"[1-9][0-9]{0,5}")
# Python alone knows (?P, flags and \A, Go no look-around or back-reference, JavaScript no possessive quantifier.
ODD_PATTERN: Final = re.compile(r"\(\?(?!:)|\\[AZ1-9]|[*+?}]\+|\[\^?\]|\{,")
PLAIN_PARTS: Final = re.compile(r"\\[^AZ1-9]|\[\^?(?:\\.|[^\]\\])+\]", re.DOTALL)  # escapes and classes
MOST_LEVELS: Final = 20  # of segments that lead to others, which SDKs judge again at each mention
KEPT_SCALARS: Final = str | int | float | bool


def read_segment(found: Mapping[str, Any], place: str, problems: ProblemList) -> dict[str, Any]:
    """Return a segment as every SDK reads it, and note what cannot be read so."""
    conditions = found.get("conditionsData")
    groups: list[dict[str, Any]] = []
    where = f"{place}.conditionsData"
    if not isinstance(conditions, dict):
        problems.note(where, "Without conditions the segment holds everybody in Python and fails in JavaScript.")
        conditions = {}
    else:
        for group, at in problems.read_objects(conditions.get("firstLevel"), f"{where}.firstLevel"):
            groups.append(_read_group(group, at, problems))
        if not groups:
            problems.note(f"{where}.firstLevel", "An empty list holds everybody.")
    operators = _read_operators(
        conditions.get("firstLevelOrOperators"), f"{where}.firstLevelOrOperators", groups, problems
    )
    id_ = problems.read_id(found.get("id"), f"{place}.id")
    name = found.get("name") or f"Segment {id_}"
    return {
        "id": id_,
        "name": problems.read_text(name, f"{place}.name"),
        "audienceTracking": problems.read_boolean(
            found.get("audienceTracking"), f"{place}.audienceTracking", default=False
        ),
        "conditionsData": {"firstLevelOrOperators": operators, "firstLevel": groups},
    }


def segments_named(segment: Mapping[str, Any]) -> set[int]:
    """Return the ids of the segments in the conditions of a segment that was read."""
    return {
        condition["segmentId"]
        for group in segment["conditionsData"]["firstLevel"]
        for condition in group["conditions"]
        if condition.get("targetingType") == "SEGMENT"
    }


def find_withheld(segments: Mapping[int, Mapping[str, Any]]) -> set[int]:
    """Return the ids of the segments that cannot be served.

    They lead to one that is not, to themselves, or through too many others.
    """
    good: set[int] = set()
    names = {id_: segments_named(segment) for id_, segment in segments.items()}
    for _ in range(MOST_LEVELS):
        more = {id_ for id_, named in names.items() if named <= good}
        if not more:
            break
        good |= more
        names = {id_: named for id_, named in names.items() if id_ not in good}
    return set(names)


def _read_group(group: Mapping[str, Any], place: str, problems: ProblemList) -> dict[str, Any]:
    conditions = [
        read_condition(condition, at, problems)
        for condition, at in problems.read_objects(group.get("conditions"), f"{place}.conditions")
    ]
    if not conditions:
        problems.note(f"{place}.conditions", "An empty list holds everybody.")
    return {
        "orOperators": _read_operators(group.get("orOperators"), f"{place}.orOperators", conditions, problems),
        "conditions": conditions,
    }


def _read_operators(value: Any, place: str, between: Sequence[Any], problems: ProblemList) -> list[bool]:
    """Return the operators between conditions or groups, which must be equal: SDKs nest a mixed list differently."""
    wanted = max(0, len(between) - 1)
    operators = [] if value is None else value
    if not isinstance(operators, list) or any(not isinstance(operator, bool) for operator in operators):
        problems.note(place, "A list of true and false is needed.")
    elif len(operators) != wanted:
        problems.note(place, f"{wanted} operators are needed, found {len(operators)}: Python refuses the whole file.")
    elif len(set(operators)) > 1:
        problems.note(place, "Operators of one list must be equal: SDKs read a mixed list in different orders.")
    else:
        return list(operators)
    return [False] * wanted


def read_condition(found: Mapping[str, Any], place: str, problems: ProblemList) -> dict[str, Any]:
    """Return a condition as every SDK reads it, and note what cannot be read so."""
    type_ = found.get("targetingType")
    condition = {name: value for name, value in found.items() if isinstance(value, KEPT_SCALARS)}
    condition["isInclude"] = problems.read_boolean(found.get("isInclude"), f"{place}.isInclude", default=True)
    if type_ == "CUSTOM_DATUM":
        condition |= _read_custom_data(found, place, problems)
    elif type_ == "CONVERSIONS":
        # Without a goal, or with 0 or -1, SDKs mean any goal, and not all of them.
        condition["goalId"] = problems.read_id(found.get("goalId"), f"{place}.goalId")
    elif type_ == "SEGMENT":
        condition["segmentId"] = problems.read_id(found.get("segmentId"), f"{place}.segmentId")
    elif isinstance(type_, str) and type_ in FIELDS:
        condition |= _read_fields(found, FIELDS[type_], place, problems)
    else:
        problems.note(
            f"{place}.targetingType",
            f"SDKs do not know {json.dumps(type_)[:60]}: in Python such a condition never holds, in JavaScript always.",
        )
    return condition


def _read_custom_data(found: Mapping[str, Any], place: str, problems: ProblemList) -> dict[str, Any]:
    index = problems.read_scalar(found.get("customDataIndex"), f"{place}.customDataIndex")
    if index and not INDEX.fullmatch(index):
        problems.note(f"{place}.customDataIndex", "An index from 1 is needed, as text.")
    test = problems.read_choice(found.get("valueMatchType"), f"{place}.valueMatchType", CUSTOM_DATA_TESTS)
    read: dict[str, Any] = {"customDataIndex": index, "valueMatchType": test}
    if test in {"UNDEFINED", "TRUE", "FALSE", ""}:
        return read
    where = f"{place}.value"
    value = problems.read_scalar(found.get("value"), where)
    if test in NUMBER_TESTS and value and not NUMBER.fullmatch(value):
        problems.note(where, "A number is needed, as text.")
    if test == "AMONG_VALUES" and value:
        _check_list(value, where, problems)
    if test == "REGULAR_EXPRESSION" and value:
        _check_pattern(value, where, problems)
    return {**read, "value": value}


def _check_list(value: str, place: str, problems: ProblemList) -> None:
    try:
        values = json.loads(value)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, list) or not values or any(not isinstance(each, str) for each in values):
        problems.note(place, 'A text with a JSON list of texts is needed, such as "[\\"a\\",\\"b\\"]".')


def _check_pattern(pattern: str, place: str, problems: ProblemList) -> None:
    if not ANCHORED.fullmatch(pattern):
        problems.note(
            place, "Write the pattern as ^(?:…)$: Python compares it with the whole value, JavaScript and Go search."
        )
        return
    inner = pattern[4:-2]
    try:
        re.compile(inner)  # by itself, because the whole of ^(?:a)|(?:b)$ is a pattern, too
    except (re.error, RecursionError, OverflowError):
        problems.note(place, "The pattern cannot be read.")
        return
    if ODD_PATTERN.search(PLAIN_PARTS.sub("x", inner)):
        problems.note(place, "Use only groups (?:…) and (…): SDKs do not read all else in the pattern alike.")


def _read_fields(
    found: Mapping[str, Any], fields: Mapping[str, str | Sequence[str]], place: str, problems: ProblemList
) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, kind in fields.items():
        value, at = found.get(name), f"{place}.{name}"
        if kind == "text":
            read[name] = problems.read_text(value, at, most=10_000)
        elif kind == "number":
            read[name] = problems.read_number(value, at)
        elif kind == "id":
            read[name] = problems.read_id(value, at)
        else:
            read[name] = problems.read_choice(value, at, kind)
    for test, value in (
        ("matchType", "url"),
        ("matchType", "title"),
        ("matchType", "visitorCode"),
        ("valueMatchType", "value"),
    ):
        if read.get(test) == "REGULAR_EXPRESSION" and read.get(value):
            _check_pattern(read[value], f"{place}.{value}", problems)
    if read.get("nameMatchType") == "REGULAR_EXPRESSION" and read.get("name"):
        _check_pattern(read["name"], f"{place}.name", problems)
    return read
