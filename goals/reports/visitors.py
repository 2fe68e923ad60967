"""Breakdowns of a goal's conversions by what is known of their visitors; the caller gives each visitor its labels."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import connection

from goals.models import Goal
from goals.reports import breakdown
from goals.reports.breakdown import Breakdown, BreakdownPart, FieldFilter, write_fields
from goals.reports.figures import MOST_BEFORE, GoalFigures, load_member_ids
from goals.sql import read_query
from goals.visits import VISIT_GAP

MOST_OF_A_VISITOR: Final = 1_000  # conversions that are read for the other goals

OLDEST_OF_NEWEST: Final = read_query("reports/oldest_of_newest")
NEWEST_WITHIN_BYTES: Final = read_query("reports/newest_within_bytes")
VISITORS: Final = read_query("reports/visitors")
OTHER_GOALS: Final = read_query("reports/other_goals")


def find_oldest_of_newest(goal: Goal, *, begin: datetime, end: datetime, newest: int) -> datetime | None:
    """Return the time of the oldest of a goal's newest conversions from `begin` until before `end`.

    None if it has no more than `newest` then. Two queries, which read as many entries of an index.
    """
    members = load_member_ids(goal.site_id, [goal])[goal.pk]
    rows = _fetch(OLDEST_OF_NEWEST, site=goal.site_id, goals=members, since=begin, until=end, newest=newest)
    if len(rows) < 2:  # noqa: PLR2004 - the oldest and one more
        return None
    at: datetime = rows[0][0]
    return at


def count_newest_within_bytes(goal: Goal, *, begin: datetime, end: datetime, newest: int, most_bytes: int) -> int:
    """Return how many of the newest conversions have properties of `most_bytes` stored bytes at most, at least one.

    Two queries, which read the rows and none of their large values.
    """
    members = load_member_ids(goal.site_id, [goal])[goal.pk]
    rows = _fetch(
        NEWEST_WITHIN_BYTES,
        site=goal.site_id,
        goals=members,
        since=begin,
        until=end,
        newest=newest,
        most_bytes=most_bytes,
    )
    return max(1, int(rows[0][0]))


def load_visitor_figures(
    goal: Goal, *, begin: datetime, end: datetime, newest: int, fields: Sequence[FieldFilter] = ()
) -> dict[str, GoalFigures]:
    """Return the figures of each visitor in a goal's newest conversions from `begin` until before `end`.

    By visitor code, of the conversions that match all of `fields`. A visit counts at the time of its first conversion.
    Two queries that read these conversions.
    """
    figures: dict[str, GoalFigures] = {}
    rows = _fetch(
        VISITORS,
        site=goal.site_id,
        goals=load_member_ids(goal.site_id, [goal])[goal.pk],
        since=begin,
        until=end,
        newest=newest,
        before=MOST_BEFORE,
        visit_gap=VISIT_GAP,
        fields=write_fields(fields),
        length=breakdown.VALUE_LENGTH,
    )
    for code, currency, conversions, visits, amount in rows:
        known = figures.get(code, GoalFigures())
        revenue = known.revenue if amount is None else {**known.revenue, currency or "": amount}
        figures[code] = GoalFigures(known.conversions + conversions, known.visits + visits, 1, revenue)
    return figures


def load_other_goals(goal: Goal, codes: Sequence[str]) -> dict[str, list[str]]:
    """Return the ids of the other goals that these visitors converted, by visitor code. One query.

    It reads the newest 1,000 conversions of each visitor. A merged goal is the one that it counts for.
    """
    goal_ids = defaultdict[str, list[str]](list)
    rows = _fetch(OTHER_GOALS, codes=list(codes), site=goal.site_id, most=MOST_OF_A_VISITOR, goal=goal.pk)
    for code, id_ in rows:
        goal_ids[code].append(str(id_))
    return goal_ids


def group_by_label(visitors: Mapping[str, GoalFigures], labels: Mapping[str, Collection[str]]) -> Breakdown:
    """Return the figures of visitors by their labels; None is the label of a visitor without any. Pure.

    A visitor counts in the part of each of its labels. The largest parts come first, then by label; all after the first
    20 are together. If every visitor has one label at most, the parts and the others add up to all visitors.
    """
    codes_by_label = defaultdict[str | None, set[str]](set)
    for code in visitors:
        for label in labels.get(code) or (None,):
            codes_by_label[label].add(code)
    parts = [sum_visitors(label, visitors, codes) for label, codes in codes_by_label.items()]
    parts.sort(key=lambda part: (-part.conversions, part.value is None, part.value or ""))
    top, rest = parts[: breakdown.TOP], parts[breakdown.TOP :]
    others = set[str]().union(*(codes_by_label[part.value] for part in rest))
    return Breakdown(top, sum_visitors(None, visitors, others) if rest else None, len(parts))


def sum_visitors(label: str | None, visitors: Mapping[str, GoalFigures], codes: Collection[str]) -> BreakdownPart:
    """Return the part of some of the visitors. Pure."""
    revenue = defaultdict[str, Decimal](Decimal)
    figures = [visitors[code] for code in codes]
    for visitor in figures:
        for currency, amount in visitor.revenue.items():
            revenue[currency] += amount
    conversions = sum(visitor.conversions for visitor in figures)
    visits = sum(visitor.visits for visitor in figures)
    return BreakdownPart(label, conversions, len(figures), dict(sorted(revenue.items())), visits)


def _fetch(query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
