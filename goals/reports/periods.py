"""Figures of goals in any period, for reports that put two periods side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from django.db import connection

from goals.models import Goal
from goals.reports.figures import GoalFigures, load_member_ids, parse_revenue
from goals.sql import read_query
from goals.visits import VISIT_GAP

PERIOD_SUMS: Final = read_query("reports/period_sums")
PERIOD_VISITORS: Final = read_query("reports/period_visitors")
RUNNING_VISITORS: Final = read_query("reports/running_visitors")


class PeriodRow(NamedTuple):
    """Row of period_sums.sql."""

    key: int
    conversions: int
    visits: int
    revenue: str | None  # JSON
    cancellations: int


class WholeDays(NamedTuple):
    """The whole days of a period, and the stretches before and after them."""

    first: date
    after: date
    edges: Sequence[tuple[datetime, datetime]]


def load_period(
    site_id: int,
    goals: Sequence[Goal],
    *,
    begin: datetime,
    end: datetime | None,
    zone: tzinfo = UTC,
    counts_visitors: bool = True,
) -> dict[int, GoalFigures]:
    """Return the figures of each of these goals of a site from `begin` until before `end`, by its id.

    `end` is None if the period runs: then it includes everything since `begin`. `zone` is that of the kept days. Two
    queries, one without visitors; one more for goals that `queries.live_goals` did not give. Visitors of a period that
    is over are counted from its conversions, as are the visits of goals that others are merged into.
    """
    if not goals:
        return {}
    members = load_member_ids(site_id, goals)
    keys = [key for key, ids in members.items() for _ in ids]
    ids = [id_ for ids in members.values() for id_ in ids]
    days = split_days(begin, end, zone)
    parameters = {
        "site": site_id,
        "keys": keys,
        "ids": ids,
        "since": begin,
        "until": end or datetime.max.replace(tzinfo=UTC),
        "first_day": days.first,
        "day_after": days.after,
        "edge_begins": [since for since, _ in days.edges],
        "edge_ends": [until for _, until in days.edges],
        "visit_gap": VISIT_GAP,
    }
    figures = dict.fromkeys(members, GoalFigures())
    for row in map(PeriodRow._make, _fetch(PERIOD_SUMS, parameters)):
        figures[row.key] = GoalFigures(
            int(row.conversions), int(row.visits), 0, parse_revenue(row.revenue), int(row.cancellations)
        )
    if counts_visitors:
        for key, visitors in _fetch(PERIOD_VISITORS if end else RUNNING_VISITORS, parameters):
            figures[key] = replace(figures[key], visitors=int(visitors))
    return figures


def split_days(begin: datetime, end: datetime | None, zone: tzinfo) -> WholeDays:
    """Return the whole days of a zone in a period, and what is left of it. Pure."""
    first = begin.astimezone(zone).date()
    if _start(first, zone) < begin:
        first += timedelta(days=1)
    if end is None:
        after = date.max
        edges = [(begin, _start(first, zone))]
    else:
        after = end.astimezone(zone).date()
        if after < first:
            return WholeDays(first, first, [(begin, end)])
        edges = [(begin, _start(first, zone)), (_start(after, zone), end)]
    return WholeDays(first, after, [(since, until) for since, until in edges if since < until])


def _start(day: date, zone: tzinfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def _fetch(query: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        yield from cursor.fetchall()
