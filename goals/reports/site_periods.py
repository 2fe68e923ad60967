"""Figures of all goals of a site together, in one period or in two side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from django.db import connection

from goals.reports.figures import NO_END, Revenue, parse_revenue
from goals.reports.series import SeriesPoint, SeriesStep, list_step_starts, sum_weeks
from goals.sql import read_query
from zones import find_zone, start_of

MOST_READ: Final = 100_000  # conversions of a period whose visitors are counted: some 100 ms
TOP: Final = 5
MOVERS: Final = 3

SITE_PERIODS: Final = read_query("reports/site_periods")


@dataclass(frozen=True, slots=True)
class SiteTotal:
    """Conversions of a site in a period, their visitors and revenue."""

    conversions: int = 0
    visitors: int | None = None  # None if there are more than MOST_READ conversions
    revenue: Revenue = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GoalMovement:
    """Conversions of a goal in the first period, and in the second."""

    goal_id: int
    conversions: int
    before: int


class ChartSpan(NamedTuple):
    """Days of a chart, and the times at which their first hour begins and their last one ends."""

    first_day: date
    last_day: date
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class SitePeriods:
    """Totals of the periods, in their order, with what belongs to the first."""

    totals: Sequence[SiteTotal]
    days: Mapping[date, int]  # conversions by day in the spans of the chart
    hours: Mapping[datetime, int]  # by hour, empty unless asked for
    top: Sequence[GoalMovement]  # the largest goals
    movers: Sequence[GoalMovement]  # others that changed most
    goals_of_other_zones: int  # with kept days of other zones than the one asked for
    has_goals: bool

    def list_points(self, span: ChartSpan, step: SeriesStep, *, zone: str, first_weekday: int = 0) -> list[SeriesPoint]:
        """Return the curve of a span in this step, also where it has no conversions. Pure.

        Weeks count no day outside of the span. Raises ValueError for more than MOST_POINTS.
        """
        place = find_zone(zone)
        counts = self.hours
        if step != SeriesStep.HOUR:
            counts = {start_of(day, place): conversions for day, conversions in self.days.items()}
        if step == SeriesStep.WEEK:
            days = [SeriesPoint(start, conversions) for start, conversions in counts.items()]
            return sum_weeks(days, begin=span.since, end=span.until, zone=place, first_weekday=first_weekday)
        starts = list_step_starts(span.since, span.until, step, zone=place)
        return [SeriesPoint(start, counts.get(start, 0)) for start in starts]


class SitePeriodsRow(NamedTuple):
    """Row of site_periods.sql."""

    kind: str
    period: int | None
    visitors: int | None
    day: date | None
    hour: datetime | None
    key: int | None
    conversions: int  # of the kind `other zone`: goals
    before: int | None  # of the kind `other zone`: all goals
    revenue: str | None  # JSON


def load_site_periods(
    site_id: int,
    periods: Sequence[tuple[datetime, datetime | None]],
    *,
    line: Sequence[ChartSpan],
    by_hour: bool = False,
    zone: str,
) -> SitePeriods:
    """Return a site's conversions in one or two periods, and by day in the spans of a line.

    A period is from a time until before another, which is None if it runs. A merged goal counts for its target.
    One query: it reads the kept days of all goals, and the conversions of what is no whole day. Visitors of up to
    MOST_READ conversions are counted from these, and the hours of the spans if `by_hour`. With more conversions in a
    period there are none.
    """
    parameters: dict[str, Any] = {
        "site": site_id,
        "sinces": [begin for begin, _ in periods],
        "untils": [end or NO_END for _, end in periods],
        "no_end": NO_END,
        "first_days": [span.first_day for span in line],
        "last_days": [span.last_day for span in line],
        "line_sinces": [span.since for span in line],
        "line_untils": [span.until for span in line],
        "by_hour": by_hour,
        "zone": zone,
        "most_read": MOST_READ,
        "top": TOP,
        "movers": MOVERS if len(periods) > 1 else 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(SITE_PERIODS, parameters)
        rows = [SitePeriodsRow(*row) for row in cursor.fetchall()]
    totals = sorted((row for row in rows if row.kind == "period"), key=lambda row: row.period or 0)

    def list_movements(kind: str) -> list[GoalMovement]:
        return [GoalMovement(row.key or 0, row.conversions, row.before or 0) for row in rows if row.kind == kind]

    return SitePeriods(
        [SiteTotal(row.conversions, row.visitors, parse_revenue(row.revenue)) for row in totals],
        {row.day: row.conversions for row in rows if row.day is not None},
        {row.hour: row.conversions for row in rows if row.hour is not None},
        list_movements("top"),
        list_movements("mover"),
        next(row.conversions for row in rows if row.kind == "other zone"),
        any(row.kind == "other zone" and row.before for row in rows),
    )
