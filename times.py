"""Times that PostgreSQL can hold and Python cannot: `infinity`, years before Christ and after 9999.

Only a person writes such a row, by hand. It is read as the nearest year that leaves room for arithmetic, so that
pages can show it. The digest refuses an event with such a time.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg.adapt import Loader
from psycopg.types.datetime import DateLoader, IntervalLoader

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
RESOLUTION: Final = timedelta(microseconds=1)
EARLIEST: Final = datetime(2, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9998, 12, 31, tzinfo=UTC)
MICROSECONDS: Final = ((EARLIEST - EPOCH) // RESOLUTION, (LATEST - EPOCH) // RESOLUTION)


def of_stamp(stamp: float) -> datetime:
    """Return the time of the microseconds in a register."""
    first, last = MICROSECONDS
    return EPOCH + int(min(max(stamp, first), last)) * RESOLUTION


def of_text(text: str) -> datetime:
    """Return a time from JSON that PostgreSQL made."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return nearest(text.encode())


def of_day(text: str) -> date:
    """Return a day from JSON that PostgreSQL made."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return nearest(text.encode()).date()


def nearest(text: Any) -> datetime:
    """Return the nearest time that Python can hold, from the text of PostgreSQL."""
    is_early = bytes(text).startswith(b"-") or bytes(text).endswith(b"BC")
    return EARLIEST if is_early else LATEST


class BoundedTimestamptzLoader(Loader):
    """Reads times much faster than Django's loader: a digest reads three for each event."""

    timezone = UTC  # Django registers its own loader for a connection whose loader has another one

    def load(self, data: Any) -> datetime:
        loaded = of_text(bytes(data).decode())
        return loaded if loaded.tzinfo is UTC else loaded.astimezone(UTC)


class BoundedDateLoader(DateLoader):
    def load(self, data: Any) -> date:
        try:
            return super().load(data)
        except psycopg.DataError:
            return nearest(data).date()


class BoundedIntervalLoader(IntervalLoader):
    def load(self, data: Any) -> timedelta:
        try:
            return super().load(data)
        except (psycopg.DataError, OverflowError):
            return nearest(data) - EPOCH


def read_all_times(session: psycopg.Connection[Any]) -> None:
    """Let a session read times that Python cannot hold."""
    session.adapters.register_loader("timestamptz", BoundedTimestamptzLoader)
    session.adapters.register_loader("date", BoundedDateLoader)
    session.adapters.register_loader("interval", BoundedIntervalLoader)
