"""Breakdown of a goal's conversions by what they carried, or by what is known of the visitors (promise K-87)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from django import forms
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.utils import timezone

from api.http.wording import count_of
from api.insight import breakdowns
from api.insight.breakdowns import (
    NAMED,
    OF_CONVERSIONS,
    BreakdownBy,
    BreakdownView,
    PartFilter,
    UnknownName,
)
from api.models import Site
from api.pages.access import show, site_page
from api.pages.goals.breakdown_choices import (
    MOST_FILTERS,
    describe_unknown,
    find_filters,
    load_only_picker,
    load_rows_picker,
    read_only,
    split_choices,
    write_only,
)
from api.pages.goals.detail import find_goal, name_sources
from api.pages.query_form import QueryForm
from api.pages.ranges import OF_BREAKDOWN, Range, make_control, read_range
from api.pages.rates import ShownRate, load_base
from goals.models import Goal
from goals.reports.breakdown import BreakdownPart
from goals.reports.property_use import load_property_use
from goals.shown_names import show_goal_name, show_name

NO_RATE: Final = ShownRate("–", "Only the most recent conversions are shown. Choose a shorter period to see rates.")


class BreakdownForm(QueryForm):
    """`by` and `path` say what the rows are; `only`, `trait` and `value` are a further filter that is typed."""

    by = forms.ChoiceField(
        label="Break down by", choices=[(by, by) for by in BreakdownBy], initial=BreakdownBy.PROPERTY
    )
    path = forms.CharField(
        label="Property or trait", widget=forms.TextInput({"list": "paths", "placeholder": "e.g. address.city"})
    )
    only = forms.ChoiceField(label="Filter by", choices=[("", "nothing more"), *((by, by) for by in BreakdownBy)])
    trait = forms.CharField(
        label="Name", widget=forms.TextInput({"placeholder": "of a trait or property", "list": "paths"})
    )
    value = forms.CharField(
        label="Value", strip=False, widget=forms.TextInput({"list": "values", "placeholder": "for a goal: ID or name"})
    )


@dataclass(frozen=True, slots=True)
class ShownPart:
    """A row of the breakdown."""

    name: str
    part: BreakdownPart
    share: float | None  # of the conversions, a number from 0 to 1
    rate: ShownRate
    link: str  # query string with it as a further filter, empty if no filter does

    @property
    def percent(self) -> str:
        """The length of its bar."""
        return f"{100 * (self.share or 0):.2f}"


@dataclass(frozen=True, slots=True)
class ShownBreakdown:
    """A breakdown as its page shows it."""

    seen: BreakdownView
    parts: list[ShownPart]
    rates: str  # of whom the rates are, empty without rates
    has_rates: bool


@site_page()
def break_down(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Show a goal's conversions of some days by what they carried, or by who converted.

    Without a choice of rows they are the values of the most useful property, or the sources if there is no property.
    """
    goal = find_goal(site, goal_id)
    span = read_range(request, site, now=timezone.now())
    asked = split_choices(request.GET)
    query = BreakdownForm(asked)
    by, path = BreakdownBy(query.values["by"]), query.values["path"]
    filters = find_filters(site, goal, asked)
    trouble, unknown = span.trouble or filters.trouble, filters.unknown
    properties = [] if trouble else load_property_use(goal, begin=span.begin, end=span.end)
    if by == BreakdownBy.PROPERTY and not path and not trouble:
        filtered = {each.name for each in filters.only if each.by == BreakdownBy.PROPERTY}
        useful = next((each.path for each in properties if each.path not in filtered), "")
        by, path = (by, useful) if useful else (BreakdownBy.SOURCE, "")
    breakdown = None
    if not trouble and unknown is None and (path or by not in NAMED):
        breakdown = show_parts(site, goal, by, path, span, only=filters.only, asked=asked)
        unknown = breakdown.seen.unknown
    near = list[tuple[str, str]]()
    if not trouble and unknown is not None:
        trouble, near = describe_unknown(unknown), link_near(site, unknown, asked)
    return show(
        request,
        "pages/goals/breakdown.html",
        title=str(show_goal_name(goal, template=site.goal_name_template)),
        tab="breakdown",
        goal=goal,
        span=span,
        control=make_control(span, asked),
        query=BreakdownForm({"by": by.value, "path": path}),
        by=by,
        path=path,
        rows_picker=load_rows_picker(site, properties, by, path),
        only_picker=load_only_picker(site, filters.only),
        is_of_people=by not in OF_CONVERSIONS,
        filters=filters.shown,
        may_add_filter=len(filters.shown) < MOST_FILTERS,
        kept=asked.getlist("only"),
        everyone=_link(asked, [], by=by, path=path),
        trouble=trouble,
        near=near,
        breakdown=breakdown,
    )


def link_near(site: Site, unknown: UnknownName, asked: QueryDict) -> list[tuple[str, str]]:
    """Return names that are like the unknown one, each with the query string that asks for it."""
    links = []
    for near in unknown.near:
        query = asked.copy()
        if unknown.is_of_filter:
            query.setlist("only", [_correct(each, unknown, near) for each in asked.getlist("only")])
        else:
            query["path"] = near
        is_goal = unknown.by == BreakdownBy.GOAL
        shown = str(show_name(near, template=site.goal_name_template)) if is_goal else near
        links.append((shown, query.urlencode()))
    return links


def _correct(text: str, unknown: UnknownName, near: str) -> str:
    """Return a filter with another name or value in place of the unknown one. Pure."""
    only = read_only(text)
    if (
        only is None
        or only.by != unknown.by
        or unknown.value not in {"", only.value}
        or unknown.name not in {"", only.name}
    ):
        return text
    return write_only(replace(only, name=near) if unknown.name else replace(only, value=near))


def show_parts(
    site: Site, goal: Goal, by: BreakdownBy, path: str, span: Range, *, only: Sequence[PartFilter], asked: QueryDict
) -> ShownBreakdown:
    """Return the parts of a goal's conversions in a period, each with its name, and their rates.

    The base of rates is all visitors of the range. Of people who have something in common there are none: the visitors
    seen who have it are not counted.
    """
    seen = breakdowns.break_down(site, goal, by, name=path, only=only, begin=span.begin, end=span.end)
    breakdown = seen.breakdown
    names: dict[str, str] = {}
    if by == BreakdownBy.SOURCE:
        names = {str(pk): name for pk, name in name_sources(site).items()}
    elif by == BreakdownBy.GOAL:
        ids = [part.value for part in breakdown.parts if part.value]
        others = Goal.objects.filter(site=site, pk__in=ids)
        names = {str(other.pk): str(show_goal_name(other, template=site.goal_name_template)) for other in others}
    parts = [("(none)" if part.value is None else names.get(part.value, part.value), part) for part in breakdown.parts]
    if breakdown.other is not None:
        parts.append((count_of(breakdown.values - len(breakdown.parts), "other"), breakdown.other))
    has_rates = by in OF_CONVERSIONS and not only
    # A rate of the newest conversions over the visitors of the whole range would say nothing.
    base = load_base(site, span) if has_rates and not seen.is_cut else None
    rows = [
        ShownPart(
            name,
            part,
            part.conversions / seen.conversions if seen.conversions else None,
            base.show(goal, part.visitors) if base else NO_RATE,
            _link(asked, [*only, PartFilter(by, part.value, path)])
            if part.value is not None and len(only) < MOST_FILTERS
            else "",
        )
        for name, part in parts
    ]
    return ShownBreakdown(seen, rows, base.sentence if base else "", has_rates)


def _link(asked: QueryDict, only: Sequence[PartFilter], *, by: BreakdownBy | None = None, path: str = "") -> str:
    """Return the query string with these filters. Without `by`, the page opens with the most useful property."""
    link = asked.copy()
    for name in OF_BREAKDOWN:
        link.pop(name, None)
    link.update({name: value for name, value in {"by": by or "", "path": path}.items() if value})
    if only:
        link.setlist("only", list(dict.fromkeys(write_only(each) for each in only)))
    return link.urlencode()
