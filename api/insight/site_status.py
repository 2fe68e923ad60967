"""How a site stands: what came in and converted by the hour, what waits now, and what needs a person.

Every read is of figures that are kept, by an index, or of a bounded number of rows.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from django.db import connection

from api.ingest.source_counts import SourceCounts
from api.insight.refused import REFUSED, Refused, parameters, read_refused
from api.models import Site
from goals import quota

MOST_COUNTED: Final = 10_000  # messages that wait, or that a person must look at; more are told as "10,000+"
SPAN: Final = timedelta(days=14)
HOUR: Final = timedelta(hours=1)
DAY: Final = 24  # hours
SILENT: Final = timedelta(hours=24)
TWIN_AGE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source, and what came through it in the last 14 days."""

    id: int
    name: str
    is_enabled: bool
    came: SourceCounts

    def is_silent(self, now: datetime, *, for_: timedelta = SILENT) -> bool:
        """Whether it was heard of in these days, and in the last of them, or for another time, no more."""
        return self.is_enabled and self.came.last_received_at is not None and now - self.came.last_received_at > for_


@dataclass(frozen=True, slots=True)
class InboxState:
    """What waits. Counts end at 10,000."""

    oldest: datetime | None  # receipt of the oldest message that waits for the digest
    pending: int
    failed: int
    deferred: Mapping[datetime, int]  # those that wait for quota, by the hour of their receipt


@dataclass(frozen=True, slots=True)
class QuotaHeadroom:
    """What is left of one window of the goal quota."""

    window: quota.Window
    left: int


def list_hours(now: datetime) -> list[datetime]:
    """The hours of the last 14 days of UTC, today's first ones the last of them."""
    current = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    first = current.replace(hour=0) - SPAN + timedelta(days=1)
    return [first + HOUR * number for number in range((current - first) // HOUR + 1)]


def received_by_source(site: Site, *, now: datetime) -> tuple[list[SourceState], Mapping[datetime, SourceCounts]]:
    """A site's sources by name, and what came in by the hour, both of 14 days. One query of figures that are kept."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT s.id, s.name, s.is_enabled, t.hour, coalesce(sum(t.received), 0)::bigint,
                   coalesce(sum(t.duplicates), 0)::bigint, coalesce(sum(t.rejected), 0)::bigint,
                   max(t.last_received_at)
              FROM api_source s LEFT JOIN api_sourcetally t ON t.source_id = s.id AND t.hour >= %s
             WHERE s.site_id = %s
             GROUP BY GROUPING SETS ((s.id, s.name, s.is_enabled), (t.hour))
             ORDER BY s.name, s.id
            """,
            [list_hours(now)[0], site.pk],
        )
        rows = cursor.fetchall()
    sources = [SourceState(row[0], row[1], row[2], SourceCounts(*row[4:])) for row in rows if row[0] is not None]
    return sources, {row[3]: SourceCounts(*row[4:]) for row in rows if row[0] is None and row[3] is not None}


def count_conversions(site: Site, *, now: datetime) -> tuple[dict[datetime, int], dict[date, int]]:
    """A site's conversions of the last 24 hours by the hour, and of 14 days by the day, when they happened.

    One query: of the days, figures are kept; of the hours it reads an index, goal by goal.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT date_bin('1 hour', occurred_at, 'epoch'), NULL::date, count(*)
              FROM goals_goal g, LATERAL (
                   SELECT c.occurred_at FROM goals_conversion c
                    WHERE c.goal_id = g.id AND c.occurred_at >= %(hour)s AND c.occurred_at <= %(now)s
                   OFFSET 0) AS each  -- else it might be a join that reads all there is
             WHERE g.site_id = %(site)s AND g.deleted_at IS NULL
             GROUP BY 1
             UNION ALL
            SELECT NULL, d.day, sum(d.conversions)::bigint
              FROM goals_goal g JOIN goals_goalday d ON d.goal_id = g.id AND d.day >= %(day)s
             WHERE g.site_id = %(site)s AND g.deleted_at IS NULL
             GROUP BY d.day
            """,
            {"site": site.pk, "now": now, "hour": list_hours(now)[-DAY], "day": list_hours(now)[0].date()},
        )
        rows = cursor.fetchall()
    by_hour = {hour: count for hour, _, count in rows if hour is not None}
    return by_hour, {day: count for _, day, count in rows if day is not None}


def count_inbox(site: Site) -> InboxState:
    """Return what waits of a site now. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH waiting AS (
                SELECT extract(epoch FROM date_trunc('hour', received_at, 'UTC'))::bigint AS hour, count(*) AS count
                  FROM (SELECT received_at FROM api_message
                         WHERE site_id = %(site)s AND status = 'deferred' LIMIT %(most)s) AS those
                 GROUP BY 1
            )
            SELECT (SELECT received_at FROM api_message
                     WHERE site_id = %(site)s AND status = 'pending' ORDER BY id LIMIT 1),
                   (SELECT count(*) FROM (SELECT FROM api_message
                     WHERE site_id = %(site)s AND status = 'pending' LIMIT %(most)s) AS those),
                   (SELECT count(*) FROM (SELECT FROM api_message
                     WHERE site_id = %(site)s AND status = 'failed' LIMIT %(most)s) AS those),
                   (SELECT array_agg(hour ORDER BY hour) FROM waiting),
                   (SELECT array_agg(count ORDER BY hour) FROM waiting)
            """,
            {"site": site.pk, "most": MOST_COUNTED},
        )
        oldest, pending, failed, times, counts = cursor.fetchone()
    at = [datetime.fromtimestamp(seconds, UTC) for seconds in times or ()]
    return InboxState(oldest, pending, failed, dict(zip(at, counts or (), strict=True)))


def measure_headroom(site: Site, *, now: datetime) -> list[QuotaHeadroom]:
    """What is left of both windows. One query."""
    windows = quota.build_windows(per_10_seconds=site.goals_per_10_seconds, per_hour=site.goals_per_hour)
    places = quota.count_free_by_window(site.pk, windows, now=now)
    return [QuotaHeadroom(window, left) for window, left in zip(windows, places, strict=True)]


@dataclass(frozen=True, slots=True)
class Problems:
    """What a person should look at, at most five of each but the last."""

    twins: list[tuple[str, str, int]]  # sources that sent the same in the last days: their names, how often
    archived: list[tuple[int, str]]  # goals that an event has converted since they were archived: id, name
    refused: list[Refused]  # requests whose key opened nothing


def find_problems(site: Site, *, now: datetime, most: int = 5) -> Problems:
    """Return the problems of a site. One query for all of them, because the home page makes many."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            (SELECT one.name, other.name, t.count, NULL::bigint, NULL::jsonb
               FROM api_twin t JOIN api_source one ON one.id = t.one_id JOIN api_source other ON other.id = t.other_id
              WHERE t.site_id = %(site)s AND t.last_seen_at > %(since)s ORDER BY t.id LIMIT %(most)s)
             UNION ALL
            (SELECT g.name, '', 0, g.id, NULL
               FROM goals_goal g
              WHERE g.site_id = %(site)s AND g.deleted_at IS NULL AND g.archived_at IS NOT NULL
                AND EXISTS (SELECT FROM goals_conversion c WHERE c.goal_id = g.id AND c.occurred_at > g.archived_at)
              ORDER BY g.id LIMIT %(most)s)
             UNION ALL
            (SELECT '', '', 0, NULL, to_jsonb(r) FROM ({REFUSED}) r)
            """,
            {"since": now - TWIN_AGE, "most": most, **parameters(site, now=now)},
        )
        rows = cursor.fetchall()
    return Problems(
        twins=[(name, other, count) for name, other, count, id_, refused in rows if id_ is None and refused is None],
        archived=[(id_, name) for name, _, _, id_, _ in rows if id_ is not None],
        refused=[read_refused(json.loads(refused)) for *_, refused in rows if refused is not None],
    )
