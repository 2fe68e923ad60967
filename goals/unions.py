"""Goals that count as one: what is kept of each adds up, but for visitors who converted several of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Final

from django.db import connection

# A visit begins with a conversion when the one before it was so long ago (goals.rollups).
GAP: Final = "interval '30 minutes'"


@dataclass(frozen=True, slots=True)
class Union:
    """What sums over some goals would have wrong."""

    visitors: int = 0  # each once
    visitors_since: int = 0  # who converted since the given day
    visits: Mapping[date, int] = field(default_factory=dict)  # to add to the sum of a day's visits: less than 0 mostly

    def visits_since(self, day: date) -> int:
        """To add to the sum of the visits that began since."""
        return sum(more for its, more in self.visits.items() if its >= day)


def unite(groups: Mapping[int, Sequence[int]], *, since: date) -> dict[int, Union]:
    """The unions of groups of goals of a site, each under the group's key, where it has a visitor. One query, if any.

    It reads the figures of all their visitors, and the conversions of those whose times in two goals lie less than a
    visit's gap apart: all other visits are as many together as they are apart.
    """
    if not groups:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH member AS MATERIALIZED (
                SELECT m.key, m.goal_id, g.site_id
                  FROM unnest(%(keys)s::bigint[], %(ids)s::bigint[]) AS m (key, goal_id)
                  JOIN goals_goal g ON g.id = m.goal_id
            ), seen AS MATERIALIZED (
                SELECT m.key, v.visitor_code, v.first_at, v.last_at
                  FROM member m JOIN goals_goalvisitor v USING (goal_id)
            ), visitor AS MATERIALIZED (
                SELECT key, visitor_code, count(*) AS goals, max(last_at) AS last_at FROM seen GROUP BY 1, 2
            ), apart AS (
                SELECT key, visitor_code, seen.first_at - max(seen.last_at) OVER earlier >= {GAP} AS is_apart
                  FROM seen JOIN visitor AS v USING (key, visitor_code)
                 WHERE v.goals > 1
                WINDOW earlier AS (PARTITION BY key, visitor_code ORDER BY seen.first_at
                                   ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            ), close AS MATERIALIZED (
                SELECT DISTINCT key, visitor_code FROM apart WHERE NOT is_apart
            ), hit AS (
                SELECT key, c.occurred_at,
                       coalesce(c.occurred_at - lag(c.occurred_at) OVER together >= {GAP}, true)::int
                       - coalesce(c.occurred_at - lag(c.occurred_at) OVER alone >= {GAP}, true)::int AS more
                  FROM close
                  JOIN LATERAL (  -- by the visitor alone: with the goal, its whole index would be read each time
                       SELECT goal_id, visitor_code, occurred_at FROM goals_conversion
                        WHERE site_id = (SELECT site_id FROM member LIMIT 1) AND visitor_code = close.visitor_code
                       OFFSET 0) AS c ON true
                  JOIN member m USING (key, goal_id)
                WINDOW together AS (PARTITION BY key, c.visitor_code ORDER BY c.occurred_at),
                       alone AS (PARTITION BY key, c.visitor_code, goal_id ORDER BY c.occurred_at)
            )
            SELECT key, NULL::date, count(*), count(*) FILTER (WHERE last_at >= %(since)s) FROM visitor GROUP BY key
             UNION ALL
            SELECT key, (occurred_at AT TIME ZONE 'UTC')::date, sum(more), 0 FROM hit WHERE more <> 0 GROUP BY 1, 2
            """,
            {
                "keys": [key for key, ids in groups.items() for _ in ids],
                "ids": [id_ for ids in groups.values() for id_ in ids],
                "since": datetime(since.year, since.month, since.day, tzinfo=UTC),
            },
        )
        rows = cursor.fetchall()
    visits: dict[int, dict[date, int]] = {}
    for key, day, more, _ in rows:
        if day is not None:
            visits.setdefault(key, {})[day] = more
    return {key: Union(count, recent, visits.get(key, {})) for key, day, count, recent in rows if day is None}
