"""Zones in which the days of goals are counted: those of their sites, once a worker has counted the goals again.

A goal has the zone of its rows in GoalDay, so that each statement counts its days alike before, during and after that.
"""

from typing import Final

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from goals.models import Goal
from goals.totals import recount_days

# Two probes of the index of sites and zones: `<>` would read all goals.
SITES_TO_RECOUNT: Final = """
    SELECT s.id, s.time_zone FROM api_site s
     WHERE EXISTS (SELECT FROM goals_goal g
                    WHERE g.site_id = s.id AND g.deleted_at IS NULL AND g.day_zone < s.time_zone)
        OR EXISTS (SELECT FROM goals_goal g
                    WHERE g.site_id = s.id AND g.deleted_at IS NULL AND g.day_zone > s.time_zone)
     ORDER BY s.id
"""


def list_sites_to_recount() -> list[tuple[int, str]]:
    """Return the sites with goals whose days are in another zone, and the zone of each site. One query."""
    with connection.cursor() as cursor:
        cursor.execute(SITES_TO_RECOUNT)
        rows: list[tuple[int, str]] = cursor.fetchall()
    return rows


def count_goals_to_recount(site_id: int, zone: str) -> int:
    """Return how many live goals of a site have days in another zone than this. One query of an index."""
    return select_goals_to_recount(site_id, zone).count()


def select_goals_to_recount(site_id: int, zone: str) -> QuerySet[Goal]:
    """Return the live goals of a site whose days are not in this zone."""
    is_other = Q(day_zone__lt=zone) | Q(day_zone__gt=zone)
    return Goal.objects.filter(is_other, site_id=site_id, deleted_at=None)


def recount_next(site_id: int, zone: str) -> bool:
    """Count the days of a site's next goal in this zone. Return False if all are. One transaction of five queries."""
    goal_id = select_goals_to_recount(site_id, zone).order_by("pk").values_list("pk", flat=True).first()
    if goal_id is None:
        return False
    with transaction.atomic():
        recount_days(site_id, goal_id, zone=zone)
    return True
