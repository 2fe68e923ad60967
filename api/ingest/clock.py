"""When an event happened: the sender's clock, corrected where it is plainly wrong. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils.dateparse import parse_datetime

SKEW: Final = timedelta(seconds=60)
AHEAD: Final = timedelta(minutes=5)
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stamped:
    """The time an event counts at, and what was odd about it."""

    at: datetime
    warnings: tuple[str, ...] = ()


def parse_time(given: object) -> datetime | None:
    """An ISO 8601 date-time in UTC (without a zone: UTC); None for anything else, numbers included (promises I-08)."""
    if isinstance(given, datetime):
        return given
    if not isinstance(given, str):
        return None
    try:
        parsed = parse_datetime(given.strip())
        if parsed is None:
            return None
        parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return parsed if parsed >= EARLIEST else None


def stamp(*, timestamp: object, original: object, sent_at: object, received_at: datetime) -> Stamped:
    """The time of an event (design "Times").

    `timestamp` stands as it is when the sender gives `originalTimestamp` too: somebody has corrected it already
    (wire-segment a5). Else it is corrected by `sentAt`, if the sender's clock is off by more than 60 s. What cannot be
    read, or lies more than 5 minutes ahead after that, becomes the time of receipt, with a warning.
    """
    given = timestamp if timestamp is not None else original
    if given is None:
        return Stamped(received_at)
    at = parse_time(given)
    if at is None:
        return Stamped(received_at, ("invalid_timestamp",))
    warnings: tuple[str, ...] = ()
    sent = parse_time(sent_at)
    if sent is not None and (timestamp is None or original is None):
        skew = received_at - sent
        if abs(skew) > SKEW:
            try:
                at, warnings = at + skew, ("clock_corrected",)
            except OverflowError:
                return Stamped(received_at, ("future_timestamp",))
    if at - received_at > AHEAD:
        return Stamped(received_at, (*warnings, "future_timestamp"))
    return Stamped(at, warnings)
