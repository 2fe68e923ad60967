"""Spans of days and times that addresses ask for: read, or told why they cannot be."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from django.utils.dateparse import parse_datetime

from goals.reports import SeriesStep

DAYS: Final = 30  # unless the address says otherwise
FIRST_YEAR, LAST_YEAR = 1990, 2200


@dataclass(frozen=True, slots=True)
class Span:
    """The days of a goal's figures, and the step of its chart. Days are of UTC, the last one included."""

    first: date
    last: date
    step: SeriesStep
    now: datetime
    trouble: str = ""  # why there is nothing to show
    note: str = ""  # what is shown instead of what was asked for

    @property
    def begin(self) -> datetime:
        return datetime(self.first.year, self.first.month, self.first.day, tzinfo=UTC)

    @property
    def end(self) -> datetime:
        """The end of the last day, or now: of the future there is nothing to draw."""
        midnight = datetime(self.last.year, self.last.month, self.last.day, tzinfo=UTC) + timedelta(days=1)
        return min(midnight, self.now)


def read_span(asked: Mapping[str, str], *, now: datetime) -> Span:
    """Return the days that an address asks for, else the last 30, by day."""
    today = now.astimezone(UTC).date()
    step = SeriesStep(asked.get("step", "")) if asked.get("step", "") in set(SeriesStep) else SeriesStep.DAY
    first, last = _day(asked.get("from", "")), _day(asked.get("to", ""))
    unreadable = [
        f"{label} (“{asked.get(name, '')[:40]}”)"
        for name, label, day in (("from", "From", first), ("to", "To", last))
        if day is None and asked.get(name, "").strip()
    ]
    last = last or (max(today, first) if first else today)
    first = first or last - timedelta(days=DAYS - 1)
    if unreadable:
        trouble = f"{' and '.join(unreadable)} cannot be read as a day. Write it as {today}."
    else:
        trouble = trouble_of(first, last, now=today)
    if trouble or last <= today:
        return Span(first, last, step, now, trouble)
    return Span(
        first, today, step, now, note=f"To ({last}) is in the future. Days are shown up to today, {today} (UTC)."
    )


def trouble_of(since: date | None, until: date | None, *, now: date) -> str:
    """Return why nothing can be between two days, or between two times; empty where something can."""
    if since is not None and until is not None and since > until:
        return f"From ({_say(since)}) is later than To ({_say(until)}): nothing is between them. Change one of the two."
    if since is not None and since > now:
        return f"From ({_say(since)}) is in the future: nothing has happened yet. It is {_say(now)} (UTC) now."
    return ""


def read_time(given: str) -> datetime | None:
    """Return a time of UTC, as `<input type="datetime-local">` sends it; None where it cannot be read."""
    try:
        at = parse_datetime(given.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC) if at else None
    except (ValueError, OverflowError):  # the year 1 of New Zealand begins before UTC's
        return None


def trouble_of_times(asked: Mapping[str, str], *, now: datetime) -> str:
    """Return what is wrong with `since` and `until` of an address; empty where nothing is."""
    for name, label in (("since", "From"), ("until", "Until")):
        text = asked.get(name, "").strip()
        if text and read_time(text) is None:
            return f"{label} (“{text[:40]}”) cannot be read as a time. Write it as {now:%Y-%m-%dT%H:%M}."
    since, until = read_time(asked.get("since", "")), read_time(asked.get("until", ""))
    return trouble_of(since, until, now=now).replace("To (", "Until (")


def _day(text: str) -> date | None:
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        return None
    return day if FIRST_YEAR <= day.year <= LAST_YEAR else None


def _say(when: date) -> str:
    return f"{when:%Y-%m-%d %H:%M}" if isinstance(when, datetime) else f"{when}"
