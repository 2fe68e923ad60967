"""When an event happened, as a table."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.ingest.clock import stamp

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


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
        (iso(-5), iso(-900), iso(-890), -5, ()),  # corrected upstream: as it is
        (iso(-5), None, iso(-4), -5, ()),  # a clock that is right
        (iso(-65), None, iso(-60), -65, ()),  # off by exactly 60 s: not corrected
        (iso(-7205), None, iso(-7200), -5, ("clock_corrected",)),
        (iso(7195), None, iso(7200), -5, ("clock_corrected",)),
        (iso(299), None, None, 299, ()),
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
        (1_700_000_000, None, None, 0, ("invalid_timestamp",)),
        ([], None, None, 0, ("invalid_timestamp",)),
    ],
)
def test_stamp__of_what_a_sender_says__is(
    timestamp: Any, original: Any, sent_at: Any, at: float, warnings: tuple[str, ...]
) -> None:
    stamped = stamp(timestamp=timestamp, original=original, sent_at=sent_at, received_at=NOW)

    assert (stamped.at, stamped.warnings) == (NOW + timedelta(seconds=at), warnings)
