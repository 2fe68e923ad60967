"""Status of a site: received and converted by the hour, queued messages, and problems that need attention.

Every query reads kept counts, uses an index, or reads a bounded number of rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import connection
from django.db.models import Exists, OuterRef, Q

from api.ingest.source_counts import SourceCounts
from api.insight.refused_requests import RefusedRequests, find_refused_requests
from api.models import DuplicateSources, Site
from goals import quota
from goals.models import Conversion, Goal

MOST_COUNTED: Final = 10_000  # queued or failed messages; more are shown as "10,000+"
SPAN: Final = timedelta(days=14)
HOUR: Final = timedelta(hours=1)
DAY: Final = 24  # hours
SILENT: Final = timedelta(hours=24)
DUPLICATES_AGE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source with its counts of the last 14 days."""

    id: int
    name: str
    is_enabled: bool
    came: SourceCounts

    def is_silent(self, now: datetime, *, for_: timedelta = SILENT) -> bool:
        """Return True if the source sent something in 14 days but nothing within `for_`."""
        return self.is_enabled and self.came.last_received_at is not None and now - self.came.last_received_at > for_


@dataclass(frozen=True, slots=True)
class InboxState:
    """Queued and failed messages. Counts end at 10,000."""

    oldest: datetime | None  # receipt of the oldest pending message
    pending: int
    failed: int
    deferred: int  # they wait for the new-goal limit


@dataclass(frozen=True, slots=True)
class QuotaHeadroom:
    """Places left in one window of the new-goal limit."""

    window: quota.Window
    left: int


def list_hours(now: datetime) -> list[datetime]:
    """Return the hours of the last 14 days of UTC, up to the current one."""
    current = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    first = current.replace(hour=0) - SPAN + timedelta(days=1)
    return [first + HOUR * number for number in range((current - first) // HOUR + 1)]


def received_by_source(site: Site, *, now: datetime) -> tuple[list[SourceState], Mapping[datetime, SourceCounts]]:
    """Return a site's sources by name, and what they received by the hour, both of 14 days. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT s.id, s.name, s.is_enabled, t.hour, coalesce(sum(t.received), 0)::bigint,
                   coalesce(sum(t.duplicates), 0)::bigint, coalesce(sum(t.rejected), 0)::bigint,
                   max(t.last_received_at)
              FROM api_source s LEFT JOIN api_sourcetally t
                ON t.site_id = s.site_id AND t.source_id = s.id AND t.hour >= %s
             WHERE s.site_id = %s
             GROUP BY GROUPING SETS ((s.id, s.name, s.is_enabled), (t.hour))
             ORDER BY s.name, s.id
            """,
            [list_hours(now)[0], site.pk],
        )
        rows = cursor.fetchall()
    sources = [SourceState(row[0], row[1], row[2], SourceCounts(*row[4:])) for row in rows if row[0] is not None]
    return sources, {row[3]: SourceCounts(*row[4:]) for row in rows if row[0] is None and row[3] is not None}


def count_inbox(site: Site) -> InboxState:
    """Count the queued and failed messages of a site. One query, from indexes alone."""
    counts = ", ".join(
        f"""(SELECT count(*) FROM (SELECT FROM api_message
              WHERE site_id = %(site)s AND status = '{status}' LIMIT %(most)s) AS those)"""
        for status in ("pending", "failed", "deferred")
    )
    oldest = "SELECT received_at FROM api_message WHERE site_id = %(site)s AND status = 'pending' ORDER BY id LIMIT 1"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT ({oldest}), {counts}", {"site": site.pk, "most": MOST_COUNTED})
        return InboxState(*cursor.fetchone())  # the columns are in the order of its fields


def measure_headroom(site: Site, *, now: datetime) -> list[QuotaHeadroom]:
    """Return the places left in both windows of the new-goal limit. One query."""
    windows = quota.build_windows(per_10_seconds=site.goals_per_10_seconds, per_hour=site.goals_per_hour)
    places = quota.count_free_by_window(site.pk, windows, now=now)
    return [QuotaHeadroom(window, left) for window, left in zip(windows, places, strict=True)]


@dataclass(frozen=True, slots=True)
class Problems:
    """Problems of a site that need attention, at most five duplicates and five archived goals."""

    duplicates: list[tuple[str, str, int]]  # names of two sources that sent the same in the last days, and how often
    archived: Sequence[Goal]  # that an event converted after they were archived
    refused: list[RefusedRequests]  # requests whose key opened nothing
    goals: Mapping[int, Goal]  # by id, those of the ids asked for


def find_problems(site: Site, *, now: datetime, goal_ids: Sequence[int] = (), most: int = 5) -> Problems:
    """Return the problems of a site, with the goals of some ids, which the same query reads. Three queries."""
    duplicates = DuplicateSources.objects.filter(site=site, last_seen_at__gt=now - DUPLICATES_AGE).order_by("pk")
    later = Conversion.objects.filter(site=site, goal=OuterRef("pk"), occurred_at__gt=OuterRef("archived_at"))
    still = Q(archived_at__isnull=False) & Q(Exists(later))
    goals = Goal.objects.filter(Q(pk__in=goal_ids) | still, site=site, deleted_at=None)
    found = list(goals.annotate(still_converts=Exists(later)).order_by("still_converts", "pk")[: len(goal_ids) + most])
    return Problems(
        duplicates=list(duplicates.values_list("one__name", "other__name", "count")[:most]),
        archived=[goal for goal in found if goal.still_converts][:most],
        refused=find_refused_requests(site, now=now),
        goals={goal.pk: goal for goal in found},
    )
