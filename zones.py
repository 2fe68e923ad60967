"""Time zones of sites and of people who look at pages: days, and when they begin."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

DEFAULT: Final = "UTC"
WHOLE_MINUTES: Final = datetime(1973, 1, 1, tzinfo=UTC)  # the last offset with seconds was Liberia's, until 1972
# The other names in the database of zones are abbreviations, offsets and old spellings.
REGIONS: Final = (
    *("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific"),
)


@cache
def list_zones() -> tuple[str, ...]:
    """Return the names of zones to choose from: UTC, then those of places, by name."""
    places = sorted(name for name in available_timezones() if name.split("/")[0] in REGIONS and "/" in name)
    return (DEFAULT, *places)


@cache
def find_zone(name: str) -> tzinfo:
    """Return the zone of a name; UTC if this machine does not have it."""
    return ZoneInfo(name) if name != DEFAULT and name in list_zones() else UTC


def name_of(zone: tzinfo) -> str:
    """Return the name of a zone of `find_zone`."""
    return zone.key if isinstance(zone, ZoneInfo) else DEFAULT


def day_of(at: datetime, zone: tzinfo) -> date:
    """Return the day of a time in a zone."""
    return at.astimezone(zone).date()


def start_of(day: date, zone: tzinfo) -> datetime:
    """Return the time in UTC at which a day begins in a zone.

    A clock that is put forward at midnight skips the beginning of the day, which then begins with the next time. One
    that is put back beyond midnight shows it twice, and the day begins with the first.
    """
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def end_of(day: date, zone: tzinfo) -> datetime:
    """Return the time in UTC at which a day ends in a zone: after 23, 24 or 25 hours."""
    return start_of(day + timedelta(days=1), zone)


def start_of_minute(at: datetime) -> datetime:
    """Return the time at which the minute of a time began: no day of any zone begins within a minute.

    The earlier offsets of some zones have seconds, so that a time before WHOLE_MINUTES stays as it is.
    """
    return at.replace(second=0, microsecond=0) if at >= WHOLE_MINUTES else at


def start_of_hour(at: datetime, zone: tzinfo) -> datetime:
    """Return the time in UTC at which the hour of a time began in a zone. In some, that is at half past in UTC."""
    local = at.astimezone(zone)
    return at.astimezone(UTC) - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)


def first_of_week(day: date, first_weekday: int) -> date:
    """Return the first day of the week of a day, if weeks begin with this weekday, 0 for Monday."""
    return day - timedelta(days=(day.weekday() - first_weekday) % 7)
