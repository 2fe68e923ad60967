"""Counting of days again after a site has got another zone, of all sites in turns."""

from api.digest.trouble import trouble_of
from goals.day_zones import list_sites_to_recount, recount_next


def recount_next_of_each() -> bool:
    """Count the days of the next goal of each site again. Return False if no site has one that can be counted.

    A site with many goals, or in trouble, delays no other.
    """
    has_counted = False
    for site_id, zone in list_sites_to_recount():
        with trouble_of(site_id):
            has_counted |= recount_next(site_id, zone)
    return has_counted
