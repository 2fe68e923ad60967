"""One goal: its figures, what converts it, and its last conversions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.utils import timezone

from api.http.wording import count_of
from api.insight import breakdowns
from api.insight.breakdowns import FILTERS, NAMED, OF_CONVERSIONS, OVERLAPS, BreakdownBy, UnknownName, VisitorFilter
from api.models import Message, Site
from api.pages.access import show, site_page
from api.pages.charts import Chart, Series
from api.pages.goals.goal_list import patterns_of
from api.pages.goals.list_query import ID_DIGITS
from api.pages.spans import Span, read_span
from goals import catalogue, reports
from goals.models import Conversion, Goal
from goals.queries import ConversionPosition, find_live_goal, list_goal_conversions, load_property_names
from goals.reports import SeriesPoint, SeriesStep

LAST: Final = 50  # conversions a page
PLACES: Final = {SeriesStep.HOUR: "%Y-%m-%d %H:%M", SeriesStep.DAY: "%Y-%m-%d", SeriesStep.WEEK: "%Y-%m-%d"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A conversion with what it came from."""

    conversion: Conversion
    source: str
    message: int | None  # its number, while it is kept


@site_page()
def show_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """The page of a goal: its figures and curve, and what converts it. That of a merged goal is the other's."""
    goal = find_live_goal([site.pk], goal_id, follows_merge=True)
    if goal is None:
        raise Http404
    if goal.pk != goal_id:
        return redirect("pages:goal", site.sitecode, goal.pk)
    now = timezone.now()
    span = read_span(request.GET, now=now)
    trouble, points = span.trouble, list[SeriesPoint]()
    if not trouble:
        try:
            points = reports.load_series(goal, begin=span.begin, end=span.end, step=span.step)
        except ValueError:
            trouble = "That is too much for one chart: choose a longer step or a shorter time."
    headline = reports.summarise_goals([goal], now=now)[goal.pk]
    spans = (
        ("Last 24 hours", headline.last_24_hours),
        ("Last 30 days", headline.last_30_days),
        ("In all", headline.ever),
    )
    return show(
        request,
        "pages/goals/goal.html",
        title=goal.name,
        tab="figures",
        goal=goal,
        merged=merged_into(goal),
        headline=headline,
        figures=[(label, {"value": value, "headline": value.headline(goal)}) for label, value in spans],
        span=span,
        steps=list(SeriesStep),
        trouble=trouble,
        chart=chart_of(goal, points, span.step),
        money_chart=money_chart_of(points, span.step),
        events=catalogue.list_events_leading_to(goal, template=site.goal_name_template),
        pattern=patterns_of(site, [goal]).get(goal.pk, ""),
    )


@site_page()
def break_down(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """A goal's conversions of some days by what they carried, or by who converted (promises K-87)."""
    goal = find_goal(site, goal_id)
    span = read_span(request.GET, now=timezone.now())
    asked = request.GET.get("by", "")
    by = BreakdownBy(asked) if asked in set(BreakdownBy) else BreakdownBy.PROPERTY
    path = request.GET.get("path", "").strip()
    only, trouble, unknown = read_only(site, goal, request.GET)
    trouble = span.trouble or trouble
    parts = None
    if not trouble and unknown is None and (path or by not in NAMED):
        parts = parts_of(site, goal, by, path, span, only=only)
        unknown = parts["seen"].unknown
    near = list[tuple[str, str]]()
    if not trouble and unknown is not None:
        trouble, near = sentence_of(unknown, only), addresses_of(unknown, request.GET)
    return show(
        request,
        "pages/goals/breakdown.html",
        title=goal.name,
        tab="breakdown",
        goal=goal,
        span=span,
        by=by,
        bys=list(BreakdownBy),
        path=path,
        overlaps=by in OVERLAPS,
        is_of_people=by not in OF_CONVERSIONS,
        paths=sorted(load_property_names(goal, latest=LAST)) if by == BreakdownBy.PROPERTY else [],
        filters=FILTERS,
        only_by=request.GET.get("only", ""),
        only_trait=request.GET.get("trait", "").strip(),
        only_value=request.GET.get("value", ""),
        trouble=trouble,
        near=near,
        breakdown=parts,
    )


def sentence_of(unknown: UnknownName, only: VisitorFilter | None) -> str:
    """Return in words what nothing has that was looked at."""
    match unknown.what:
        case BreakdownBy.PERSONA:
            return f"This site has no persona “{unknown.value}”."
        case BreakdownBy.GOAL:
            return f"There is no other goal of this id or name: “{unknown.value}”."
        case BreakdownBy.GROUP:
            return f"This site has no group “{unknown.value}”."
        case BreakdownBy.PROPERTY:
            return f"None of these conversions has a property “{unknown.name}”."
        case _ if unknown.name:
            return f"None of these visitors has a trait “{unknown.name}”."
        case _:
            return f"None of these visitors has “{unknown.value}” as {only.name if only else 'trait'} now."


def addresses_of(unknown: UnknownName, asked: QueryDict) -> list[tuple[str, str]]:
    """Return the names that may have been meant, each with the query that asks for it."""
    parameter = ("trait" if unknown.name else "value") if unknown.is_of_filter else "path"
    addresses = []
    for name in unknown.near:
        query = asked.copy()
        query[parameter] = name
        addresses.append((name, query.urlencode()))
    return addresses


@site_page()
def list_conversions(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """A goal's conversions, newest first, each with its message: `?before=<time>&id=<number>`."""
    goal = find_goal(site, goal_id)
    found = list_goal_conversions(goal, after=read_place(request.GET), limit=LAST + 1)
    shown = found[:LAST]
    older = QueryDict(mutable=True)
    if len(found) > LAST:
        older.update({"before": shown[-1].occurred_at.isoformat(), "id": str(shown[-1].pk)})
    return show(
        request,
        "pages/goals/conversions.html",
        title=goal.name,
        tab="conversions",
        goal=goal,
        shown=with_messages(site, shown),
        older=older.urlencode(),
    )


def read_only(site: Site, goal: Goal, asked: Mapping[str, str]) -> tuple[VisitorFilter | None, str, UnknownName | None]:
    """Return the filter that an address asks for, if any, what it lacks, and what it names that is not there.

    Three queries at most, for a goal.
    """
    by, value, trait = asked.get("only", ""), asked.get("value", ""), asked.get("trait", "").strip()
    if by not in FILTERS:
        return None, "", None
    if not value or (by == BreakdownBy.TRAIT and not trait):
        return None, "Say which visitors to count: the value, and for a trait its name too.", None
    if by == BreakdownBy.GOAL:
        other = breakdowns.find_other(site, value.strip())
        if other is None or other == goal:
            return None, "", breakdowns.unknown_goal(site, goal, value)
        value = str(other.pk)
    return VisitorFilter(BreakdownBy(by), value, trait if by == BreakdownBy.TRAIT else ""), "", None


def read_place(asked: Mapping[str, str]) -> ConversionPosition | None:
    """Where the page before ended; None at the beginning, and where the address says it wrongly."""
    try:
        at, number = datetime.fromisoformat(asked.get("before", "")), asked.get("id", "")
    except ValueError:
        return None
    return (
        ConversionPosition(at, int(number))
        if at.tzinfo and number.isascii() and number.isdigit() and len(number) <= ID_DIGITS
        else None
    )


def merged_into(goal: Goal) -> list[Goal]:
    """The goals that count for this one, with those that they are merged into. At most one query."""
    ids = reports.load_member_ids([goal])[goal.pk][1:]
    return list(Goal.objects.filter(pk__in=ids).select_related("merged_into").order_by("pk")) if ids else []


def find_goal(site: Site, goal_id: int) -> Goal:
    """A live goal of this site. Raises Http404. Three queries."""
    goal = find_live_goal([site.pk], goal_id)
    if goal is None:
        raise Http404
    return goal


def chart_of(goal: Goal, points: Sequence[SeriesPoint], step: SeriesStep) -> Chart:
    """Conversions and converting visits, what counts for this goal first."""
    series = [
        Series("Conversions", [point.conversions for point in points]),
        Series("Converting visits", [point.visits for point in points]),
    ]
    labels = [f"{point.begin:{PLACES[step]}}" for point in points]
    return Chart(labels, series if goal.has_multiple_conversions else series[::-1], unit=_unit(step), type="line")


def money_chart_of(points: Sequence[SeriesPoint], step: SeriesStep) -> Chart | None:
    """Revenue, a line for each currency; None without any."""
    currencies = sorted({currency for point in points for currency in point.revenue})
    series = [Series(each, [float(point.revenue.get(each, 0)) for point in points]) for each in currencies]
    labels = [f"{point.begin:{PLACES[step]}}" for point in points]
    return Chart(labels, series, unit=_unit(step), type="line") if series else None


def _unit(step: SeriesStep) -> str:
    return {SeriesStep.HOUR: "Hour (UTC)", SeriesStep.DAY: "Day (UTC)", SeriesStep.WEEK: "Week from (UTC)"}[step]


def parts_of(
    site: Site, goal: Goal, by: BreakdownBy, path: str, span: Span, *, only: VisitorFilter | None
) -> dict[str, Any]:
    """The parts of a goal's conversions in a time, with what to call each. Eight queries at most."""
    seen = breakdowns.break_down(site, goal, by, name=path, only=only, begin=span.begin, end=span.end)
    found = seen.breakdown
    names: dict[str, str] = {}
    if by == BreakdownBy.SOURCE:
        names = {str(pk): name for pk, name in sources_of(site).items()}
    elif by == BreakdownBy.GOAL:
        ids = [part.value for part in found.parts if part.value]
        names = {str(pk): name for pk, name in Goal.objects.filter(pk__in=ids).values_list("pk", "name")}
    parts = [("(none)" if part.value is None else names.get(part.value, part.value), part) for part in found.parts]
    if found.other is not None:
        parts.append((count_of(found.values - len(found.parts), "other"), found.other))
    return {"parts": parts, "values": found.values, "seen": seen}


def sources_of(site: Site) -> dict[int, str]:
    """The names of a site's sources by id. One query."""
    return dict(site.sources.values_list("pk", "name"))


def with_messages(site: Site, conversions: Sequence[Conversion]) -> list[Shown]:
    """Conversions with their sources and messages. A query for the sources, and one for each type of event."""
    wanted: dict[str, list[str]] = {}
    for each in conversions:
        type_, colon, message_id = each.message_key.partition(":")
        if colon:
            wanted.setdefault(type_, []).append(message_id)
    found: dict[str, int] = {}
    for type_, ids in wanted.items():
        kept = Message.objects.filter(site=site, type=type_, message_id__in=ids)
        kept = kept.exclude(status=Message.Status.REJECTED)
        found |= {f"{type_}:{message_id}": pk for message_id, pk in kept.values_list("message_id", "pk")}
    nameless = [int(each.message_key[1:]) for each in conversions if each.message_key.startswith("#")]
    if nameless:
        found |= {
            f"#{pk}": pk for pk in Message.objects.filter(site=site, pk__in=nameless).values_list("pk", flat=True)
        }
    sources = sources_of(site)
    return [Shown(each, sources.get(each.source_id or 0, ""), found.get(each.message_key)) for each in conversions]
