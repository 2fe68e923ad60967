"""Tables of sent times with the resulting times of events."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.events.clock import find_event_time, parse_time

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


def iso(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


@pytest.mark.promise("I-06", "I-07", "I-08")
@pytest.mark.parametrize(
    ("timestamp", "original", "sent_at", "at", "warnings"),
    [
        (None, None, None, 0, ()),
        (iso(-5), None, None, -5, ()),
        (iso(-86_400 * 30), None, None, -86_400 * 30, ()),
        (None, iso(-5), None, -5, ()),
        (iso(-5), iso(-900), iso(-890), -5, ()),  # corrected upstream, so unchanged
        (iso(-5), None, iso(-4), -5, ()),  # a clock that is right
        (iso(-65), None, iso(-60), -65, ()),  # off by exactly 60 s: not corrected
        (iso(-66), None, iso(-61), -5, ("clock_corrected",)),
        (iso(-7205), None, iso(-7200), -5, ("clock_corrected",)),
        (iso(7195), None, iso(7200), -5, ("clock_corrected",)),
        (iso(299), None, None, 299, ()),
        (iso(300), None, None, 300, ()),
        (iso(301), None, None, 0, ("future_timestamp",)),
        (iso(-5), None, "nonsense", -5, ()),
        ("2026-11-22T11:59:55.000Z", None, None, -5, ()),
        ("2026-11-22T13:59:55+02:00", None, None, -5, ()),
        ("2026-11-22 11:59:55", None, None, -5, ()),
        ("2026-11-22T11:59:55.123456789Z", None, None, -4.876544, ()),
        ("9999-12-31T23:59:59Z", None, None, 0, ("future_timestamp",)),
        ("9999-12-31T23:59:59Z", None, "1999-12-31T23:59:59Z", 0, ("future_timestamp",)),
        ("0001-01-01T00:00:00Z", None, None, 0, ("invalid_timestamp",)),
        ("", None, None, 0, ("invalid_timestamp",)),
        ([], None, None, 0, ("invalid_timestamp",)),
        # The first of the two that can be read.
        ("", iso(-5), None, -5, ()),
        ("nonsense", iso(-5), None, -5, ()),
        ({"at": iso(-9)}, iso(-5), None, -5, ()),
        (iso(-5), "nonsense", None, -5, ()),
        ("nonsense", "", None, 0, ("invalid_timestamp",)),
        ("", iso(-7205), iso(-7200), -5, ("clock_corrected",)),  # not corrected before
        (iso(-7205), "", iso(-7200), -5, ("clock_corrected",)),
        (EPOCH - 7205, None, (EPOCH - 7200) * 1000, -5, ("clock_corrected",)),
    ],
)
def test_stamp__of_what_a_sender_says__is(
    timestamp: Any, original: Any, sent_at: Any, at: float, warnings: tuple[str, ...]
) -> None:
    stamped = find_event_time(timestamp=timestamp, original=original, sent_at=sent_at, received_at=NOW)

    assert (stamped.at, stamped.warnings) == (NOW + timedelta(seconds=at), warnings)


@pytest.mark.promise("I-06", "I-08")
@pytest.mark.parametrize(
    "given",
    [
        "2026-11-22T12:00:00Z",
        "2026-11-22t12:00:00z",
        "2026-11-22t13:00:00+01:00",
        "2026-11-22T12:00:00.000z",
        "2026-11-22 12:00:00 UTC",
        "2026-11-22 12:00:00.000000 UTC",
        "2026-11-22T12:00:00 GMT",
        "2026-11-22 12:00:00 utc",
        "2026-11-22 12:00:00.000 +0000 UTC",
        "20261122T120000Z",
        EPOCH,
        float(EPOCH),
        EPOCH * 1000,
        EPOCH * 1000 + 0.25,
        str(EPOCH),
        f"{EPOCH}.0",
        f" {EPOCH * 1000} ",
        "Sun, 22 Nov 2026 12:00:00 GMT",
        "Sun, 22 Nov 2026 13:00:00 +0100",
        "sun, 22 nov 2026 12:00:00 -0000",
        "22 Nov 2026 12:00 UT",
        "22 Nov 2026 07:00:00 EST",
        "Sun, 22 Nov 2026 12:00:00 +0000 (UTC)",
        "Sun Nov 22 2026 13:00:00 GMT+0100 (Central European Standard Time)",
    ],
)
def test_parse_time__of_a_spelling_of_noon__is_noon(given: Any) -> None:
    read = parse_time(given)

    assert read is not None
    assert abs(read - NOW) < timedelta(milliseconds=1)


@pytest.mark.promise("I-08")
@pytest.mark.parametrize(
    ("given", "at"),
    [
        (978_307_199, None),
        (978_307_200, datetime(2001, 1, 1, tzinfo=UTC)),
        (4_102_444_799, datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (4_102_444_800, None),
        (978_307_199_999, None),
        (978_307_200_000, datetime(2001, 1, 1, tzinfo=UTC)),
        (978_307_200_500, datetime(2001, 1, 1, microsecond=500_000, tzinfo=UTC)),
        (4_102_444_799_000, datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (4_102_444_800_000, None),
        ("1969-12-31T23:59:59Z", None),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("978307199", None),
        ("978307200", datetime(2001, 1, 1, tzinfo=UTC)),
        ("4102444800000", None),
        ("20261122", datetime(2026, 11, 22, tzinfo=UTC)),  # a date; as a number it would be in 1970
        ("20261122120000", None),
        (0, None),
        (-1, None),
        (True, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        ("9" * 5_000, None),
        ("١٧٦٤١٥٠٠٠٠", None),
        ("2026-11-22 12:00:00 CET", None),
        ("2026-11-22 12:00:00 +0100 UTC", None),  # contradicts itself
        ("Sun, 22 Nov 2026 12:00:00 CET", None),  # `email` knows only American names of time zones
        ("Sun, 22 Nov 2026 12:00:00 A", None),
        ("Sun, 31 Feb 2026 12:00:00 GMT", None),
        ("2026-13-22t12:00:00z", None),
        ("yesterday", None),
    ],
)
def test_parse_time__of_numbers_and_oddities__is(given: Any, at: datetime | None) -> None:
    assert parse_time(given) == at
