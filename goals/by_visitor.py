"""Conversions of many visitor codes at once: totals of goals, the latest conversions, first and last times.

A goal that was merged into another counts for both. Goals that are deleted count for none.
"""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec
from django.db import connection

MOST_LATEST: Final = 1_000  # conversions that are read of a visitor code

# The goals asked for and those merged into them, each with the goals for which it counts.
COUNTED: Final = """
    SELECT g.id, ARRAY[g.id, g.counts_for_id] AS counts_for FROM goals_goal g
     WHERE g.site_id = %(site)b AND g.deleted_at IS NULL
       AND (g.id = ANY(%(goals)b::bigint[]) OR g.counts_for_id = ANY(%(goals)b::bigint[]))
"""


class CodeTotals(NamedTuple):
    """Totals of a visitor code on a goal."""

    code: str
    goals: list[int | None]  # for which they count
    conversions: int
    last_at: datetime
    revenue: dict[str, str]  # by currency


class LatestConversion(NamedTuple):
    """One of the latest conversions of a visitor code."""

    code: str
    goals: list[int | None]
    at: datetime
    revenue: Decimal | None
    currency: str | None
    source_id: int | None


def find_counted_goals(site_id: int, goal_ids: Collection[int]) -> list[int]:
    """Return the live goals among these and those merged into them, sorted. One query."""
    with connection.cursor() as cursor:
        cursor.execute(COUNTED, {"site": site_id, "goals": list(goal_ids)})
        return sorted(row[0] for row in cursor.fetchall())


def load_totals(site_id: int, codes: Collection[str], goal_ids: Collection[int]) -> list[CodeTotals]:
    """Return the totals of these visitor codes on these goals. One query, by the key of each."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT code.code, counted.counts_for, its.*
              FROM unnest(%(codes)b::text[]) AS code (code)
             CROSS JOIN ({COUNTED}) AS counted
             CROSS JOIN LATERAL (
                SELECT v.conversions, v.last_at, v.revenue::text FROM goals_goalvisitor v
                 WHERE v.site_id = %(site)b AND v.goal_id = counted.id AND v.visitor_code = code.code OFFSET 0
             ) AS its
            """,
            {"site": site_id, "codes": list(codes), "goals": list(goal_ids)},
        )
        return [
            CodeTotals(code, goals, conversions, last_at, msgspec.json.decode(revenue))
            for code, goals, conversions, last_at, revenue in cursor.fetchall()
        ]


def load_latest(
    site_id: int, codes: Collection[str], goal_ids: Collection[int] | None, *, since: datetime | None
) -> list[LatestConversion]:
    """Return the latest conversions of these visitor codes on these goals, or on all. One query.

    Of each code the latest 1,000 since a time are read.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH counted AS MATERIALIZED ({COUNTED})
            SELECT code.code, counted.counts_for, its.occurred_at, its.revenue, its.currency, its.source_id
              FROM unnest(%(codes)b::text[]) AS code (code)
             CROSS JOIN LATERAL (
                SELECT c.goal_id, c.occurred_at, c.revenue, c.currency, c.source_id FROM goals_conversion c
                 WHERE c.site_id = %(site)b AND c.visitor_code = code.code
                   AND c.occurred_at > coalesce(%(since)b::timestamptz, '-infinity')
                 ORDER BY c.occurred_at DESC, c.id DESC LIMIT {MOST_LATEST}
             ) AS its
              LEFT JOIN counted ON counted.id = its.goal_id
             WHERE counted.id IS NOT NULL OR %(all)b
            """,
            {
                "site": site_id,
                "codes": list(codes),
                "goals": list(goal_ids or ()),
                "all": goal_ids is None,
                "since": since,
            },
        )
        return [LatestConversion(code, goals or [], *rest) for code, goals, *rest in cursor.fetchall()]


def load_seen(site_id: int, codes: Collection[str]) -> dict[str, tuple[datetime, datetime]]:
    """Return the times of the first and last conversion of each visitor code. One query, by the index."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT code.code, first.occurred_at, last.occurred_at
              FROM unnest(%(codes)b::text[]) AS code (code)
             CROSS JOIN LATERAL (
                SELECT occurred_at FROM goals_conversion c WHERE c.site_id = %(site)b AND c.visitor_code = code.code
                 ORDER BY occurred_at, id LIMIT 1
             ) AS first
             CROSS JOIN LATERAL (
                SELECT occurred_at FROM goals_conversion c WHERE c.site_id = %(site)b AND c.visitor_code = code.code
                 ORDER BY occurred_at DESC, id DESC LIMIT 1
             ) AS last
            """,
            {"site": site_id, "codes": list(codes)},
        )
        return {code: (first, last) for code, first, last in cursor.fetchall()}
