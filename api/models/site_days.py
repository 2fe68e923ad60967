"""Days of a site: the only place that says in which zone they begin and end."""

from datetime import UTC, date, datetime, timedelta, tzinfo

from api.models.sites import Site


def zone_of(site: Site) -> tzinfo:  # noqa: ARG001 - every site has the days of UTC
    """Return the zone of a site's days."""
    return UTC


def day_of(site: Site, at: datetime) -> date:
    """Return the day of a site that contains this moment."""
    return at.astimezone(zone_of(site)).date()


def start_of_day(site: Site, day: date) -> datetime:
    """Return the first moment of a day of a site, in the site's zone."""
    return datetime(day.year, day.month, day.day, tzinfo=zone_of(site))


def end_of_day(site: Site, day: date) -> datetime:
    """Return the first moment after a day of a site."""
    return start_of_day(site, day + timedelta(days=1))
