"""Breakdown of a goal's conversions by what they carried, or by what is known of the visitors (promise K-87)."""

from dataclasses import dataclass
from typing import Final

from django import forms
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.utils import timezone

from api.http.wording import count_of
from api.insight import breakdowns
from api.insight.breakdowns import (
    FILTERS,
    NAMED,
    OF_CONVERSIONS,
    BreakdownBy,
    BreakdownView,
    UnknownName,
    VisitorFilter,
)
from api.models import Site
from api.pages.access import show, site_page
from api.pages.goals.breakdown_choices import load_only_picker, load_rows_picker, split_choices
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
    """`by` and `path` say what the rows are; `only`, `trait` and `value` filter the visitors."""

    by = forms.ChoiceField(
        label="Break down by", choices=[(by, by) for by in BreakdownBy], initial=BreakdownBy.PROPERTY
    )
    path = forms.CharField(
        label="Property or trait", widget=forms.TextInput({"list": "paths", "placeholder": "e.g. address.city"})
    )
    only = forms.ChoiceField(label="Filter visitors", choices=[("", "everyone"), *((by, by) for by in FILTERS)])
    trait = forms.CharField(label="Trait", widget=forms.TextInput({"placeholder": "if filtered by trait"}))
    value = forms.CharField(
        label="Value", strip=False, widget=forms.TextInput({"list": "values", "placeholder": "for a goal: ID or name"})
    )
    only_name = ""  # of the filter's value on pages, set by find_only

    def find_only(self, site: Site, goal: Goal) -> tuple[VisitorFilter | None, str, UnknownName | None]:
        """Return the filter if there is one, what it lacks, and what it names that does not exist.

        Three queries at most, for a goal.
        """
        by, value, trait = (self.values[name] for name in ("only", "value", "trait"))
        if not by:
            return None, "", None
        if not value or (by == BreakdownBy.TRAIT and not trait):
            return None, "Enter the value to filter visitors by, and for a trait its name too.", None
        self.only_name = value
        if by == BreakdownBy.GOAL:
            other = breakdowns.find_other(site, value.strip())
            if other is None or other == goal:
                return None, "", breakdowns.unknown_goal(site, goal, value)
            value = str(other.pk)
            self.only_name = str(show_goal_name(other, template=site.goal_name_template))
        return VisitorFilter(BreakdownBy(by), value, trait if by == BreakdownBy.TRAIT else ""), "", None


@dataclass(frozen=True, slots=True)
class ShownPart:
    """A row of the breakdown."""

    name: str
    part: BreakdownPart
    share: float | None  # of the conversions, a number from 0 to 1
    rate: ShownRate
    link: str  # query string that counts its visitors alone, empty if no filter does

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
    only, trouble, unknown = query.find_only(site, goal)
    trouble = span.trouble or trouble
    properties = [] if trouble else load_property_use(goal, begin=span.begin, end=span.end)
    if by == BreakdownBy.PROPERTY and not path and not trouble:
        by, path = (by, properties[0].path) if properties else (BreakdownBy.SOURCE, "")
    breakdown = None
    if not trouble and unknown is None and (path or by not in NAMED):
        breakdown = show_parts(site, goal, by, path, span, only=only, asked=asked)
        unknown = breakdown.seen.unknown
    near = list[tuple[str, str]]()
    if not trouble and unknown is not None:
        trouble, near = describe_unknown(unknown, only), link_near(site, unknown, asked)
    return show(
        request,
        "pages/goals/breakdown.html",
        title=str(show_goal_name(goal, template=site.goal_name_template)),
        tab="breakdown",
        goal=goal,
        span=span,
        control=make_control(span, asked),
        query=query,
        by=by,
        path=path,
        rows_picker=load_rows_picker(site, properties, by, path),
        only_picker=load_only_picker(site, only, query.only_name),
        is_of_people=by not in OF_CONVERSIONS,
        only=only,
        everyone=_link(asked, only=None, by=by, path=path),
        trouble=trouble,
        near=near,
        breakdown=breakdown,
    )


def describe_unknown(unknown: UnknownName, only: VisitorFilter | None) -> str:
    """Return a sentence on what a breakdown or its filter names in vain."""
    match unknown.by:
        case BreakdownBy.PERSONA | BreakdownBy.SEGMENT | BreakdownBy.GROUP:
            return f"This site has no {unknown.by} “{unknown.value}”."
        case BreakdownBy.GOAL:
            return f"No other goal has the ID or name “{unknown.value}”."
        case BreakdownBy.PROPERTY:
            return f"None of these conversions has a property “{unknown.name}”."
        case _ if unknown.name:
            return f"None of these visitors has a trait “{unknown.name}”."
        case _:
            return f"None of these visitors has “{unknown.value}” as {only.name if only else 'trait'}."


def link_near(site: Site, unknown: UnknownName, asked: QueryDict) -> list[tuple[str, str]]:
    """Return names that are like the unknown one, each with the query string that asks for it."""
    parameter = ("trait" if unknown.name else "value") if unknown.is_of_filter else "path"
    links = []
    for name in unknown.near:
        query = asked.copy()
        query[parameter] = name
        is_goal = unknown.by == BreakdownBy.GOAL
        shown = str(show_name(name, template=site.goal_name_template)) if is_goal else name
        links.append((shown, query.urlencode()))
    return links


def show_parts(
    site: Site, goal: Goal, by: BreakdownBy, path: str, span: Range, *, only: VisitorFilter | None, asked: QueryDict
) -> ShownBreakdown:
    """Return the parts of a goal's conversions in a period, each with its name. Twelve queries at most."""
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
    # A rate of the newest conversions over the visitors of the whole range would say nothing.
    base = None if seen.is_cut else load_base(site, span)
    rows = [
        ShownPart(
            name,
            part,
            part.conversions / seen.conversions if seen.conversions else None,
            base.show(goal, part.visitors) if base else NO_RATE,
            _link(asked, only=VisitorFilter(by, part.value, path if by == BreakdownBy.TRAIT else ""))
            if by in FILTERS and part.value is not None
            else "",
        )
        for name, part in parts
    ]
    return ShownBreakdown(seen, rows, base.sentence if base else "")


def _link(asked: QueryDict, *, only: VisitorFilter | None, by: BreakdownBy | None = None, path: str = "") -> str:
    """Return the query string with this filter. Without `by`, the page opens with the most useful property."""
    link = asked.copy()
    for name in OF_BREAKDOWN:
        link.pop(name, None)
    parts = {"by": by or "", "path": path}
    if only is not None:
        parts |= {"only": only.by, "trait": only.name, "value": only.value}
    link.update({name: value for name, value in parts.items() if value})
    return link.urlencode()
