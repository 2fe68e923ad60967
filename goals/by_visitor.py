"""Conversions of many visitor codes at once: totals of goals, the latest conversions, and sources.

A goal that was merged into another counts for both. Goals that are deleted count for none.
"""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
from django.db import connection

MOST_LATEST: Final = 1_000  # conversions that are read of a visitor code on a goal
CodeOfGoal = tuple[str, int]

# The goals asked for and those merged into them, each with the goals for which it counts.
COUNTED: Final = """
    SELECT g.id, ARRAY[g.id, g.counts_for_id] AS counts_for FROM goals_goal g
     WHERE g.site_id = %(site)b AND g.deleted_at IS NULL
       AND (g.id = ANY(%(goals)b::bigint[]) OR g.counts_for_id = ANY(%(goals)b::bigint[]))
"""
# Visitor codes, each with the goal that is asked for and one whose conversions count for it.
ASKED: Final = f"""
counted AS MATERIALIZED ({COUNTED}), asked AS MATERIALIZED (
    SELECT a.code, a.goal, counted.id AS counted
      FROM unnest(%(codes)b::text[], %(of_goals)b::bigint[]) AS a (code, goal)
      JOIN counted ON a.goal = ANY(counted.counts_for)
)
"""
# A subquery of no other row, so that it runs once. Deleted goals are few, because their rows are purged.
IS_LIVE: Final = """
    c.goal_id <> ALL (ARRAY(SELECT g.id FROM goals_goal g WHERE g.site_id = %(site)b AND g.deleted_at IS NOT NULL))
"""


class CodeTotals(NamedTuple):
    """Totals of a visitor code on a goal, or on one that was merged into it."""

    code: str
    goal: int
    conversions: int
    last_at: datetime
    revenue: dict[str, str]  # by currency


class LatestConversion(NamedTuple):
    """One of the latest conversions of a visitor code."""

    code: str
    goal: int  # for which it counts
    at: datetime
    revenue: Decimal | None
    currency: str | None


def find_counted_goals(site_id: int, goal_ids: Collection[int]) -> list[int]:
    """Return the live goals among these and those merged into them, sorted. One query."""
    with connection.cursor() as cursor:
        cursor.execute(COUNTED, {"site": site_id, "goals": list(goal_ids)})
        return sorted(row[0] for row in cursor.fetchall())


def load_totals(site_id: int, asked: Collection[CodeOfGoal]) -> list[CodeTotals]:
    """Return the totals of visitor codes, each on a goal. One query, by the key of each, if there are any."""
    if not asked:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH {ASKED}
            SELECT asked.code, asked.goal, its.* FROM asked
             CROSS JOIN LATERAL (
                SELECT v.conversions, v.last_at, v.revenue::text FROM goals_goalvisitor v
                 WHERE v.site_id = %(site)b AND v.goal_id = asked.counted AND v.visitor_code = asked.code OFFSET 0
             ) AS its
            """,
            _parameters_of(site_id, asked),
        )
        return [
            CodeTotals(code, goal, conversions, last_at, msgspec.json.decode(revenue))
            for code, goal, conversions, last_at, revenue in cursor.fetchall()
        ]


def load_latest(site_id: int, asked: Collection[CodeOfGoal], *, since: datetime) -> list[LatestConversion]:
    """Return the latest conversions after a time of visitor codes, each on a goal. One query, if there are any.

    Of each code and goal the latest 1,000 are read, of equal times the same ones in any order of events.
    """
    if not asked:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH {ASKED}
            SELECT asked.code, asked.goal, its.* FROM asked
             CROSS JOIN LATERAL (
                SELECT c.occurred_at, c.revenue, c.currency FROM goals_conversion c
                 WHERE c.site_id = %(site)b AND c.visitor_code = asked.code AND c.goal_id = asked.counted
                   AND c.occurred_at > %(since)b
                 ORDER BY c.occurred_at DESC, c.message_key DESC LIMIT {MOST_LATEST}
             ) AS its
            """,
            {**_parameters_of(site_id, asked), "since": since},
        )
        return list(map(LatestConversion._make, cursor.fetchall()))


def _parameters_of(site_id: int, asked: Collection[CodeOfGoal]) -> dict[str, Any]:
    codes, of_goals = [code for code, _ in asked], [goal for _, goal in asked]
    return {"site": site_id, "codes": codes, "of_goals": of_goals, "goals": list(set(of_goals))}


def load_sources(site_id: int, codes: Collection[str], sources: Collection[int]) -> dict[str, list[int]]:
    """Return those of these sources by which each visitor code converted. One query, by the index for each pair."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT code.code, array_agg(source.id)
              FROM unnest(%(codes)b::text[]) AS code (code)
             CROSS JOIN unnest(%(sources)b::bigint[]) AS source (id)
             CROSS JOIN LATERAL (
                SELECT 1 FROM goals_conversion c
                 WHERE c.site_id = %(site)b AND c.visitor_code = code.code AND c.source_id = source.id AND {IS_LIVE}
                 LIMIT 1
             ) AS found
             GROUP BY code.code
            """,
            {"site": site_id, "codes": list(codes), "sources": list(sources)},
        )
        return dict(cursor.fetchall())
