"""Counts, durations and times in words, so that no page says "1 events", and long texts in short."""

import math
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

import zones

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
RELATIVE: Final = timedelta(days=7)  # times further away are written as days
# A time as sentences of traces, alerts and the API write it.
TIME_IN_UTC: Final = re.compile(r"\b(\d{4}-\d\d-\d\d) (?:at )?(\d\d:\d\d(?::\d\d)?) UTC\b")


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return `1 event`, `2 events`, `1,234 identities`: the number and its noun."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def shorten(text: str, length: int) -> str:
    """Return a text, cut with an ellipsis if it is longer than a length."""
    return text if len(text) <= length else f"{text[:length]}…"


def duration_of(seconds: float) -> str:
    """Return a duration in its largest unit: `162 ms`, `1.9 s`, `6 min`, `8.7 days`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    limits = (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 172_800), ("days", 86_400, math.inf))
    unit, number = next((unit, seconds / size) for unit, size, limit in limits if seconds < limit)
    return f"{number:,.0f} {unit}" if number >= 10 else f"{number:.1f}".removesuffix(".0") + f" {unit}"  # noqa: PLR2004


def day_in_words(day: date) -> str:
    """Return `26 Nov 2026`, whatever the locale of this machine."""
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def weekday_in_words(day: date) -> str:
    """Return `Thursday, 26 Nov 2026`."""
    return f"{WEEKDAYS[day.weekday()]}, {day_in_words(day)}"


def time_in_words(at: datetime, zone: tzinfo) -> str:
    """Return a time in a zone: `26 Nov 2026, 07:55:10`. One beyond Python's years in this zone stays in its own."""
    with suppress(OverflowError):
        at = at.astimezone(zone)
    return f"{day_in_words(at)}, {at:%H:%M:%S}"


def stamp_of(at: datetime) -> str:
    """Return a time for programs, by ISO 8601 in UTC, to the second: `2026-11-26T07:55:10Z`."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def time_with_zone(at: datetime, zone: tzinfo) -> str:
    """Return a time with the name of its zone: `26 Nov 2026, 07:55:10 (Europe/Zurich)`."""
    return f"{time_in_words(at, zone)} ({zones.name_of(zone)})"


def ago_in_words(at: datetime, zone: tzinfo, *, now: datetime) -> str:
    """Return how long ago a time was, or in how long it will be; its day if that is more than a week.

    `api/static/api/times.js` writes the same on open pages.
    """
    apart = abs(now - at)
    if apart >= RELATIVE:
        return time_in_words(at, zone).partition(",")[0]
    seconds = int(apart.total_seconds())
    size, unit = next(
        (size, unit) for size, unit in ((86_400, "day"), (3_600, "h"), (60, "min"), (0, "s")) if seconds >= size
    )
    number = seconds // (size or 1)
    unit = "days" if unit == "day" and number > 1 else unit
    return f"in {number} {unit}" if at > now else f"{number} {unit} ago"


def replace_times(text: str, write: Callable[[datetime], str]) -> str:
    """Return a text with each of its times, such as `2026-11-26 06:55:10 UTC`, in another form."""

    def replace(match: re.Match[str]) -> str:
        try:
            at = datetime.fromisoformat(f"{match[1]} {match[2]}").replace(tzinfo=UTC)
        except ValueError:  # a text of a sender that only looks like a time
            return match[0]
        return write(at)

    return TIME_IN_UTC.sub(replace, text)
