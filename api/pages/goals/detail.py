"""The pages of one goal: its figures, its events and its conversions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.utils import timezone

from api.models import Message, Site
from api.models.message_rows import find_by_keys
from api.pages.access import show, site_page
from api.pages.charts import Chart, Series
from api.pages.goals.goal_list import find_patterns
from api.pages.query_form import IdField, PlaceTimeField, QueryForm
from api.pages.ranges import make_control, read_range
from goals import catalogue
from goals.models import Conversion, Goal
from goals.queries import ConversionPosition, find_live_goal, list_goal_conversions
from goals.reports.figures import load_member_ids
from goals.reports.series import SeriesPoint, SeriesStep, load_series
from goals.reports.summaries import summarise_goals
from goals.shown_names import show_goal_name

PAGE_CONVERSIONS: Final = 50  # conversions a page
FORMATS: Final = {SeriesStep.HOUR: "%Y-%m-%d %H:%M", SeriesStep.DAY: "%Y-%m-%d", SeriesStep.WEEK: "%Y-%m-%d"}


@dataclass(frozen=True, slots=True)
class ConversionRow:
    """A conversion with its source and its event."""

    conversion: Conversion
    source: str
    message_id: int | None  # None if the message is no longer stored


class PlaceQuery(QueryForm):
    """The end of the page before: `?before=<time>&id=<number>`."""

    before = PlaceTimeField()
    id = IdField()

    @property
    def place(self) -> ConversionPosition | None:
        at, id_ = self.values["before"], self.values["id"]
        return ConversionPosition(at, id_) if at and id_ is not None else None


@site_page()
def show_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Show a goal's figures, curve and events. A merged goal leads to the one it counts for."""
    goal = find_live_goal(site.pk, goal_id, follows_merge=True)
    if goal is None:
        raise Http404
    if goal.pk != goal_id:
        return redirect("pages:goal", site.sitecode, goal.pk)
    now = timezone.now()
    span = read_range(request, site, now=now)
    trouble, points = span.trouble, list[SeriesPoint]()
    if not trouble:
        try:
            points = load_series(goal, begin=span.begin, end=span.end, step=span.step)
        except ValueError:
            trouble = "Too many points for one chart: choose a longer step or a shorter period."
    headline = summarise_goals(site.pk, [goal], now=now)[goal.pk]
    spans = (
        ("Last 24 hours", headline.last_24_hours),
        ("Last 30 days", headline.last_30_days),
        ("All time", headline.ever),
    )
    return show(
        request,
        "pages/goals/goal.html",
        title=str(show_goal_name(goal, template=site.goal_name_template)),
        tab="figures",
        goal=goal,
        merged=find_merged(goal),
        headline=headline,
        figures=[(label, {"value": value, "headline": value.headline(goal)}) for label, value in spans],
        span=span,
        control=make_control(span, request.GET),
        steps=list(SeriesStep),
        trouble=trouble,
        chart=draw_conversions(goal, points, span.step),
        money_chart=draw_revenue(points, span.step),
        events=catalogue.list_events_leading_to(goal, template=site.goal_name_template),
        pattern=find_patterns(site, [goal]).get(goal.pk, ""),
    )


@site_page()
def list_conversions(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Show a goal's conversions in a range with their events, newest first."""
    goal = find_goal(site, goal_id)
    span = read_range(request, site, now=timezone.now())
    conversions = list_goal_conversions(
        goal,
        after=PlaceQuery(request.GET).place,
        limit=0 if span.trouble else PAGE_CONVERSIONS + 1,
        begin=span.begin,
        end=None if span.is_running else span.end,
    )
    older = QueryDict(mutable=True)
    has_older = len(conversions) > PAGE_CONVERSIONS
    if has_older:
        last = conversions[PAGE_CONVERSIONS - 1]
        older.update({"before": last.occurred_at.isoformat(), "id": str(last.pk), **span.parts})
    return show(
        request,
        "pages/goals/conversions.html",
        title=str(show_goal_name(goal, template=site.goal_name_template)),
        tab="conversions",
        goal=goal,
        trouble=span.trouble,
        control=make_control(span, request.GET),
        rows=make_rows(site, conversions[:PAGE_CONVERSIONS]),
        older=older.urlencode() if has_older else "",
    )


def find_merged(goal: Goal) -> list[Goal]:
    """Return the goals that count for this one, with the goals into which they are merged. One query at most."""
    ids = load_member_ids(goal.site_id, [goal])[goal.pk][1:]
    goals = Goal.objects.filter(site_id=goal.site_id, pk__in=ids).select_related("merged_into").order_by("pk")
    return list(goals) if ids else []


def find_goal(site: Site, goal_id: int) -> Goal:
    """Return a live goal of this site. Raises Http404. Three queries."""
    goal = find_live_goal(site.pk, goal_id)
    if goal is None:
        raise Http404
    return goal


def draw_conversions(goal: Goal, points: Sequence[SeriesPoint], step: SeriesStep) -> Chart:
    """Return a chart of conversions and visits with a conversion; the one that this goal counts comes first.

    Cancelled conversions are a line if there are any.
    """
    series = [
        Series("Conversions", [point.conversions for point in points]),
        Series("Visits with a conversion", [point.visits for point in points]),
    ]
    series = series if goal.has_multiple_conversions else series[::-1]
    if any(point.cancellations for point in points):
        series.append(Series("Cancelled conversions", [point.cancellations for point in points]))
    labels = [f"{point.begin:{FORMATS[step]}}" for point in points]
    return Chart(labels, series, unit=_unit(step), type="line")


def draw_revenue(points: Sequence[SeriesPoint], step: SeriesStep) -> Chart | None:
    """Return a chart of revenue with a line for each currency, None without revenue."""
    currencies = sorted({currency for point in points for currency in point.revenue})
    series = [Series(currency, [float(point.revenue.get(currency, 0)) for point in points]) for currency in currencies]
    labels = [f"{point.begin:{FORMATS[step]}}" for point in points]
    return Chart(labels, series, unit=_unit(step), type="line") if series else None


def _unit(step: SeriesStep) -> str:
    return {SeriesStep.HOUR: "Hour (UTC)", SeriesStep.DAY: "Day (UTC)", SeriesStep.WEEK: "Week from (UTC)"}[step]


def name_sources(site: Site) -> dict[int, str]:
    """Return the names of a site's sources by id. One query."""
    return dict(site.sources.values_list("pk", "name"))


def make_rows(site: Site, conversions: Sequence[Conversion]) -> list[ConversionRow]:
    """Return conversions with their sources and messages. Three queries at most."""
    names = [row.message_key.partition(":") for row in conversions]
    found = find_by_keys(site.pk, ((type_, message_id) for type_, colon, message_id in names if colon))
    stored = {f"{type_}:{message_id}": pk for (type_, message_id), pk in found.items()}  # ids by message_key
    nameless = [int(row.message_key[1:]) for row in conversions if row.message_key.startswith("#")]
    if nameless:
        messages = Message.objects.filter(site=site, pk__in=nameless)
        stored |= {f"#{pk}": pk for pk in messages.values_list("pk", flat=True)}
    sources = name_sources(site)
    return [ConversionRow(row, sources.get(row.source_id or 0, ""), stored.get(row.message_key)) for row in conversions]
