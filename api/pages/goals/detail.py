"""The pages of one goal: its figures, its events and its conversions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from api.insight.breakdowns import select_conversions
from api.models import Message, Site
from api.models.message_rows import find_by_keys
from api.pages.access import show, site_page
from api.pages.goals.breakdown_choices import describe_unknown, find_filters, split_choices
from api.pages.goals.figures import GoalFiguresView
from api.pages.goals.goal_list import find_patterns
from api.pages.query_form import IdField, PlaceTimeField, QueryForm
from api.pages.ranges import make_control, read_range
from goals import catalogue
from goals.models import Conversion, Goal
from goals.queries import ConversionPosition, find_live_goal, list_goal_conversions
from goals.reports.figures import load_member_ids
from goals.reports.series import SeriesStep
from goals.shown_names import show_goal_name

PAGE_CONVERSIONS: Final = 50  # conversions a page


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
        address, query = reverse("pages:goal", args=[site.sitecode, goal.pk]), request.GET.urlencode()
        return redirect(f"{address}?{query}" if query else address)
    span = read_range(request, site, now=timezone.now())
    seen = GoalFiguresView(site, goal, span, currency=request.GET.get("currency", ""))
    return show(
        request,
        "pages/goals/goal.html",
        title=str(show_goal_name(goal, template=site.goal_name_template)),
        tab="figures",
        goal=goal,
        merged=find_merged(goal),
        ever=seen.ever,
        span=span,
        control=make_control(span, request.GET),
        steps=list(SeriesStep),
        seen=seen,
        trouble=seen.trouble,
        chart=seen.chart,
        money_chart=seen.money_chart,
        export=f"{reverse('pages:goal-figures', args=[site.sitecode, goal.pk])}?{span.query}&step={span.step}",
        events=catalogue.list_events_leading_to(goal, template=site.goal_name_template),
        pattern=find_patterns(site, [goal]).get(goal.pk, ""),
    )


@site_page()
def list_conversions(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Show a goal's conversions in a range with their events, newest first, by the filters of its breakdown."""
    goal = find_goal(site, goal_id)
    span = read_range(request, site, now=timezone.now())
    asked = split_choices(request.GET)
    filters = find_filters(site, goal, asked)
    trouble = span.trouble or filters.trouble or (describe_unknown(filters.unknown) if filters.unknown else "")
    sample = since = None
    if filters.only and not trouble:
        sample = select_conversions(site, goal, filters.only, begin=span.begin, end=span.end)
        since = sample.since
        trouble = describe_unknown(sample.unknown) if sample.unknown else ""
    conversions = list_goal_conversions(
        goal,
        after=PlaceQuery(request.GET).place,
        limit=0 if trouble else PAGE_CONVERSIONS + 1,
        begin=since or span.begin,
        end=None if span.is_running else span.end,
        visitors=sample.codes if sample else None,
        fields=sample.fields if sample else (),
    )
    control = make_control(span, asked)
    older = ""
    if len(conversions) > PAGE_CONVERSIONS:
        last = conversions[PAGE_CONVERSIONS - 1]
        older = urlencode([("before", last.occurred_at.isoformat()), ("id", last.pk), *control.tab_parts])
    return show(
        request,
        "pages/goals/conversions.html",
        title=str(show_goal_name(goal, template=site.goal_name_template)),
        tab="conversions",
        goal=goal,
        trouble=trouble,
        control=control,
        filters=filters.shown,
        since=since,
        rows=make_rows(site, conversions[:PAGE_CONVERSIONS]),
        older=older,
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
