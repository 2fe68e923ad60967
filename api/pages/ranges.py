"""Range of a page and the one that it is compared with: read from the address, otherwise the person's last choice.

A range of days is compared with days of the same weekdays, a month with a month. The compared one of a range that
includes today ends at the same time of day. Otherwise a running day would be beside a whole one.
"""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from django import forms
from django.http import HttpRequest, QueryDict
from django.utils import timezone
from django.utils.http import urlencode

from api.models import Site
from api.models.site_days import day_of, end_of_day, start_of_day, zone_of
from api.pages.query_form import FIRST_DAY, DayField, QueryForm
from api.pages.spans import find_trouble
from goals.reports.series import SeriesStep

OF_RANGE: Final = ("range", "compare", "from", "to")  # parameters of an address
OF_BREAKDOWN: Final = ("by", "path", "only", "trait", "value")  # of a goal's breakdown: its other tabs keep them
PLACES: Final = ("before", "after", "id", "place")  # of a list: they mean nothing in another range
MOST_DAYS_BY_DAY: Final = 92
WEEK: Final = 7
YEAR_OF_WEEKS: Final = timedelta(weeks=52)


class Preset(StrEnum):
    TEN_MINUTES = "10m"
    HOUR = "1h"
    TODAY = "today"
    HOURS = "24h"
    WEEK = "7d"
    FOUR_WEEKS = "28d"
    THIRTY_DAYS = "30d"
    QUARTER = "90d"
    MONTH_TO_DATE = "month"
    LAST_MONTH = "last-month"
    CUSTOM = "custom"

    @property
    def label(self) -> str:
        return LABELS[self]


LABELS: Final = {
    Preset.TEN_MINUTES: "Last 10 minutes",
    Preset.HOUR: "Last hour",
    Preset.TODAY: "Today",
    Preset.HOURS: "Last 24 hours",
    Preset.WEEK: "Last 7 days",
    Preset.FOUR_WEEKS: "Last 28 days",
    Preset.THIRTY_DAYS: "Last 30 days",
    Preset.QUARTER: "Last 90 days",
    Preset.MONTH_TO_DATE: "Month to date",
    Preset.LAST_MONTH: "Last month",
    Preset.CUSTOM: "Custom",
}
DAYS: Final = {Preset.TODAY: 1, Preset.WEEK: 7, Preset.FOUR_WEEKS: 28, Preset.THIRTY_DAYS: 30, Preset.QUARTER: 90}
# Ranges that end now: their length, and the step at which they begin.
SHORT: Final = {
    Preset.TEN_MINUTES: (timedelta(minutes=10), timedelta(minutes=1)),
    Preset.HOUR: (timedelta(hours=1), timedelta(minutes=5)),
    Preset.HOURS: (timedelta(hours=24), timedelta(hours=1)),
}
MONTHS: Final = (Preset.MONTH_TO_DATE, Preset.LAST_MONTH)


@dataclass(frozen=True, slots=True)
class Offer:
    """The ranges that a kind of pages offers, and where the session keeps the person's last choice among them."""

    presets: tuple[Preset, ...]
    default: Preset
    session_key: str


OF_FIGURES: Final = Offer(
    tuple(preset for preset in Preset if preset not in {Preset.TEN_MINUTES, Preset.HOUR, Preset.THIRTY_DAYS}),
    Preset.FOUR_WEEKS,
    "range",
)
OF_DELIVERY: Final = Offer(
    (Preset.TEN_MINUTES, Preset.HOUR, Preset.HOURS, Preset.WEEK, Preset.THIRTY_DAYS, Preset.CUSTOM),
    Preset.HOURS,
    "range of delivery",
)


class Compare(StrEnum):
    PREVIOUS = "previous"
    YEAR = "year"
    NONE = "none"


class RangeQuery(QueryForm):
    """`range` is a preset, `from` and `to` are days of a custom one, `step` is that of the chart."""

    range = forms.ChoiceField(choices=[(preset, preset) for preset in Preset])
    compare = forms.ChoiceField(choices=[(compare, compare) for compare in Compare])
    to = DayField()
    step = forms.ChoiceField(choices=[(step, step) for step in SeriesStep])

    def __init__(self, query: Mapping[str, Any]) -> None:
        super().__init__(query)
        self.fields["from"] = DayField()  # a keyword of Python

    def find_trouble_of_days(self, today: date) -> str:
        """Return what is wrong with `from` and `to`; otherwise an empty text."""
        wrong = [f"{name.capitalize()} (“{self.raw(name)[:40]}”)" for name in ("from", "to") if name in self.errors]
        if wrong:
            verb = "is not a date" if len(wrong) == 1 else "are not dates"
            return f"{' and '.join(wrong)} {verb}. Write {today}, for example."
        return ""


@dataclass(frozen=True, slots=True)
class Period:
    """The time from `begin` until before `end`."""

    first: date
    last: date
    begin: datetime
    end: datetime
    whole_end: datetime  # of its last day, which may not be over at `end`


@dataclass(frozen=True, slots=True)
class Range:
    """The period of a page, the one that it is compared with, and the step of its charts."""

    preset: Preset
    compare: Compare
    period: Period
    compared: Period | None
    step: SeriesStep
    now: datetime
    trouble: str = ""  # the reason why nothing is shown
    note: str = ""  # on what is shown instead

    @property
    def begin(self) -> datetime:
        return self.period.begin

    @property
    def end(self) -> datetime:
        """The end of the last day, or now if that is earlier."""
        return self.period.end

    @property
    def first(self) -> date:
        return self.period.first

    @property
    def last(self) -> date:
        return self.period.last

    @property
    def is_running(self) -> bool:
        """Return True if the period is not over."""
        return self.period.end >= self.now

    @property
    def periods(self) -> list[tuple[datetime, datetime | None]]:
        """The times of the period and of the compared one. None is the end of a period that runs."""
        periods: list[tuple[datetime, datetime | None]] = [(self.begin, None if self.is_running else self.end)]
        return [*periods, (self.compared.begin, self.compared.end)] if self.compared else periods

    @property
    def label(self) -> str:
        return write_days(self.period, self.now) if self.preset == Preset.CUSTOM else self.preset.label

    @property
    def days(self) -> str:
        """The days in words: `21–27 Nov`; the times of an hour or less: `12:31–12:40`."""
        return self._write(self.period)

    @property
    def compare_label(self) -> str:
        return self.name(self.compare)

    def name(self, compare: Compare) -> str:
        """Return the words for a comparison of this range."""
        if compare == Compare.YEAR:
            return "Last year" if self.preset in MONTHS else "Same weekdays last year"
        if compare == Compare.NONE:
            return "No comparison"
        is_day = self.first == self.last and self.preset not in SHORT
        return "Same day last week" if is_day else "Previous period"

    @property
    def compared_days(self) -> str:
        return self._write(self.compared) if self.compared else ""

    def _write(self, period: Period) -> str:
        if self.preset in SHORT and self.preset != Preset.HOURS:
            times = (timezone.localtime(at) for at in (period.begin, period.end))
            return "–".join(f"{time:%H:%M}" for time in times)
        return write_days(period, self.now)

    @property
    def parts(self) -> dict[str, str]:
        """The parameters that name this range."""
        parts = {"range": self.preset.value, "compare": self.compare.value}
        if self.preset == Preset.CUSTOM:
            parts |= {"from": str(self.first), "to": str(self.last)}
        return parts

    @property
    def query(self) -> str:
        """The query string of this range, for links."""
        return urlencode(self.parts)


@dataclass(frozen=True, slots=True)
class RangeControl:
    """The menu of ranges and comparisons of a page, each a link that keeps the page's other filters."""

    range: Range
    presets: list[tuple[str, str, bool]]  # label, query string, is chosen
    comparisons: list[tuple[str, str, bool]]
    kept: list[tuple[str, str]]  # parameters of the form for custom days

    @property
    def tab_parts(self) -> list[tuple[str, str]]:
        """The parameters that all tabs of a goal share: the range, and what the breakdown shows."""
        return [*self.range.parts.items(), *(part for part in self.kept if part[0] in OF_BREAKDOWN)]

    @property
    def tab_query(self) -> str:
        """The query string that all tabs of a goal share."""
        return urlencode(self.tab_parts)

    @property
    def has_filter(self) -> bool:
        """Return True if the breakdown of the goal counts some conversions only."""
        return any(name == "only" and value for name, value in self.kept)


def read_range(request: HttpRequest, site: Site, *, now: datetime, offer: Offer = OF_FIGURES) -> Range:
    """Return the range that the address names, otherwise the person's last one. No query of its own.

    The session keeps a valid choice; saving a session that changed takes two queries.
    """
    chosen = recall_range(request, site, request.GET, now=now, offer=offer)
    if names_range(request.GET) and not chosen.trouble and chosen.parts != request.session.get(offer.session_key):
        request.session[offer.session_key] = chosen.parts
    return chosen


def recall_range(
    request: HttpRequest, site: Site, query: QueryDict, *, now: datetime, offer: Offer = OF_FIGURES
) -> Range:
    """Return the range that a query string names, otherwise the person's last one, which stays as it is."""
    last = request.session.get(offer.session_key)
    return resolve_range(site, query, last if isinstance(last, dict) else {}, now=now, offer=offer)


def names_range(query: QueryDict) -> bool:
    """Return True if a query string has a parameter of a range. Pure."""
    return any(name in query for name in OF_RANGE)


def resolve_range(
    site: Site,
    query: Mapping[str, str],
    last: Mapping[str, str],
    *,
    now: datetime,
    offer: Offer = OF_FIGURES,
) -> Range:
    """Return the range of a query string, with `last` for what it leaves out. Pure."""
    form, before = RangeQuery(query), RangeQuery(last)
    has_days = any(form.raw(name) for name in ("from", "to"))
    preset = form.values["range"] if form.values["range"] in offer.presets else "custom" if has_days else ""
    days = form
    if not preset:
        preset, days = before.values["range"], before
        preset = preset if preset in offer.presets else offer.default
    chosen = Preset(preset)
    compare = Compare(form.values["compare"] or before.values["compare"] or Compare.PREVIOUS)
    today = day_of(site, now)
    trouble = note = ""
    if chosen == Preset.CUSTOM:
        first, until = days.values["from"], days.values["to"]
        until = until or (max(today, first) if first else today)
        first = first or max(FIRST_DAY, min(until, today) - timedelta(days=DAYS[Preset.FOUR_WEEKS] - 1))
        trouble = days.find_trouble_of_days(today) or find_trouble(first, until, now=today)
        if trouble and days is before:  # of another site, whose day is a later one
            return resolve_range(site, query, {"compare": compare}, now=now, offer=offer)
        if not trouble and until > today:
            note = f"To ({until}) is in the future. Showing days up to today, {today}."
            until = today
    else:
        first, until = _days_of(chosen, today)
    if trouble:
        first = until = today
    period = _make_period(site, first, until, now=now)
    if chosen in SHORT:
        length, step = SHORT[chosen]
        # Hours of the zone begin at half past in some. Between them the clock is never changed.
        clock = now.astimezone(zone_of(site)).replace(tzinfo=None)
        begin = now - (clock - datetime.min) % step + step - length  # noqa: DTZ901 - of the clock
        period = Period(day_of(site, begin), today, begin, now, begin + length)
    chart_step = SeriesStep(form.values["step"] or _step_of(chosen, period))
    compared = None if trouble else _compared(site, chosen, compare, period)
    return Range(chosen, compare, period, compared, chart_step, now, trouble, note)


def make_control(range_: Range, query: QueryDict, *, offer: Offer = OF_FIGURES) -> RangeControl:
    """Return the menu of ranges for a page with this query string. Pure."""
    kept = [
        (name, value) for name, values in query.lists() if name not in {*OF_RANGE, "step", *PLACES} for value in values
    ]
    days = {name: value for name, value in range_.parts.items() if name in {"from", "to"}}

    def link(preset: Preset, compare: Compare) -> str:
        chosen = {"range": preset, "compare": compare, **(days if preset == Preset.CUSTOM else {})}
        return urlencode([*kept, *chosen.items()])

    return RangeControl(
        range_,
        [
            (preset.label, link(preset, range_.compare), preset == range_.preset)
            for preset in offer.presets
            if preset != Preset.CUSTOM
        ],
        [(range_.name(compare), link(range_.preset, compare), compare == range_.compare) for compare in Compare],
        [*kept, ("range", Preset.CUSTOM), ("compare", range_.compare)],
    )


def write_days(period: Period, now: datetime) -> str:
    """Return days in words, with the year if it is not the current one: `21–27 Nov`, `29 Oct – 3 Nov 2025`."""
    first, last = period.first, period.last
    year = f" {last.year}" if last.year != now.year or first.year != last.year else ""
    if first == last:
        return f"{last.day} {last:%b}{year}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{last.day} {last:%b}{year}"
    return f"{first.day} {first:%b}{f' {first.year}' if first.year != last.year else ''} – {last.day} {last:%b}{year}"


def _days_of(preset: Preset, today: date) -> tuple[date, date]:
    match preset:
        case Preset.MONTH_TO_DATE:
            return today.replace(day=1), today
        case Preset.LAST_MONTH:
            last = today.replace(day=1) - timedelta(days=1)
            return last.replace(day=1), last
        case _:
            return today - timedelta(days=DAYS.get(preset, 1) - 1), today


def _step_of(preset: Preset, period: Period) -> SeriesStep:
    days = (period.last - period.first).days + 1
    if preset in SHORT or days == 1:
        return SeriesStep.HOUR
    return SeriesStep.DAY if days <= MOST_DAYS_BY_DAY else SeriesStep.WEEK


def _make_period(site: Site, first: date, last: date, *, now: datetime) -> Period:
    end = end_of_day(site, last)
    return Period(first, last, start_of_day(site, first), min(end, now), end)


def _compared(site: Site, preset: Preset, compare: Compare, period: Period) -> Period | None:
    """Return the period to compare with; None if there is none that is old enough to have conversions."""
    if compare == Compare.NONE:
        return None
    if preset in SHORT:
        back = SHORT[preset][0] if compare == Compare.PREVIOUS else YEAR_OF_WEEKS
        begin, end, whole = period.begin - back, period.end - back, period.whole_end - back
        return Period(day_of(site, begin), day_of(site, end), begin, end, whole)
    if preset in MONTHS:
        months = 1 if compare == Compare.PREVIOUS else 12
        first = _months_back(period.first, months)
        last = _months_back(period.last, months)
        if preset == Preset.LAST_MONTH:
            last = last.replace(day=calendar.monthrange(last.year, last.month)[1])
    else:
        days = (period.last - period.first).days + 1
        weeks = timedelta(weeks=-(-days // WEEK)) if compare == Compare.PREVIOUS else YEAR_OF_WEEKS
        if period.first - FIRST_DAY < weeks:
            return None
        first, last = period.first - weeks, period.last - weeks
    whole_end = end_of_day(site, last)
    left = period.whole_end - period.end  # of the running day
    return Period(first, last, start_of_day(site, first), whole_end - left, whole_end)


def _months_back(day: date, months: int) -> date:
    month = day.year * 12 + day.month - 1 - months
    year, month = month // 12, month % 12 + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
