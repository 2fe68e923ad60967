"""Days of a site: the only place that says in which zone they begin and end."""

from datetime import date, datetime, tzinfo

import zones
from api.models.sites import Site


def zone_of(site: Site) -> tzinfo:
    """Return the zone of a site's days."""
    return site.zone


def day_of(site: Site, at: datetime) -> date:
    """Return the day of a site that contains this moment."""
    return zones.day_of(at, zone_of(site))


def start_of_day(site: Site, day: date) -> datetime:
    """Return the first moment of a day of a site."""
    return zones.start_of(day, zone_of(site))


def end_of_day(site: Site, day: date) -> datetime:
    """Return the first moment after a day of a site: after 23, 24 or 25 hours."""
    return zones.end_of(day, zone_of(site))
