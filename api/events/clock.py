"""The time of an event: the sender's clock, corrected if it is clearly wrong. Pure."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec
from django.utils.dateparse import parse_datetime

MAX_SKEW: Final = timedelta(seconds=60)
MAX_AHEAD: Final = timedelta(minutes=5)
EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
# From 2001 to 2100: no number is both in seconds and in milliseconds, and no year or compact date is either.
EPOCH_SECONDS: Final = (978_307_200, 4_102_444_800)
EPOCH: Final = re.compile(r"\d{9,13}(?:\.\d*)?\Z", re.ASCII)
# `2026-11-20 10:00:00 UTC` (Ruby), `… +0000 UTC` (Go), and `t` and `z`, which RFC 3339 allows.
ISO_IN_UTC: Final = re.compile(r"(\d[\dT :.-]*\d)\s?(?:[+-]00:?00\s?)?(?:UTC|GMT|Z)\Z", re.ASCII)
# Only zones that name one offset, because `email` takes every other name for UTC.
RFC_2822: Final = re.compile(
    r"(?:[a-z]{3},\s*)?\d{1,2}\s+[a-z]{3}\s+\d{4}\s+\d{2}:\d{2}(?::\d{2})?\s+"
    r"(?:[+-]\d{4}|Z|UT|UTC|GMT|EST|EDT|CST|CDT|MST|MDT|PST|PDT)(?:\s*\([^()]*\))?\Z",
    re.ASCII | re.IGNORECASE,
)
JAVASCRIPT: Final = re.compile(  # Date.prototype.toString
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d{2}) (\d{4}) (\d{2}:\d{2}:\d{2}) GMT([+-]\d{4})(?: \(.*\))?\Z", re.ASCII
)


class EventTime(msgspec.Struct, frozen=True):
    """The time at which an event counts, with warnings."""

    at: datetime
    warnings: tuple[str, ...] = ()


def parse_time(given: object) -> datetime | None:
    """Return the time that a sender gave, in UTC; None if it cannot be read (promise I-08).

    ISO 8601 (UTC if it names no zone), RFC 2822, JavaScript's `toString()`, or seconds or milliseconds since 1970, as a
    number or in digits, if they lie between 2001 and 2100.
    """
    if isinstance(given, datetime):
        return given
    if isinstance(given, int | float) and not isinstance(given, bool):
        return _parse_epoch(given)
    if not isinstance(given, str):
        return None
    text = given.strip()
    try:
        parsed = _parse_epoch(float(text)) if EPOCH.match(text) else None
        parsed = parsed or parse_datetime(text) or _parse_rare(text)
        if parsed is None:
            return None
        parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return parsed if parsed >= EARLIEST else None


def _parse_epoch(number: float) -> datetime | None:
    first, end = EPOCH_SECONDS
    if first <= number < end:
        return datetime.fromtimestamp(number, UTC)
    if first * 1000 <= number < end * 1000:
        return datetime.fromtimestamp(number / 1000, UTC)
    return None


def _parse_rare(text: str) -> datetime | None:
    """Return the time in one of the rare formats. Raises ValueError."""
    in_utc = ISO_IN_UTC.match(text.upper())
    if in_utc:
        return parse_datetime(f"{in_utc[1]}Z")
    text = JAVASCRIPT.sub(r"\2 \1 \3 \4 \5", text)
    return parsedate_to_datetime(text) if RFC_2822.match(text) else None


def find_event_time(*, timestamp: object, original: object, sent_at: object, received_at: datetime) -> EventTime:
    """Return the time of an event: the first of `timestamp` and `originalTimestamp` that can be read.

    `timestamp` counts as it is if the sender gives `originalTimestamp` too: RudderStack's Node.js SDK then sends the
    time that its caller chose. Otherwise the time is corrected by `sentAt`, if the sender's clock is off by more than
    60 s. If neither can be read, or the time is more than 5 minutes ahead after that, receipt counts, with a warning.
    """
    if timestamp is None and original is None:
        return EventTime(received_at)
    corrected, uncorrected = parse_time(timestamp), parse_time(original)
    at = corrected or uncorrected
    if at is None:
        return EventTime(received_at, ("invalid_timestamp",))
    warnings: tuple[str, ...] = ()
    sent = parse_time(sent_at)
    if sent is not None and (corrected is None or uncorrected is None):
        skew = received_at - sent
        if abs(skew) > MAX_SKEW:
            try:
                at, warnings = at + skew, ("clock_corrected",)
            except OverflowError:
                return EventTime(received_at, ("future_timestamp",))
    if at - received_at > MAX_AHEAD:
        return EventTime(received_at, (*warnings, "future_timestamp"))
    return EventTime(at, warnings)
