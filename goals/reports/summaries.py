"""Summaries of goals: figures of the last 24 hours, of the last 30 days and since ever, from the kept totals.

A visit counts at the time of its first conversion. A month is today and the 29 days before it, in the zone of the
goal.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Final, NamedTuple

from django.db import connection

from goals.models import Goal
from goals.reports.figures import GoalFigures, load_member_ids, parse_revenue
from goals.sql import read_query
from goals.visits import VISIT_GAP
from zones import day_of, find_zone

MONTH: Final = 30  # days
NO_FIGURES: Final = GoalFigures()

LAST_DAY: Final = read_query("reports/last_day")
DAYS: Final = read_query("reports/days")
TOTALS: Final = read_query("reports/totals")
UNITED: Final = read_query("reports/united")
SUM: Final = read_query("reports/sum")

Groups = Mapping[int, Sequence[int]]  # ids of goals that count as one, by a key


@dataclass(frozen=True, slots=True)
class GoalSummary:
    """The figures at the head of a goal."""

    last_24_hours: GoalFigures = NO_FIGURES
    last_30_days: GoalFigures = NO_FIGURES
    ever: GoalFigures = NO_FIGURES
    last_conversion_at: datetime | None = None
    line: Sequence[int] = (0,) * MONTH  # `headline` of each of the last 30 days, the oldest first


class FiguresRow(NamedTuple):
    """Row of last_day.sql."""

    key: int
    conversions: int
    visits: int
    visitors: int
    revenue: str | None  # JSON
    cancellations: int


class DayRow(NamedTuple):
    """Row of days.sql."""

    key: int
    day: date
    conversions: int
    visits: int
    cancellations: int


class TotalsRow(NamedTuple):
    """Row of totals.sql; None without any conversion or cancellation."""

    key: int
    conversions: int | None
    visits: int | None
    visitors: int | None
    revenue: str | None  # JSON
    cancellations: int | None
    month_visitors: int
    month_revenue: str | None  # JSON
    last_at: datetime | None


class UnitedRow(NamedTuple):
    """Row of united.sql."""

    key: int
    day: date
    visits: int
    visitors: int
    month_visitors: int


def summarise_goals(site_id: int, goals: Sequence[Goal], *, now: datetime) -> dict[int, GoalSummary]:
    """Return the summary of each of these goals of a site by its id.

    Three queries, and one more if others are merged into one of the goals; one more for goals that `queries.live_goals`
    did not give. They read the kept totals and the conversions of the last 24 hours. Of goals that others are merged
    into they read the time and the visitor of every conversion, because visits and visitors do not add up.
    """
    if not goals:
        return {}
    members = load_member_ids(site_id, goals)
    # The longest time last: a conversion that is committed meanwhile is never in the shorter one alone.
    last_days = _load_last_day(site_id, members, since=now - timedelta(hours=24))
    days = _load_days(site_id, members, now=now)
    totals = _load_totals(site_id, members, now=now)
    _unite(site_id, members, days, totals, now=now)
    return {
        goal.pk: GoalSummary(
            last_days.get(goal.pk, NO_FIGURES),
            _sum_month(totals[goal.pk], days[goal.pk]),
            _read_figures(totals[goal.pk]),
            totals[goal.pk].last_at,
            _list_daily(goal, days[goal.pk], month_start(now, find_zone(goal.day_zone))),
        )
        for goal in goals
    }


def load_figures(site_id: int, groups: Groups) -> dict[int, GoalFigures]:
    """Return the figures since ever of groups of goals of a site, each group counted as one goal.

    One query of the kept totals, and the one more that `summarise_goals` has for groups of several goals.
    """
    if not groups:
        return {}
    now = datetime.now(UTC)
    totals = _load_totals(site_id, groups, now=now)
    _unite(site_id, groups, defaultdict(dict), totals, now=now)
    return {key: _read_figures(row) for key, row in totals.items()}


def sum_totals(site_id: int, goal_ids: Sequence[int]) -> GoalFigures:
    """Return the conversions, cancellations and revenue of these goals of a site together, since ever.

    It leaves out visits and visitors, which do not add up. One query of the kept totals.
    """
    with connection.cursor() as cursor:
        cursor.execute(SUM, {"site": site_id, "goals": list(goal_ids)})
        conversions, cancellations, revenue = cursor.fetchone()
    return GoalFigures(int(conversions or 0), revenue=parse_revenue(revenue), cancellations=int(cancellations or 0))


def month_start(now: datetime, zone: tzinfo) -> date:
    """Return the first of the last 30 days of a zone."""
    return day_of(now, zone) - timedelta(days=MONTH - 1)


Days = dict[int, dict[date, DayRow]]  # by key and day


def _load_last_day(site_id: int, groups: Groups, *, since: datetime) -> dict[int, GoalFigures]:
    rows = map(FiguresRow._make, _fetch(LAST_DAY, site_id, groups, since=since, visit_gap=VISIT_GAP))
    return {
        row.key: GoalFigures(
            row.conversions, row.visits, row.visitors, parse_revenue(row.revenue), int(row.cancellations)
        )
        for row in rows
    }


def _load_days(site_id: int, groups: Groups, *, now: datetime) -> Days:
    days: Days = defaultdict(dict)
    for row in map(DayRow._make, _fetch(DAYS, site_id, groups, now=now, days_before=MONTH - 1)):
        days[row.key][row.day] = row
    return days


def _load_totals(site_id: int, groups: Groups, *, now: datetime) -> dict[int, TotalsRow]:
    rows = _fetch(TOTALS, site_id, groups, now=now, days_before=MONTH - 1)
    return {row.key: row for row in map(TotalsRow._make, rows)}


def _unite(site_id: int, groups: Groups, days: Days, totals: dict[int, TotalsRow], *, now: datetime) -> None:
    """Replace visits and visitors of groups of several goals by those of their conversions. One query, if any."""
    several = {key: ids for key, ids in groups.items() if len(ids) > 1}
    if not several:
        return
    united = defaultdict[int, list[UnitedRow]](list)
    rows = _fetch(UNITED, site_id, several, now=now, days_before=MONTH - 1, visit_gap=VISIT_GAP)
    for row in map(UnitedRow._make, rows):
        united[row.key].append(row)
    for key in several:
        totals[key] = totals[key]._replace(
            visits=sum(row.visits for row in united[key]),
            visitors=sum(row.visitors for row in united[key]),
            month_visitors=sum(row.month_visitors for row in united[key]),
        )
        visits = {row.day: row.visits for row in united[key]}
        days[key] = {day: each._replace(visits=visits.get(day, 0)) for day, each in days[key].items()}


def _fetch(query: str, site_id: int, groups: Groups, **parameters: Any) -> Iterator[tuple[Any, ...]]:
    keys = [key for key, ids in groups.items() for _ in ids]
    ids = [id_ for ids in groups.values() for id_ in ids]
    parameters |= {"site": site_id, "keys": keys, "ids": ids}
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        yield from cursor.fetchall()


def _read_figures(row: TotalsRow) -> GoalFigures:
    return GoalFigures(
        int(row.conversions or 0),
        int(row.visits or 0),
        int(row.visitors or 0),
        parse_revenue(row.revenue),
        int(row.cancellations or 0),
    )


def _sum_month(row: TotalsRow, days: Mapping[date, DayRow]) -> GoalFigures:
    return GoalFigures(
        sum(day.conversions for day in days.values()),
        sum(day.visits for day in days.values()),
        int(row.month_visitors),
        parse_revenue(row.month_revenue),
        sum(int(day.cancellations) for day in days.values()),
    )


def _list_daily(goal: Goal, days: Mapping[date, DayRow], month: date) -> tuple[int, ...]:
    rows = [days.get(month + timedelta(days=number)) for number in range(MONTH)]
    return tuple(0 if row is None else row.conversions if goal.has_multiple_conversions else row.visits for row in rows)
