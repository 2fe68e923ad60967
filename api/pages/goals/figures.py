"""Figures of a goal in a range beside those of the compared period: as cards and as charts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import partial
from typing import Final

import zones
from api.insight.annotations import Mark, find_annotations
from api.insight.rates import Rate
from api.models import Site
from api.models.site_days import zone_of
from api.pages.change import Card, make_card, make_revenue_card
from api.pages.charts import Chart, Series
from api.pages.ranges import Period, Range
from api.pages.rates import BaseOfRange, load_base, load_sides, make_rate_card
from goals.models import Goal
from goals.reports.figures import GoalFigures, load_member_ids
from goals.reports.periods import load_periods
from goals.reports.series import SeriesPoint, SeriesStep, load_series, sum_weeks
from goals.reports.visitors_seen import SeenVisitors
from times import EARLIEST

FORMATS: Final = {SeriesStep.HOUR: "%Y-%m-%d %H:%M", SeriesStep.DAY: "%Y-%m-%d", SeriesStep.WEEK: "%Y-%m-%d"}
UNITS: Final = {SeriesStep.HOUR: "Hour", SeriesStep.DAY: "Day", SeriesStep.WEEK: "Week from"}
NONE: Final = GoalFigures()


@dataclass(frozen=True, slots=True)
class GoalSeries:
    """The steps of a curve in a range, and those of the compared period at the same places."""

    points: Sequence[SeriesPoint]
    before: Sequence[SeriesPoint]  # empty without a comparison, otherwise as many as points


class GoalFiguresView:
    """Cards, charts and annotations of a goal in a range. Ten queries, none if the range cannot be."""

    def __init__(self, site: Site, goal: Goal, range_: Range, *, currency: str) -> None:
        self.trouble = range_.trouble
        self.cards: list[Card] = []
        self.currencies: list[str] = []
        self.currency = ""
        self.chart: Chart | None = None
        self.money_chart: Chart | None = None
        self.annotations: list[Mark] = []
        self.ever = NONE
        self.rates: GoalRates | None = None
        if self.trouble:
            return
        periods = [*range_.periods, (EARLIEST, None)]
        loaded = load_periods(site.pk, [goal], periods)
        *figures, self.ever = [found[goal.pk] for found in loaded]
        self.currencies = sorted({currency for each in figures for currency in each.revenue})
        wanted = (currency, site.default_currency, *self.currencies)
        self.currency = next((each for each in wanted if each in self.currencies), "")
        try:
            series = load_goal_series(site, goal, range_)
        except ValueError:
            self.trouble = "Too many points for one chart: choose a longer step or a shorter period."
            series = GoalSeries((), ())
        # After the figures: a conversion that is committed in between must not make a rate of more than 100 %.
        self.rates = load_goal_rates(site, goal, range_, series)
        self.cards = make_cards(goal, figures, self.currency)
        place = [card.label for card in self.cards].index("Converting visitors") + 1
        self.cards.insert(place, make_rate_card(self.rates.base, goal, [each.visitors for each in figures]))
        if self.trouble:
            return
        members = set(load_member_ids(site.pk, [goal])[goal.pk])
        found = find_annotations(site, members, begin=range_.begin, end=range_.end)
        self.annotations, marks = found, place_marks(series.points, found)
        self.chart = draw_conversions(site, goal, series, range_, marks=marks, rates=self.rates)
        if self.currency:
            self.money_chart = draw_revenue(site, series, range_, self.currency, marks=marks)


@dataclass(frozen=True, slots=True)
class GoalRates:
    """Both sides of a goal's rates: in the range, in the compared period if there is one, and in their steps."""

    base: BaseOfRange
    converting: Sequence[SeenVisitors | None]

    def at(self, begin: datetime, place: int = 0) -> Rate | None:
        """Return the rate in a step of the range, or of the compared period; None if a side is not counted."""
        converting, base = self.converting[place], self.base.seen[place]
        if converting is None or base is None:
            return None
        return Rate(converting.steps.get(begin, 0), base.steps.get(begin, 0))


def load_goal_rates(site: Site, goal: Goal, range_: Range, series: GoalSeries) -> GoalRates:
    """Return the rates of a goal in the steps of a series. Three queries at most."""
    starts = sorted({point.begin for point in (*series.points, *series.before)})
    if not starts:
        return GoalRates(load_base(site, range_), ())
    return GoalRates(*load_sides(site, goal, range_, starts=starts))


def load_goal_series(site: Site, goal: Goal, range_: Range) -> GoalSeries:
    """Return a goal's curve in a range with the one before. Raises ValueError for too many points.

    One query if the chart has room for all that is between them, of weeks for all its days, otherwise two.
    """
    compared, is_weekly = range_.compared, range_.step == SeriesStep.WEEK
    zone, weekday = zone_of(site), site.first_weekday
    load = partial(load_series, goal, step=range_.step, zone=zone, first_weekday=weekday)
    if compared is None:
        return GoalSeries(load(begin=range_.begin, end=range_.end), ())
    try:
        step = SeriesStep.DAY if is_weekly else range_.step  # two weeks of both periods may be one
        both = load(step=step, begin=compared.begin, end=range_.end)
    except ValueError:
        both = None
    if both is not None and is_weekly:
        points = sum_weeks(both, begin=range_.begin, end=range_.end, zone=zone, first_weekday=weekday)
        before = sum_weeks(both, begin=compared.begin, end=compared.whole_end, zone=zone, first_weekday=weekday)
    elif both is None:
        points = load(begin=range_.begin, end=range_.end)
        before = load(begin=compared.begin, end=compared.whole_end)
    else:
        points = both[max(0, sum(point.begin <= range_.begin for point in both) - 1) :]
        before = [point for point in both if point.begin < compared.whole_end]
    return place_side_by_side(points, before, compared)


def place_side_by_side(points: Sequence[SeriesPoint], before: Sequence[SeriesPoint], compared: Period) -> GoalSeries:
    """Return a curve with as many steps of the compared period. Pure."""
    missing = len(points) - len(before)  # of a month with fewer days
    return GoalSeries(points, [*before, *(SeriesPoint(compared.whole_end) for _ in range(missing))][: len(points)])


def make_cards(goal: Goal, figures: Sequence[GoalFigures], currency: str) -> list[Card]:
    """Return the figures of a goal, each with its change. The figure that this goal counts comes first. Pure."""
    now, before = figures[0], figures[1] if len(figures) > 1 else None

    def card(label: str, value: Callable[[GoalFigures], int], *, is_better_if_more: bool = True) -> Card:
        return make_card(label, value(now), value(before) if before else None, is_better_if_more=is_better_if_more)

    conversions = card("Conversions", lambda each: each.conversions)
    visits = card("Visits with a conversion", lambda each: each.visits)
    cards = [conversions, visits] if goal.has_multiple_conversions else [visits, conversions]
    cards.insert(1, card("Converting visitors", lambda each: each.visitors))
    if currency:
        cards.append(make_revenue_card(now.revenue, before.revenue if before else None, currency))
    if now.cancellations or (before and before.cancellations):
        cards.append(card("Cancelled conversions", lambda each: each.cancellations, is_better_if_more=False))
    return cards


def draw_conversions(
    site: Site,
    goal: Goal,
    series: GoalSeries,
    range_: Range,
    *,
    marks: Sequence[tuple[int, str]] = (),
    rates: GoalRates | None = None,
) -> Chart:
    """Return a chart of the figure that this goal counts, with the one before. Others wait to be switched on. Pure."""
    points = series.points
    conversions = ("Conversions", [point.conversions for point in points])
    visits = ("Visits with a conversion", [point.visits for point in points])
    first, second = (conversions, visits) if goal.has_multiple_conversions else (visits, conversions)
    drawn = [Series(*first)]
    if series.before:
        drawn.append(Series(label_before(range_), [point.headline(goal) for point in series.before], role="before"))
    drawn.append(Series(*second, role="further"))
    found = [rates.at(point.begin) for point in points] if rates else []
    if any(found):
        values = [None if rate is None or rate.value is None else round(rate.value * 100, 2) for rate in found]
        drawn.append(Series("Conversion rate, %", values, role="further", is_rate=True))
    if any(point.cancellations for point in points):
        drawn.append(Series("Cancelled conversions", [point.cancellations for point in points], role="further"))
    return draw_steps(site, points, range_, drawn, marks=marks)


def draw_revenue(
    site: Site, series: GoalSeries, range_: Range, currency: str, *, marks: Sequence[tuple[int, str]] = ()
) -> Chart:
    """Return a chart of the revenue in one currency, with the one before. Pure."""
    drawn = [Series(f"Revenue, {currency}", [_amount(point.revenue, currency) for point in series.points])]
    if series.before:
        before = [_amount(point.revenue, currency) for point in series.before]
        drawn.append(Series(label_before(range_), before, role="before"))
    return draw_steps(site, series.points, range_, drawn, marks=marks)


def place_marks(points: Sequence[SeriesPoint], marks: Sequence[Mark]) -> list[tuple[int, str]]:
    """Return at which step each annotation is. Those before the first step are left out. Pure."""
    starts = [point.begin for point in points]
    placed = [(sum(start <= mark.at for start in starts) - 1, mark.sentence) for mark in marks]
    return [(place, text) for place, text in placed if place >= 0]


def write_step(at: datetime, step: SeriesStep, zone: tzinfo) -> str:
    """Return the begin of a step in ISO 8601, as tables and CSV have it."""
    return f"{at.astimezone(zone):{FORMATS[step]}}"


def draw_steps(
    site: Site,
    points: Sequence[SeriesPoint],
    range_: Range,
    series: Sequence[Series],
    *,
    step: SeriesStep | None = None,
    marks: Sequence[tuple[int, str]] = (),
) -> Chart:
    """Return a chart of these series, which have a value for each point, in the step of the range or another. Pure."""
    zone, step = zone_of(site), step or range_.step
    times = [point.begin.astimezone(zone) for point in points]
    is_hourly = step == SeriesStep.HOUR
    hours = is_hourly and range_.first == range_.last
    return Chart(
        [write_step(at, step, zone) for at in times],
        series,
        unit=f"{UNITS[step]} ({zones.name_of(zone)})",
        type="line",
        ticks=[f"{at:%H:%M}" if hours else f"{at.day} {at:%b}{f', {at:%H:%M}' if is_hourly else ''}" for at in times],
        titles=[_title(at, step) for at in times],
        is_running=range_.is_running,
        marks=marks,
        days=[_days_of(at.date(), range_) for at in times] if range_.first < range_.last else (),
    )


def _days_of(first: date, range_: Range) -> tuple[date, date]:
    """Return the first and last day of a step within its range."""
    last = first + timedelta(days=6) if range_.step == SeriesStep.WEEK else first
    return max(first, range_.first), min(last, range_.last)


def _title(at: datetime, step: SeriesStep) -> str:
    day = f"{at:%A}, {at.day} {at:%B %Y}"
    match step:
        case SeriesStep.HOUR:
            return f"{at:%a} {at.day} {at:%b}, {at:%H:%M}"
        case SeriesStep.WEEK:
            return f"Week from {day}"
        case _:
            return day


def label_before(range_: Range) -> str:
    """Return the label of the compared series, with its days. Pure."""
    return f"{range_.compare_label}, {range_.compared_days}"


def _amount(revenue: Mapping[str, Decimal], currency: str) -> float:
    return float(revenue.get(currency, 0))
