"""Tests of one value of a person: text, number, true or false, date, list. Pure."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, assert_never

from django.utils.dateparse import parse_date, parse_datetime

from cohorts.reserved_traits import unwrap_single
from cohorts.segments.conditions import BooleanTest, DateTest, Exists, ListTest, NumberTest, Test, TextTest
from cohorts.segments.signals import ALWAYS, NEVER, Signal, all_of, claim, since, until
from cohorts.value_match import NUMBER, matches

JudgeValue = Callable[[Any, datetime], Signal]
MILLISECONDS_FROM: Final = 100_000_000_000  # a larger number of a Unix time is one of milliseconds


def find_value(fields: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return the value at a path, None if there is none."""
    value: Any = fields
    for name in path:
        value = unwrap_single(value)
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def compile_test(test: Test) -> JudgeValue:
    """Return the function that judges a value by a test. No value passes any test."""
    if isinstance(test, DateTest):
        return lambda value, now: judge_date(read_date(unwrap_single(value)), test, now)
    if isinstance(test, TextTest) and test.how == "equals":
        texts = frozenset(test.texts)
        return lambda value, _: claim(value in texts if isinstance(value, str) else passes_any(value, texts))
    if isinstance(test, NumberTest):
        # A number is compared as it is, because int and Decimal compare exactly.
        return lambda value, _: claim(
            passes_number(value, test) if type(value) is int else value is not None and passes(value, test)
        )
    return lambda value, _: claim(value is not None and passes(value, test))


def passes(value: Any, test: Exists | TextTest | NumberTest | BooleanTest | ListTest) -> bool:
    """Return True if a value that is there passes a test that does not depend on time."""
    match test:
        case Exists():
            return True
        case TextTest():
            return _passes_text(value, test)
        case NumberTest():
            number = read_number(unwrap_single(value))
            return number is not None and passes_number(number, test)
        case BooleanTest():
            return _read_boolean(unwrap_single(value)) is test.is_true
        case ListTest():
            found = (matches(value, text) for text in test.texts)
            return any(found) if test.how == "any" else all(found)
    assert_never(test)


def passes_any(value: Any, texts: Collection[str]) -> bool:
    """Return True if a value matches one of these texts."""
    return any(matches(value, text) for text in texts)


def passes_number(number: Decimal | int, test: NumberTest) -> bool:
    """Return True if a number passes."""
    match test.how:
        case "equals":
            return number == test.number
        case "above":
            return number > test.number
        case "at_least":
            return number >= test.number
        case "below":
            return number < test.number
        case "at_most":
            return number <= test.number
        case "between":
            return test.number <= number <= (test.number if test.most is None else test.most)
    assert_never(test.how)


def judge_date(moment: datetime | None, test: DateTest, now: datetime) -> Signal:
    """Return the signal of a test of a time; no time passes none."""
    if moment is None:
        return NEVER
    if test.how in ("before", "since"):
        day = read_date(test.date)
        return ALWAYS if day is not None and (moment < day) is (test.how == "before") else NEVER
    span = timedelta(days=test.days or 0)
    match test.how:
        case "within":  # in the last days, and not in the future
            return all_of([since(moment, now), until(_add(moment, span), now)])
        case "longer_ago":
            return since(_add(moment, span), now)
        case _:  # in the next days
            return all_of([since(_add(moment, -span), now), until(moment, now)])


def read_number(value: Any) -> Decimal | None:
    """Return a number, or text that is one, as a decimal."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    text = repr(value) if isinstance(value, float) else value
    if not isinstance(text, str) or not NUMBER.fullmatch(text.strip()):
        return None
    try:
        return Decimal(text.strip())
    except InvalidOperation:  # an exponent that no number can have
        return None


@lru_cache(maxsize=16_384)
def _read_date_text(text: str) -> datetime | None:
    try:
        moment = parse_datetime(text)
        if moment is None:
            day = parse_date(text)
            moment = None if day is None else datetime.combine(day, time())
    except ValueError:  # in the form of a date that no calendar has
        return None
    if moment is None:
        return None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:  # in the year 0 or 10000 of UTC
        return None


def read_date(value: Any) -> datetime | None:
    """Return a date such as 2026-11-22, a time, or a Unix time in seconds or milliseconds; without a zone of UTC."""
    if isinstance(value, str):
        return _read_date_text(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value / 1_000 if abs(value) >= MILLISECONDS_FROM else value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _add(moment: datetime, span: timedelta) -> datetime:
    try:
        return moment + span
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if span > timedelta() else datetime.min.replace(tzinfo=UTC)


def _passes_text(value: Any, test: TextTest) -> bool:
    if test.how == "equals":
        return passes_any(value, test.texts)
    texts = [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]
    match test.how:
        case "contains":
            return any(part in text for text in texts for part in test.texts)
        case "begins":
            return any(text.startswith(test.texts) for text in texts)
        case "ends":
            return any(text.endswith(test.texts) for text in texts)
    assert_never(test.how)


def _read_boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value) if isinstance(value, str) else None
