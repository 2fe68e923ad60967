"""The list of a site's goals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from django.db.models import Count, Exists, Q, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.utils import timezone

from api.models import Rule, Site
from api.pages.access import show, site_page
from api.pages.change import FigureChange, compare
from api.pages.goals.list_query import (
    DEFAULT_COLUMNS,
    DEFAULT_ORDER,
    MONEY,
    OF_SUMMARY,
    GoalListQuery,
    link_sorts,
    list_sorts,
    with_place,
    without_place,
    write_order,
)
from api.pages.query_form import read_id
from api.pages.ranges import Preset, Range, make_control, read_range
from api.pages.rates import BaseOfRange, ShownRate, load_base
from api.rules.identifiers import suggest_pattern
from goals.day_zones import select_goals_to_recount
from goals.list_order import GoalOrder, find_goals, load_currencies
from goals.models import Goal, Tag
from goals.naming import parse_goal_name
from goals.reports.figures import GoalFigures
from goals.reports.periods import load_periods, load_visitors
from goals.reports.site_periods import MOST_READ
from goals.reports.summaries import GoalSummary, summarise_goals

PER_PAGE: Final = 50
MOST_TAGS: Final = 100  # in the menu
TAG_LENGTH: Final = 100
NO_FIGURES: Final = GoalFigures()
DEFAULTS: Final = {"status": ["active"], "sort": [write_order(DEFAULT_ORDER)], "col": list(DEFAULT_COLUMNS)}
ACTIONS: Final = (
    ("tag", "Add tag"),
    ("untag", "Remove tag"),
    ("archive", "Archive"),
    ("restore", "Restore"),
    ("merge", "Merge"),
    ("delete", "Delete"),
)


@dataclass(frozen=True, slots=True)
class GoalRow:
    """A goal in the list with its figures of the range."""

    goal: Goal
    figures: GoalFigures  # without visitors
    visitors: int | None  # None unless the column shows them and their conversions are few enough to be read
    rate: ShownRate | None  # None unless the column shows it
    change: FigureChange | None  # of the conversions to those of the compared period
    headline: GoalSummary | None  # None unless a column needs it
    pattern: str  # of its event's name, if that contains an ID
    tags: Sequence[Tag] = ()  # without the automatic one, unless the list is filtered by a tag

    @property
    def line_label(self) -> str:
        """The sparkline in words."""
        line = self.headline.line if self.headline else (0,)
        return f"{sum(line):,} in 30 days, {max(line):,} on the best day, {line[-1]:,} today"


class Facets(NamedTuple):
    """The tags of a list to choose from, and facts about all goals of its site."""

    tags: Sequence[Any]  # with the `size` of the list of their goals
    has_types: bool  # the site has goals of several types
    goals_to_recount: int  # in another zone


@site_page()
def list_goals(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show a page of the list: `?tag=segment.io` and so on (promise K-09)."""
    now = timezone.now()
    query = GoalListQuery(request.GET, template=site.goal_name_template, now=now)
    span = read_range(request, site, now=now)
    currencies = find_currencies(site, query.order)
    order = order_in(query.order, span, currencies)
    found = find_goals([site.pk], query.filter, now=now, order=order, after=query.place, limit=PER_PAGE, with_=["tags"])
    facets = find_facets(site, query.filter.is_archived)
    listed = {tag.name for tag in facets.tags}
    rows, base = ([], None) if span.trouble else make_rows(site, found.goals, span, query)
    response = show(
        request,
        "pages/goals/list.html",
        title="Goals",
        query=query,
        order=order,
        control=make_control(span, without_place(request.GET)),
        trouble=span.trouble,
        rows=rows,
        rates=base.sentence if base and rows else "",
        count=found.total,
        first=without_place(request.GET).urlencode() if query.place else "",
        later=with_place(request.GET, found.next) if found.next and not span.trouble else "",
        tags=[
            *(Tag(name=name) for name in query.filter.tags if name not in listed),
            *sorted(facets.tags, key=lambda tag: (tag.name not in query.filter.tags, tag.sort_key, tag.name)),
        ],
        has_types=facets.has_types or bool(query.filter.type),
        goals_to_recount=facets.goals_to_recount,
        sorts=list_sorts(order, currencies),
        links=link_sorts(request.GET, order, currencies),
        kept=[(name, value) for name, value in span.parts.items() if name in request.GET],
        query_string=without_place(request.GET).urlencode(),
        actions=ACTIONS,
        action=request.GET.get("action", ""),
    )
    if request.headers.get("HX-Request"):  # the form sends its empty fields, too
        response["HX-Replace-Url"] = f"?{write_short(request.GET)}"
    return response


def find_currencies(site: Site, order: GoalOrder) -> list[str]:
    """Return the currencies to order by: that of the order, the site's, then by the number of goals. At most one query.

    An order that has none needs none, and gets the empty one.
    """
    if order.key not in MONEY:
        return [""]
    known = load_currencies([site.pk])
    first = [order.currency] if order.currency else [name for name in known if name == site.default_currency]
    return list(dict.fromkeys([*first, *known])) or [site.default_currency]


def order_in(order: GoalOrder, span: Range, currencies: Sequence[str]) -> GoalOrder:
    """Return the order with the range whose figures it ranks, and with the first of these currencies."""
    currency = currencies[0]
    since = span.begin if span.preset == Preset.HOURS else None
    return replace(order, currency=currency, period=(span.first, span.last), since=since)


def write_short(query: QueryDict) -> str:
    """Return the query string without what is empty or as it is without it."""
    short = QueryDict(mutable=True)
    for name, values in query.lists():
        if values != DEFAULTS.get(name):
            short.setlist(name, [value for value in values if value])
    return short.urlencode()


def find_facets(site: Site, is_archived: bool | None) -> Facets:  # noqa: FBT001 - as of GoalFilter
    """Return the tags that most goals of a list have, and facts about all goals. One query, three without any tag."""
    listed = Q(goals__isnull=False, goals__deleted_at=None, goals__counts_for=None)
    if is_archived is not None:
        listed &= Q(goals__archived_at__isnull=not is_archived)
    others = Goal.objects.filter(site=site, deleted_at=None, counts_for=None).exclude(type=Goal.Type.CUSTOM)
    recounted = select_goals_to_recount(site.pk, site.time_zone)
    tags = Tag.objects.filter(site=site).annotate(
        size=Count("goals", filter=listed),
        has_types=Exists(others),
        to_recount=Coalesce(Subquery(recounted.values("site").annotate(goals=Count("pk")).values("goals")), 0),
    )
    found: list[Any] = list(tags.filter(size__gt=0).order_by("-size", "sort_key", "name")[:MOST_TAGS])
    if not found:
        return Facets(found, has_types=others.exists(), goals_to_recount=recounted.count())
    return Facets(found, has_types=found[0].has_types, goals_to_recount=found[0].to_recount)


def make_rows(
    site: Site, goals: Sequence[Goal], span: Range, query: GoalListQuery
) -> tuple[list[GoalRow], BaseOfRange | None]:
    """Return goals with their figures, and the base of their rates if a column shows these.

    Three queries, three more for columns of all time, and up to three for rates.
    """
    columns = query.columns
    periods = span.periods if "change" in columns else span.periods[:1]
    figures, *others = load_periods(site.pk, goals, periods, counts_visits=False)
    before = others[0] if others else {}
    visitors: Mapping[int, int] = {}
    if columns & {"visitors", "rate"}:
        begin, end = periods[0]
        visitors = load_visitors(site.pk, goals, figures, begin=begin, end=end, most_read=MOST_READ)
    headlines: Mapping[int, GoalSummary] = {}
    if columns & OF_SUMMARY:
        headlines = summarise_goals(site.pk, goals, now=query.now)
    patterns = find_patterns(site, goals)
    # After the visitors: a conversion that is committed in between must not make a rate of more than 100 %.
    base = load_base(site, span) if goals and "rate" in columns else None
    rows = [
        GoalRow(
            goal,
            figures.get(goal.pk, NO_FIGURES),
            visitors.get(goal.pk),
            base.show(goal, visitors.get(goal.pk)) if base else None,
            compare(figures[goal.pk].conversions, before[goal.pk].conversions) if goal.pk in before else None,
            headlines.get(goal.pk),
            patterns.get(goal.pk, ""),
            [tag for tag in goal.tags.all() if query.filter.tags or tag.name != site.auto_tag],
        )
        for goal in goals
    ]
    return rows, base


def find_patterns(site: Site, goals: Sequence[Goal]) -> dict[int, str]:
    """Return the patterns of names with IDs by goal, unless a rule of the site groups them. At most one query."""
    patterns = {goal.pk: pattern for goal in goals if (pattern := suggest_pattern_of(site, goal))}
    if not patterns:
        return {}
    rules = site.rules.filter(source=None, is_enabled=True, action=Rule.Action.PATTERN_GOAL)
    grouped = set(rules.filter(argument__in=patterns.values()).values_list("argument", flat=True))
    return {pk: pattern for pk, pattern in patterns.items() if pattern not in grouped}


def suggest_pattern_of(site: Site, goal: Goal) -> str:
    """Return the pattern of a goal's events, such as `Viewed order {n}`; empty without an ID in the name."""
    events = parse_goal_name(goal.name, template=site.goal_name_template) if goal.is_named_by_event else ()
    return (suggest_pattern(events[0][1]) or "") if events else ""


def query_of_list(request: HttpRequest) -> QueryDict:
    """Return the query string of the list from which a form was sent."""
    return QueryDict(request.POST.get("query", "").replace("%00", "%EF%BF%BD"))  # as api.http.middleware does


def read_ids(texts: Sequence[str]) -> list[int]:
    """Return the ids of goals that a form or a query string names, a page of them at most."""
    return [id_ for text in texts[:PER_PAGE] if (id_ := read_id(text)) is not None]
