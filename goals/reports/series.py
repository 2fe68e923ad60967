"""Series of a goal: conversions, visits, cancellations and revenue by hour, day or week of UTC."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django.db import connection

from goals.models import Goal
from goals.reports.figures import Revenue, load_member_ids, parse_revenue
from goals.sql import read_query
from goals.visits import VISIT_GAP
from zones import first_of_week

MOST_POINTS: Final = 2_000  # of a series

SERIES_OF_DAYS: Final = read_query("reports/series_of_days")
SERIES_OF_HOURS: Final = read_query("reports/series_of_hours")


class SeriesStep(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


LENGTHS: Final = {
    SeriesStep.HOUR: timedelta(hours=1),
    SeriesStep.DAY: timedelta(days=1),
    SeriesStep.WEEK: timedelta(weeks=1),
}


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
    goal: Goal, *, begin: datetime, end: datetime, step: SeriesStep, first_weekday: int = 0
) -> list[SeriesPoint]:
    """Return the steps of a goal's curve from the one that holds `begin` to the one before `end`, empty ones too.

    Weeks begin on `first_weekday`, 0 for Monday. They count no day outside of the period.
    Raises ValueError for more than MOST_POINTS. Two queries. They read the kept totals of days; the conversions for
    hours; the time of every conversion, too, if others are merged into the goal.
    """
    starts = list_step_starts(begin, end, step, first_weekday=first_weekday)
    if not starts:
        return []
    members = load_member_ids(goal.site_id, [goal])[goal.pk]
    parameters: dict[str, Any] = {
        "site": goal.site_id,
        "goals": members,
        "is_of_several": len(members) > 1,
        "step": step,
        "length": LENGTHS[step],
        "start": starts[0],
        "since": starts[0],
        "until": starts[-1] + LENGTHS[step],
        "visit_gap": VISIT_GAP,
    }
    if step == SeriesStep.WEEK:
        days = list_step_starts(begin, end, SeriesStep.DAY)
        parameters |= {"since": days[0], "until": days[-1] + LENGTHS[SeriesStep.DAY]}
    with connection.cursor() as cursor:
        cursor.execute(SERIES_OF_HOURS if step == SeriesStep.HOUR else SERIES_OF_DAYS, parameters)
        points = {
            start: SeriesPoint(start, int(conversions), int(visits), parse_revenue(revenue), int(cancellations))
            for start, conversions, visits, revenue, cancellations in cursor.fetchall()
        }
    return [points.get(start, SeriesPoint(start)) for start in starts]


def list_step_starts(begin: datetime, end: datetime, step: SeriesStep, *, first_weekday: int = 0) -> list[datetime]:
    """Return when the steps of a series begin. Pure. Raises ValueError for more than MOST_POINTS."""
    start = begin.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if step != SeriesStep.HOUR:
        start = start.replace(hour=0)
    if step == SeriesStep.WEEK:
        start -= start.date() - first_of_week(start.date(), first_weekday)
    length = LENGTHS[step]
    count = max(0, -((start - end) // length))
    if count > MOST_POINTS:
        raise ValueError(f"{count} points; {MOST_POINTS} are the most")
    return [start + length * number for number in range(count)]
