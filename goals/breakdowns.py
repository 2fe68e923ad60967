"""A goal's conversions by what is known of their visitors: whoever asks gives each visitor its labels."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from django.db import connection

from goals import reports
from goals.models import Goal
from goals.reports import COUNTED_HITS, IS_COUNTED, Breakdown, BreakdownPart, GoalFigures, load_member_ids

MOST_OF_A_VISITOR: Final = 1_000  # conversions that are looked at for the other goals


def find_oldest_of_newest(goal: Goal, *, begin: datetime, end: datetime, newest: int) -> datetime | None:
    """When the oldest of a goal's newest conversions from `begin` until before `end` happened; None where it has no
    more than so many then.

    Two queries, which read so many entries of an index.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT occurred_at
              FROM unnest(%(goals)s::bigint[]) AS member (id)
              JOIN LATERAL (
                SELECT occurred_at FROM goals_conversion
                 WHERE goal_id = member.id AND occurred_at >= %(begin)s AND occurred_at < %(end)s
                 ORDER BY occurred_at DESC LIMIT %(newest)s + 1
              ) AS c ON true
             ORDER BY occurred_at DESC OFFSET %(newest)s - 1 LIMIT 2
            """,
            {"goals": load_member_ids([goal])[goal.pk], "begin": begin, "end": end, "newest": newest},
        )
        rows = cursor.fetchall()
    return rows[0][0] if len(rows) > 1 else None


def count_newest_within_bytes(goal: Goal, *, begin: datetime, end: datetime, newest: int, most_bytes: int) -> int:
    """Return how many of a goal's newest conversions have properties of at most so many bytes as stored, at least one.

    Two queries, which read the rows and none of their large values.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT sum(size) OVER (ORDER BY occurred_at DESC, c.id DESC) AS so_far
                  FROM unnest(%(goals)s::bigint[]) AS member (id)
                  JOIN LATERAL (
                    SELECT c.id, occurred_at, pg_column_size(properties) AS size FROM goals_conversion c
                     WHERE goal_id = member.id AND occurred_at >= %(begin)s AND occurred_at < %(end)s
                     ORDER BY occurred_at DESC, c.id DESC LIMIT %(newest)s
                  ) AS c ON true
                 ORDER BY occurred_at DESC, c.id DESC LIMIT %(newest)s
            ) AS c WHERE so_far <= %(most)s
            """,
            {
                "goals": load_member_ids([goal])[goal.pk],
                "begin": begin,
                "end": end,
                "newest": newest,
                "most": most_bytes,
            },
        )
        return max(1, int(cursor.fetchone()[0]))


def load_visitor_figures(goal: Goal, *, begin: datetime, end: datetime, newest: int) -> dict[str, GoalFigures]:
    """What each visitor converted of a goal from `begin` until before `end`, by visitor code, of the newest so many
    conversions. Two queries that read these. A visit counts at the time of its first conversion.
    """
    found: dict[str, GoalFigures] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT visitor_code, currency, count(*), sum(visit), sum(revenue)
              FROM ({COUNTED_HITS}) AS hit WHERE {IS_COUNTED}
             GROUP BY visitor_code, currency
            """,
            {"goals": load_member_ids([goal])[goal.pk], "begin": begin, "end": end, "newest": newest},
        )
        for code, currency, conversions, visits, revenue in cursor.fetchall():
            its = found.get(code, GoalFigures(visitors=1))
            money = its.revenue if revenue is None else {**its.revenue, currency or "": revenue}
            found[code] = GoalFigures(its.conversions + conversions, its.visits + visits, 1, money)
    return found


def load_other_goals(goal: Goal, codes: Sequence[str]) -> dict[str, list[str]]:
    """By visitor code, the ids of the other goals that these visitors ever converted, of their newest 1,000
    conversions; a merged goal is the one it counts for. One query.
    """
    found = defaultdict[str, list[str]](list)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT visitor.code, coalesce(g.counts_for_id, g.id)
              FROM unnest(%(codes)s::text[]) AS visitor (code)
              JOIN LATERAL (
                SELECT DISTINCT goal_id FROM (
                    SELECT goal_id FROM goals_conversion
                     WHERE site_id = %(site)s AND visitor_code = visitor.code
                     ORDER BY occurred_at DESC, id DESC LIMIT %(most)s) AS newest
              ) AS c ON true
              JOIN goals_goal g ON g.id = c.goal_id AND g.deleted_at IS NULL
             WHERE coalesce(g.counts_for_id, g.id) <> %(goal)s
            """,
            {"codes": list(codes), "site": goal.site_id, "most": MOST_OF_A_VISITOR, "goal": goal.pk},
        )
        for code, id_ in cursor.fetchall():
            found[code].append(str(id_))
    return found


def group_by_label(visitors: Mapping[str, GoalFigures], labels: Mapping[str, Collection[str]]) -> Breakdown:
    """The figures of visitors by their labels, each visitor with all it did in the part of each of its labels, and in
    that of None without any. The largest parts first, then by label; beyond the first 20 all others together. Pure.

    Where every visitor has one label at most, each figure of the parts and the others adds up to that of all visitors.
    """
    parts = defaultdict[str | None, set[str]](set)
    for code in visitors:
        its = labels.get(code)
        for label in its or (None,):
            parts[label].add(code)
    summed = [sum_visitors(label, visitors, codes) for label, codes in parts.items()]
    summed.sort(key=lambda part: (-part.conversions, part.value is None, part.value or ""))
    top, rest = summed[: reports.TOP], summed[reports.TOP :]
    others = set[str]().union(*(parts[part.value] for part in rest))
    return Breakdown(top, sum_visitors(None, visitors, others) if rest else None, len(summed))


def sum_visitors(label: str | None, visitors: Mapping[str, GoalFigures], codes: Collection[str]) -> BreakdownPart:
    """The part of some of the visitors. Pure."""
    revenue = defaultdict[str, Decimal](Decimal)
    for code in codes:
        for currency, total in visitors[code].revenue.items():
            revenue[currency] += total
    its = [visitors[code] for code in codes]
    conversions, visits = sum(each.conversions for each in its), sum(each.visits for each in its)
    return BreakdownPart(label, conversions, len(its), dict(sorted(revenue.items())), visits)
