"""Totals of a goal and a visitor: arithmetic on them, and the statements on their rows."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final, NamedTuple

from django.db import connection

from goals.visits import VISIT_GAP, list_visit_starts

VisitorKey = tuple[int, str]  # a goal's id and a visitor code


class CountedConversion(NamedTuple):
    """The fields of a conversion that its totals depend on."""

    key: VisitorKey
    at: datetime
    revenue: Decimal | None
    currency: str | None


class VisitorTotals(NamedTuple):
    """Sums of a visitor's conversions of a goal."""

    conversions: int
    visits: int
    first_at: datetime
    last_at: datetime
    revenue: Mapping[str, Decimal]  # by currency


def sum_conversions(conversions: Collection[CountedConversion]) -> VisitorTotals:
    """Return the totals of a visitor's conversions of a goal, at least one. Pure."""
    if len(conversions) == 1:  # the usual case
        (only,) = conversions
        return VisitorTotals(1, 1, only.at, only.at, sum_revenue(conversions))
    times = [conversion.at for conversion in conversions]
    visits = len(list_visit_starts(times))
    return VisitorTotals(len(times), visits, min(times), max(times), sum_revenue(conversions))


def sum_revenue(conversions: Iterable[CountedConversion]) -> dict[str, Decimal]:
    """Return the exact revenue by currency. Pure."""
    revenue = defaultdict[str, Decimal](Decimal)
    for conversion in conversions:
        if conversion.revenue is not None:
            revenue[conversion.currency or ""] += conversion.revenue
    return dict(revenue)


def change_totals(
    old: VisitorTotals, joined: Collection[CountedConversion], left: Collection[CountedConversion], *, visits: int
) -> VisitorTotals | None:
    """Return totals with the conversions that joined and without those that left; None if none remains. Pure.

    `visits` is the change of their number. The first and last times may be too far apart. If the conversion at one of
    them left, only the rows of the conversions have the next time.
    """
    conversions = old.conversions + len(joined) - len(left)
    if conversions == 0:
        return None
    revenue = defaultdict[str, Decimal](Decimal, old.revenue)
    for currency, amount in sum_revenue(joined).items():
        revenue[currency] += amount
    for currency, amount in sum_revenue(left).items():
        revenue[currency] -= amount
        if not revenue[currency]:  # only all conversions would say whether one of this currency remains
            del revenue[currency]
    times = [conversion.at for conversion in (*joined, *left)]
    if old.conversions:
        times += [old.first_at, old.last_at]
    return VisitorTotals(conversions, old.visits + visits, min(times), max(times), dict(revenue))


COLUMNS: Final = "goal_id, visitor_code, conversions, visits, first_at, last_at, revenue"
UNNESTED: Final = (
    "unnest(%b::bigint[], %b::text[], %b::int[], %b::int[], %b::timestamptz[], %b::timestamptz[], %b::jsonb[])"
)


LOCK_GOALS: Final = "SELECT id FROM goals_goal WHERE site_id = %b AND id = ANY(%b::bigint[]) ORDER BY id FOR KEY SHARE"


def lock_totals(
    site_id: int, keys: Collection[VisitorKey], goal_ids: Collection[int] = ()
) -> dict[VisitorKey, VisitorTotals]:
    """Lock goals, then the totals of these visitors that have any, in the order of their keys. Return the totals.

    The lock of a goal keeps its zone of days as it is (goals.day_zones), and lets other workers count. Each visitor is
    looked up by itself. For a join with a table without statistics the planner may read it whole for each key. One
    query.
    """
    if not keys and not goal_ids:
        return {}
    with connection.cursor() as cursor:
        if not keys:
            cursor.execute(LOCK_GOALS, [site_id, sorted(goal_ids)])
            return {}
        cursor.execute(
            f"""
            WITH goal AS MATERIALIZED ({LOCK_GOALS}), locked AS MATERIALIZED (SELECT count(*) AS goals FROM goal)
            SELECT k.goal_id, k.visitor_code, its.*
              FROM locked, unnest(%b::bigint[], %b::text[]) AS k (goal_id, visitor_code), LATERAL (
                SELECT v.conversions, v.visits, v.first_at, v.last_at, v.revenue::text FROM goals_goalvisitor v
                 WHERE v.site_id = %s AND v.goal_id = k.goal_id AND v.visitor_code = k.visitor_code
                   AND locked.goals >= 0
                   FOR NO KEY UPDATE OF v
              ) AS its
            """,
            [site_id, sorted(goal_ids), *_list_keys(sorted(keys)), site_id],
        )
        return {
            (row[0], row[1]): VisitorTotals(row[2], row[3], row[4], row[5], _parse_revenue(row[6]))
            for row in cursor.fetchall()
        }


def insert_totals(site_id: int, totals: Mapping[VisitorKey, VisitorTotals]) -> set[VisitorKey]:
    """Insert totals of visitors that had none, and return the keys of those that still had none. One query, if any."""
    if not totals:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO goals_goalvisitor (site_id, {COLUMNS})
            SELECT %s, {COLUMNS} FROM {UNNESTED} WITH ORDINALITY AS n ({COLUMNS}, place) ORDER BY place
            ON CONFLICT (site_id, goal_id, visitor_code) DO NOTHING
            RETURNING goal_id, visitor_code
            """,
            [site_id, *_list_columns(sorted(totals.items(), key=itemgetter(0)))],
        )
        return set(cursor.fetchall())


OF_VISITOR: Final = (
    "c.site_id = %(site)s AND c.visitor_code = t.visitor_code AND c.goal_id = t.goal_id AND c.occurred_at"
)
NEIGHBOURS: Final = f"""
    SELECT t.goal_id, t.visitor_code, near.at
      FROM unnest(%(goals)b::bigint[], %(codes)b::text[], %(before)b::timestamptz[], %(at)b::timestamptz[],
                  %(after)b::timestamptz[], %(added)b::int[])
           AS t (goal_id, visitor_code, before, at, after, added)
      JOIN LATERAL (
        (SELECT c.occurred_at AS at FROM goals_conversion c
          WHERE {OF_VISITOR} > greatest(t.before, t.at - %(visit_gap)s::interval) AND c.occurred_at < t.at
          ORDER BY c.occurred_at DESC LIMIT 1)
         UNION ALL
        (SELECT c.occurred_at FROM goals_conversion c
          WHERE {OF_VISITOR} < least(t.after, t.at + %(visit_gap)s::interval) AND c.occurred_at > t.at
          ORDER BY c.occurred_at LIMIT 1)
         UNION ALL
        (SELECT c.occurred_at FROM goals_conversion c WHERE {OF_VISITOR} = t.at LIMIT 1 OFFSET t.added)
      ) AS near ON true
"""


def load_neighbours(
    site_id: int,
    changes: Mapping[VisitorKey, tuple[Collection[CountedConversion], Collection[CountedConversion]]],
) -> dict[VisitorKey, list[datetime]]:
    """Return the times next to those at which conversions of these visitors joined or left, less than a gap away.

    They are times of the other conversions. If no changed time lies between two of these, they begin as many visits as
    before. So the neighbours of each changed time suffice to count visits that began or ended. Three probes of an index
    for each time, however many conversions a visitor has. One query.
    """
    times = []
    for key, (joined, left) in changes.items():
        counts = Counter(conversion.at for conversion in joined)  # rows that have this visitor's code by now
        ordered = sorted({*counts, *(conversion.at for conversion in left)})
        nexts = zip([None, *ordered], ordered, [*ordered[1:], None], strict=False)
        times += [(key, before, at, after, counts[at]) for before, at, after in nexts]
    if not times:
        return {}
    goals, codes = _list_keys([key for key, *_ in times])
    parameters: dict[str, Any] = {
        "site": site_id,
        "goals": goals,
        "codes": codes,
        "before": [before for _, before, _, _, _ in times],
        "at": [at for _, _, at, _, _ in times],
        "after": [after for _, _, _, after, _ in times],
        "added": [added for *_, added in times],
        "visit_gap": VISIT_GAP,
    }
    neighbours = defaultdict[VisitorKey, list[datetime]](list)
    with connection.cursor() as cursor:
        cursor.execute(NEIGHBOURS, parameters)
        for goal_id, code, at in cursor.fetchall():
            neighbours[goal_id, code].append(at)
    return neighbours


def load_ends(site_id: int, totals: Mapping[VisitorKey, VisitorTotals]) -> dict[VisitorKey, tuple[datetime, datetime]]:
    """Return the first and last times of visitors' conversions, which are within those of the totals. One query."""
    if not totals:
        return {}
    among = """
        SELECT c.occurred_at AS at FROM goals_conversion c
         WHERE c.site_id = %(site)s AND c.visitor_code = p.visitor_code AND c.goal_id = p.goal_id
           AND c.occurred_at BETWEEN p.first_at AND p.last_at ORDER BY c.occurred_at
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT p.goal_id, p.visitor_code, first.at, last.at
              FROM unnest(%(goals)b::bigint[], %(codes)b::text[], %(first)b::timestamptz[], %(last)b::timestamptz[])
                   AS p (goal_id, visitor_code, first_at, last_at)
              JOIN LATERAL ({among} LIMIT 1) AS first ON true
              JOIN LATERAL ({among} DESC LIMIT 1) AS last ON true
            """,
            {
                "site": site_id,
                "goals": [goal_id for goal_id, _ in totals],
                "codes": [code for _, code in totals],
                "first": [row.first_at for row in totals.values()],
                "last": [row.last_at for row in totals.values()],
            },
        )
        return {(goal_id, code): (first, last) for goal_id, code, first, last in cursor.fetchall()}


def replace_totals(site_id: int, changed: Mapping[VisitorKey, VisitorTotals | None]) -> None:
    """Replace totals that `lock_totals` locked, and delete those that are None. Two queries at most."""
    kept = [(key, totals) for key, totals in changed.items() if totals is not None]
    gone = [key for key, totals in changed.items() if totals is None]
    with connection.cursor() as cursor:
        if kept:
            cursor.execute(
                f"""
                UPDATE goals_goalvisitor AS v
                   SET conversions = t.conversions, visits = t.visits, first_at = t.first_at, last_at = t.last_at,
                       revenue = t.revenue
                  FROM {UNNESTED} AS t ({COLUMNS})
                 WHERE v.site_id = %s AND v.goal_id = t.goal_id AND v.visitor_code = t.visitor_code
                """,
                [*_list_columns(kept), site_id],
            )
        if gone:
            cursor.execute(
                """
                DELETE FROM goals_goalvisitor AS v USING unnest(%b::bigint[], %b::text[]) AS t (goal_id, visitor_code)
                 WHERE v.site_id = %s AND v.goal_id = t.goal_id AND v.visitor_code = t.visitor_code
                """,
                [*_list_keys(gone), site_id],
            )


def purge_visitor_totals(site_id: int, goal_id: int, *, limit: int) -> int:
    """Delete up to `limit` rows of a deleted goal's visitors and return their number. No report counts them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM goals_goalvisitor
             WHERE site_id = %(site)s AND goal_id = %(goal)s AND visitor_code IN (
                   SELECT visitor_code FROM goals_goalvisitor
                    WHERE site_id = %(site)s AND goal_id = %(goal)s ORDER BY visitor_code LIMIT %(limit)s)
            """,
            {"site": site_id, "goal": goal_id, "limit": limit},
        )
        return int(cursor.rowcount)


def _list_columns(rows: Sequence[tuple[VisitorKey, VisitorTotals]]) -> list[list[object]]:
    return [
        *_list_keys([key for key, _ in rows]),
        [totals.conversions for _, totals in rows],
        [totals.visits for _, totals in rows],
        [totals.first_at for _, totals in rows],
        [totals.last_at for _, totals in rows],
        [write_revenue(totals.revenue) for _, totals in rows],
    ]


def _list_keys(keys: Collection[VisitorKey]) -> list[list[object]]:
    return [[goal_id for goal_id, _ in keys], [code for _, code in keys]]


def write_revenue(revenue: Mapping[str, Decimal]) -> str:
    """Return revenue as JSON whose values are texts, because a float would not be exact. Pure."""
    return "{" + ",".join([f'"{currency}":"{amount}"' for currency, amount in revenue.items()]) + "}"


def _parse_revenue(revenue: str) -> dict[str, Decimal]:
    return {currency: Decimal(amount) for currency, amount in json.loads(revenue).items()}
