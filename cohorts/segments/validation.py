"""Checks of a segment's conditions before they are saved: each fault has its place and a sentence. Pure."""

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from cohorts.segments.conditions import (
    Condition,
    Conditions,
    CustomDataCondition,
    DateTest,
    GoalCondition,
    GroupCondition,
    GroupTraitCondition,
    ListTest,
    NumberTest,
    PersonaCondition,
    SeenCondition,
    SegmentCondition,
    SourceCondition,
    Test,
    TextTest,
    TraitCondition,
    VisitsCondition,
    flatten,
    read_conditions,
    references_of,
)
from cohorts.segments.value_tests import read_date

MOST_GROUPS: Final = 10
MOST_CONDITIONS: Final = 50  # of all groups together
MOST_TEXTS: Final = 100
TEXT_LENGTH: Final = 500
MOST_DEPTH: Final = 10  # of a path
MOST_TIMES: Final = 1_000  # conversions of a goal, as many as are read of a visitor code
MOST_DAYS: Final = 3_650
MOST_DAYS_OF_VISITS: Final = 365  # facts of visits are deleted after 400
CURRENCY: Final = re.compile("[A-Z]{3}")


class ConditionFault(msgspec.Struct, frozen=True):
    """A fault of conditions: its place, such as `[0][2].test.texts`, and a sentence."""

    place: str
    sentence: str


@dataclass(frozen=True, slots=True)
class KnownReferences:
    """The rows of a site that conditions may name."""

    goals: AbstractSet[int] = frozenset()
    sources: AbstractSet[int] = frozenset()
    segments: Mapping[int, Conditions] = field(default_factory=dict)
    custom_data: AbstractSet[int] | None = None  # indexes; None if any may be named


def read_and_check(
    value: Any, known: KnownReferences, *, segment_id: int | None = None
) -> tuple[Conditions, list[ConditionFault]]:
    """Return the conditions of a JSON value and their faults. With faults, the conditions may be empty."""
    try:
        conditions = read_conditions(value)
    except msgspec.ValidationError as error:
        sentence, _, place = str(error).partition(" - at `$")
        return (), [ConditionFault(place.rstrip("`").removeprefix("."), f"{sentence.rstrip('.')}.")]
    return conditions, find_faults(conditions, known, segment_id=segment_id)


def find_faults(
    conditions: Conditions, known: KnownReferences, *, segment_id: int | None = None
) -> list[ConditionFault]:
    """Return the faults of conditions, in their order. Pass the id of the segment that is edited."""
    faults = list[ConditionFault]()
    if not conditions:
        faults.append(ConditionFault("", "A segment needs a condition. Add one."))
    if len(conditions) > MOST_GROUPS:
        faults.append(ConditionFault("", f"A segment has at most {MOST_GROUPS} groups of conditions."))
    if len(flatten(conditions)) > MOST_CONDITIONS:
        faults.append(ConditionFault("", f"A segment has at most {MOST_CONDITIONS} conditions."))
    for number, group in enumerate(conditions):
        if not group:
            faults.append(
                ConditionFault(f"[{number}]", "A group of conditions needs a condition. Add one or remove the group.")
            )
        for place, condition in enumerate(group):
            faults += (
                ConditionFault(f"[{number}][{place}]{fault.place}", fault.sentence)
                for fault in _check(condition, known)
            )
    if segment_id is not None and _leads_to(conditions, segment_id, known.segments):
        faults.append(
            ConditionFault(
                "", "The conditions lead back to this segment through other segments. Remove one of these references."
            )
        )
    return faults


def _leads_to(conditions: Conditions, segment_id: int, segments: Mapping[int, Conditions]) -> bool:
    to_do, seen = set(references_of(conditions)), set[int]()
    while to_do:
        id_ = to_do.pop()
        if id_ == segment_id:
            return True
        if id_ not in seen:
            seen.add(id_)
            to_do |= references_of(segments.get(id_, ()))
    return False


def _check(condition: Condition, known: KnownReferences) -> Iterator[ConditionFault]:  # noqa: C901 - a case each
    match condition:
        case TraitCondition() | GroupTraitCondition():
            yield from _check_path(condition.path)
            yield from _check_test(condition.test)
        case GroupCondition():
            yield from _check_texts(".ids", condition.ids, least=0)
        case PersonaCondition():
            yield from _check_texts(".name", (condition.name,))
        case CustomDataCondition():
            if known.custom_data is not None and condition.index not in known.custom_data:
                yield ConditionFault(".index", f"The site has no custom data with the index {condition.index}.")
            yield from _check_test(condition.test)
        case GoalCondition():
            yield from _check_goal(condition, known)
        case SeenCondition():
            yield from _check_test(condition.test)
        case VisitsCondition():
            yield from _check_test(condition.test)
            yield from _check_days(".days", condition.days, most=MOST_DAYS_OF_VISITS)
        case SourceCondition():
            if condition.source not in known.sources:
                yield ConditionFault(".source", f"The site has no source with the id {condition.source}.")
        case SegmentCondition():
            if condition.segment not in known.segments:
                yield ConditionFault(".segment", f"The site has no segment with the id {condition.segment}.")


def _check_path(path: tuple[str, ...]) -> Iterator[ConditionFault]:
    if not 1 <= len(path) <= MOST_DEPTH:
        yield ConditionFault(".path", f"A path has between 1 and {MOST_DEPTH} names.")
    yield from _check_texts(".path", path, least=0)


def _check_goal(condition: GoalCondition, known: KnownReferences) -> Iterator[ConditionFault]:
    if condition.goal not in known.goals:
        yield ConditionFault(".goal", f"The site has no goal with the id {condition.goal}.")
    if not 1 <= condition.times <= MOST_TIMES:
        yield ConditionFault(".times", f"The number of conversions is between 1 and {MOST_TIMES:,}.")
    if condition.revenue is not None and not condition.currency:
        yield ConditionFault(".currency", "A revenue needs a currency, for example USD.")
    elif condition.currency is not None and not CURRENCY.fullmatch(condition.currency):
        yield ConditionFault(".currency", "A currency has three capital letters, for example USD.")
    if condition.revenue is not None and not condition.revenue.is_finite():
        yield ConditionFault(".revenue", "The revenue must be a number.")
    if condition.days is not None:
        yield from _check_days(".days", condition.days)


def _check_test(test: Test) -> Iterator[ConditionFault]:
    match test:
        case TextTest() | ListTest():
            yield from _check_texts(".test.texts", test.texts)
        case NumberTest():
            yield from _check_number(test)
        case DateTest():
            yield from _check_date(test)


def _check_number(test: NumberTest) -> Iterator[ConditionFault]:
    if not test.number.is_finite():
        yield ConditionFault(".test.number", "A number that can be compared is needed.")
    elif test.how == "between" and (test.most is None or not test.most.is_finite() or test.most < test.number):
        yield ConditionFault(".test.most", "`between` needs a second number that is not smaller than the first.")


def _check_date(test: DateTest) -> Iterator[ConditionFault]:
    if test.how in ("before", "since"):
        if test.date is None or read_date(test.date) is None:
            yield ConditionFault(".test.date", "A date such as 2026-11-22 or 2026-11-22T08:30:00Z is needed.")
    elif test.date is not None:
        yield ConditionFault(".test.date", "Only `before` and `since` compare with a date.")
    elif test.days is None:
        yield ConditionFault(".test.days", "A number of days is needed.")
    else:
        yield from _check_days(".test.days", test.days)


def _check_days(place: str, days: float, *, most: int = MOST_DAYS) -> Iterator[ConditionFault]:
    if not 0 < days <= most:
        yield ConditionFault(place, f"The days must be more than 0 and at most {most:,}.")


def _check_texts(place: str, texts: tuple[str, ...], *, least: int = 1) -> Iterator[ConditionFault]:
    if not least <= len(texts) <= MOST_TEXTS:
        yield ConditionFault(
            place, f"Enter {least} to {MOST_TEXTS} values." if least else f"Enter at most {MOST_TEXTS} values."
        )
    elif not all(0 < len(text) <= TEXT_LENGTH for text in texts):
        yield ConditionFault(place, f"A value has 1 to {TEXT_LENGTH} characters.")
    elif any("\0" in text for text in texts):  # PostgreSQL takes none, and no stored value has one
        yield ConditionFault(place, "A text must not have a null character.")
