"""The list of a site's goals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.utils import timezone

from api.models import Rule, Site
from api.pages.access import show, site_page
from api.pages.goals.list_query import GoalListQuery, link_sorts, list_sorts, with_place, without_place
from api.pages.query_form import read_id
from api.rules.identifiers import suggest_pattern
from goals.list_order import find_goals, load_currencies
from goals.models import Goal, Tag
from goals.naming import parse_goal_name
from goals.reports.summaries import GoalSummary, summarise_goals

PER_PAGE: Final = 50
MOST_TAGS: Final = 100  # in the side panel
TAG_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class GoalRow:
    """A goal in the list with its figures."""

    goal: Goal
    headline: GoalSummary
    pattern: str  # of its event's name, if that contains an ID

    @property
    def line_label(self) -> str:
        """The sparkline in words."""
        line = self.headline.line
        return f"{sum(line):,} in 30 days, {max(line):,} on the best day, {line[-1]:,} today"


@site_page()
def list_goals(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show a page of the list: `?tag=segment.io` and so on (promise K-09)."""
    now = timezone.now()
    query = GoalListQuery(request.GET, template=site.goal_name_template, now=now)
    order, currencies = query.order, load_currencies([site.pk])
    if order.key == "revenue" and not order.currency:
        order = replace(order, currency=next(iter(currencies), ""))
    found = find_goals([site.pk], query.filter, now=now, order=order, after=query.place, limit=PER_PAGE, with_=["tags"])
    largest = find_tags(site, query.filter.is_archived)
    listed = {tag.name for tag in largest}
    return show(
        request,
        "pages/goals/list.html",
        title="Goals",
        query=query,
        order=order,
        rows=make_rows(site, found.goals, now=now),
        count=found.total,
        first=without_place(request.GET).urlencode() if query.place else "",
        later=with_place(request.GET, found.next) if found.next else "",
        tags=[
            *sorted(largest, key=lambda tag: (tag.sort_key, tag.name)),
            *(Tag(name=name) for name in query.filter.tags if name not in listed),
        ],
        sorts=list_sorts(order, currencies),
        links=link_sorts(request.GET, order, currencies),
        query_string=request.GET.urlencode(),
    )


def find_tags(site: Site, is_archived: bool | None) -> list[Any]:  # noqa: FBT001 - as of GoalFilter
    """Return the tags that most goals of a list have, each with the `size` of the list of its goals. One query."""
    listed = Q(goals__isnull=False, goals__deleted_at=None, goals__counts_for=None)
    if is_archived is not None:
        listed &= Q(goals__archived_at__isnull=not is_archived)
    tags = Tag.objects.filter(site=site).annotate(size=Count("goals", filter=listed))
    return list(tags.filter(size__gt=0).order_by("-size", "sort_key", "name")[:MOST_TAGS])


def make_rows(site: Site, goals: Sequence[Goal], *, now: datetime) -> list[GoalRow]:
    """Return goals with their figures."""
    headlines = summarise_goals(site.pk, goals, now=now)
    patterns = find_patterns(site, goals)
    return [GoalRow(goal, headlines[goal.pk], patterns.get(goal.pk, "")) for goal in goals]


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
