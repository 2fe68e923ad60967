"""Moments at which persons were there, from facts of visits, conversions and exposures: first, last, and visits.

A person is a number with visitor codes. A stretch of activity counts as the moment at which it began, because pages
that are open prolong it all the time.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection

from goals.by_visitor import IS_LIVE
from goals.visits import VISIT_GAP


@dataclass(slots=True)
class Codes:
    """The ids of persons under which their moments are stored, each with the number of the person."""

    holders: list[tuple[int, str, bool]] = field(default_factory=list)  # (person, code, True for the id of a user)
    codes: list[tuple[int, str]] = field(default_factory=list)  # of conversions

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the parameters of HOLDERS."""
        return {
            "persons": [person for person, _, _ in self.holders],
            "holders": [code for _, code, _ in self.holders],
            "users": [is_user for _, _, is_user in self.holders],
            "owners": [person for person, _ in self.codes],
            "codes": [code for _, code in self.codes],
        }


HOLDERS: Final = """
holder AS MATERIALIZED (
    SELECT * FROM unnest(%(persons)b::int[], %(holders)b::text[], %(users)b::bool[]) AS h (person, code, is_user)
), code AS MATERIALIZED (
    SELECT * FROM unnest(%(owners)b::int[], %(codes)b::text[]) AS c (person, code)
)
"""
OF_HOLDER: Final = "x.site_id = %(site)b AND x.visitor_code = h.code AND x.is_user = h.is_user"
LIVE_GOAL: Final = IS_LIVE.replace("c.goal_id", "x.goal_id")
# Kinds of rows `x` with their beginning and end, and whose they are. Each is found by an index that ends with its time,
# but for exposures, of which a visitor has few.
KINDS: Final = (
    (
        "goals_visitfact",
        "occurred_at",
        "occurred_at",
        f"{OF_HOLDER} AND x.type = t.type",
        "holder h, generate_series(1, 4) AS t (type)",
    ),
    ("goals_visitactivity", "started_at", "last_at", OF_HOLDER, "holder h"),
    ("goals_exposure", "first_at", "first_at", OF_HOLDER, "holder h"),
    ("goals_cancellation", "occurred_at", "occurred_at", f"{OF_HOLDER} AND {LIVE_GOAL}", "holder h"),
    (
        "goals_conversion",
        "occurred_at",
        "occurred_at",
        f"x.site_id = %(site)b AND x.visitor_code = h.code AND {LIVE_GOAL}",
        "code h",
    ),
)
# The first and the last moment of each kind.
ENDS: Final = " UNION ALL ".join(
    f"""
    SELECT h.person, its.at FROM {holders} CROSS JOIN LATERAL (
        SELECT x.{time} AS at FROM {table} x WHERE {condition} ORDER BY x.{time} {order} LIMIT 1
    ) AS its
    """
    for table, time, _, condition, holders in KINDS
    for order in ("ASC", "DESC")
)


def load_seen(site_id: int, codes: Codes) -> dict[int, tuple[datetime, datetime]]:
    """Return the first and last moment of each person that has one. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH {HOLDERS} SELECT person, min(at), max(at) FROM ({ENDS}) AS ends GROUP BY person",
            {"site": site_id, **codes.parameters},
        )
        return {person: (first, last) for person, first, last in cursor.fetchall()}


def load_activity(site_id: int, codes: Codes, *, most: int) -> dict[int, tuple[datetime | None, int]]:
    """Return the last moment of each person and its conversions, of each visitor code `most` at most. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH {HOLDERS}
            SELECT person, max(at), sum(conversions)::int FROM (
                SELECT ends.person, ends.at, 0 AS conversions FROM ({ENDS}) AS ends
                 UNION ALL
                SELECT h.person, NULL, its.conversions FROM code h CROSS JOIN LATERAL (
                    SELECT count(*) AS conversions FROM (
                        SELECT 1 FROM goals_conversion x
                         WHERE x.site_id = %(site)b AND x.visitor_code = h.code AND {LIVE_GOAL} LIMIT %(most)b
                    ) AS counted
                ) AS its
            ) AS all_of_it GROUP BY person
            """,
            {"site": site_id, "most": most, **codes.parameters},
        )
        return {person: (last, conversions) for person, last, conversions in cursor.fetchall()}


def load_visits(site_id: int, codes: Codes, *, since: datetime) -> Mapping[int, Sequence[datetime]]:
    """Return the times after `since` at which visits of each person began, the oldest first. One query.

    Whether a moment begins a visit depends on the 30 minutes before it, and on nothing earlier.
    """
    moments = " UNION ALL ".join(
        f"""
        SELECT h.person, its.began, its.ended FROM {holders} CROSS JOIN LATERAL (
            SELECT x.{time} AS began, x.{end} AS ended FROM {table} x
             WHERE {condition} AND x.{end} > %(before)b OFFSET 0
        ) AS its
        """
        for table, time, end, condition, holders in KINDS
    )
    parameters: dict[str, Any] = {"site": site_id, "since": since, "before": since - VISIT_GAP, "gap": VISIT_GAP}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH {HOLDERS}, moment AS ({moments}), ordered AS (
                SELECT person, began, max(ended) OVER (
                           PARTITION BY person ORDER BY began, ended ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                       ) AS reached
                  FROM moment
            )
            SELECT person, began FROM ordered
             WHERE began > %(since)b AND (reached IS NULL OR began - reached >= %(gap)b)
             ORDER BY person, began
            """,
            parameters | codes.parameters,
        )
        visits = defaultdict[int, list[datetime]](list)
        for person, began in cursor.fetchall():
            visits[person].append(began)
    return visits
