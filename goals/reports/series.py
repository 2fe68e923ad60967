"""Series of a goal: conversions, visits, cancellations and revenue by hour, day or week of a zone."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from django.db import connection

from goals.models import Goal
from goals.reports.figures import Revenue, load_member_ids, parse_revenue
from goals.sql import read_query
from goals.visits import VISIT_GAP
from zones import day_of, first_of_week, name_of, start_of, start_of_hour

MOST_POINTS: Final = 2_000  # of a series
HOUR: Final = timedelta(hours=1)
MOMENT: Final = timedelta(microseconds=1)

SERIES_OF_DAYS: Final = read_query("reports/series_of_days")
SERIES_OF_HOURS: Final = read_query("reports/series_of_hours")


class SeriesStep(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


DAYS: Final = {SeriesStep.DAY: 1, SeriesStep.WEEK: 7}


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """A step of a series, from `begin` until the next one's. A row of series_of_days.sql and series_of_hours.sql."""

    begin: datetime
    conversions: int = 0
    visits: int = 0
    revenue: Revenue = field(default_factory=dict)
    cancellations: int = 0

    def headline(self, goal: Goal) -> int:
        """Return the figure that counts for this goal, as `GoalFigures.headline` does."""
        return self.conversions if goal.has_multiple_conversions else self.visits


def load_series(
    goal: Goal, *, begin: datetime, end: datetime, step: SeriesStep, zone: tzinfo, first_weekday: int = 0
) -> list[SeriesPoint]:
    """Return the steps of a goal's curve from the one that holds `begin` to the one before `end`, empty ones too.

    Days are those of the zone. Weeks begin on `first_weekday`, 0 for Monday. They count no day outside of the period.
    Raises ValueError for more than MOST_POINTS. Two queries. They read the kept totals of days, or the conversions: of
    hours, and of a goal whose days are kept in another zone. If others are merged into the goal, they read the time of
    every conversion, too.
    """
    starts = list_step_starts(begin, end, step, zone=zone, first_weekday=first_weekday)
    if not starts:
        return []
    members = load_member_ids(goal.site_id, [goal])[goal.pk]
    parameters: dict[str, Any] = {
        "site": goal.site_id,
        "goals": members,
        "is_of_several": len(members) > 1,
        "visit_gap": VISIT_GAP,
    }
    if step == SeriesStep.HOUR:
        parameters |= {"start": starts[0], "since": starts[0], "until": starts[-1] + HOUR}
    else:
        first, after = day_of(begin, zone), day_of(end - MOMENT, zone) + timedelta(days=1)
        parameters |= {
            "zone": name_of(zone),
            "days": DAYS[step],
            "start": day_of(starts[0], zone),
            "first_day": first,
            "since": start_of(first, zone),
            "day_after": after,
            "until": start_of(after, zone),
        }
    with connection.cursor() as cursor:
        cursor.execute(SERIES_OF_HOURS if step == SeriesStep.HOUR else SERIES_OF_DAYS, parameters)
        points = {}
        for at, conversions, visits, revenue, cancellations in cursor.fetchall():
            start = at if step == SeriesStep.HOUR else start_of(at, zone)
            points[start] = SeriesPoint(
                start, int(conversions), int(visits), parse_revenue(revenue), int(cancellations)
            )
    return [points.get(start, SeriesPoint(start)) for start in starts]


def sum_weeks(
    days: Sequence[SeriesPoint], *, begin: datetime, end: datetime, zone: tzinfo, first_weekday: int
) -> list[SeriesPoint]:
    """Return the weeks of a period from days that hold it, as `load_series` does. Pure."""
    starts = list_step_starts(begin, end, SeriesStep.WEEK, zone=zone, first_weekday=first_weekday)
    first = start_of(day_of(begin, zone), zone)
    weeks: dict[datetime, list[SeriesPoint]] = {start: [] for start in starts}
    for day in days:
        if first <= day.begin < end:
            weeks[starts[bisect_right(starts, day.begin) - 1]].append(day)
    return [_sum_points(start, each) for start, each in weeks.items()]


def _sum_points(begin: datetime, points: Sequence[SeriesPoint]) -> SeriesPoint:
    revenue = defaultdict[str, Decimal](Decimal)
    for point in points:
        for currency, amount in point.revenue.items():
            revenue[currency] += amount
    return SeriesPoint(
        begin,
        sum(point.conversions for point in points),
        sum(point.visits for point in points),
        dict(sorted(revenue.items())),
        sum(point.cancellations for point in points),
    )


def list_step_starts(
    begin: datetime, end: datetime, step: SeriesStep, *, zone: tzinfo, first_weekday: int = 0
) -> list[datetime]:
    """Return when the steps of a series begin, in UTC. Pure. Raises ValueError for more than MOST_POINTS."""
    if end <= begin:
        return []
    if step == SeriesStep.HOUR:
        start = start_of_hour(begin, zone)  # the next ones in UTC, because the zone may have an hour twice
        return [start + HOUR * number for number in range(_count(-((start - end) // HOUR)))]
    first, last = day_of(begin, zone), day_of(end - MOMENT, zone)
    if step == SeriesStep.WEEK:
        first = first_of_week(first, first_weekday)
    length = timedelta(days=DAYS[step])
    return [start_of(first + length * number, zone) for number in range(_count((last - first) // length + 1))]


def _count(points: int) -> int:
    if points > MOST_POINTS:
        raise ValueError(f"{points} points; {MOST_POINTS} are the most")
    return points
