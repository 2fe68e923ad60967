"""The goals of a site: the list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.utils import timezone

from api.models import Rule, Site
from api.pages.access import show, site_page
from api.pages.goals.list_query import (
    ID_DIGITS,
    MAKERS,
    SEEN,
    STATUSES,
    TYPES,
    heads_of,
    read_wish,
    sorts_of,
    with_place,
    without_place,
)
from api.rules.identifiers import suggest_pattern
from goals import reports
from goals.list_order import find_goals
from goals.models import Goal, Tag
from goals.naming import parse_goal_name
from goals.reports import GoalSummary

PER_PAGE: Final = 50
MOST_TAGS: Final = 100  # in the side panel
TAG_LENGTH: Final = 100


@dataclass(frozen=True, slots=True)
class Row:
    goal: Goal
    headline: GoalSummary
    pattern: str  # of its event's name, when that seems to hold an identifier

    @property
    def line_label(self) -> str:
        """The sparkline in words."""
        line = self.headline.line
        return f"{sum(line):,} in 30 days, {max(line):,} on the best day, {line[-1]:,} today"


@site_page()
def list_goals(request: HttpRequest, site: Site) -> HttpResponseBase:
    """A page of the list: `?tag=segment.io` and so on (promises K-09)."""
    now = timezone.now()
    wish = read_wish(request.GET, now=now)
    found = find_goals(
        [site.pk], wish.filter, now=now, order=wish.order, after=wish.after, limit=PER_PAGE, with_=["tags"]
    )
    order = wish.order
    if order.key == "revenue" and not order.currency:
        order = replace(order, currency=next(iter(found.currencies), ""))
    largest = tags_beside(site, wish.filter.is_archived)
    listed = {tag.name for tag in largest}
    return show(
        request,
        "pages/goals/list.html",
        title="Goals",
        wish=wish,
        order=order,
        rows=rows_of(site, found.goals, now=now),
        count=found.total,
        first=without_place(request.GET).urlencode() if wish.after else "",
        later=with_place(request.GET, found.next) if found.next else "",
        tags=[
            *sorted(largest, key=lambda tag: (tag.sort_key, tag.name)),
            *(Tag(name=name) for name in wish.filter.tags if name not in listed),
        ],
        statuses=STATUSES,
        makers=MAKERS,
        types=TYPES,
        seen=SEEN,
        sorts=sorts_of(order, found.currencies),
        heads=heads_of(request.GET, order, found.currencies),
        query=request.GET.urlencode(),
    )


def tags_beside(site: Site, is_archived: bool | None) -> list[Any]:  # noqa: FBT001 - as of GoalFilter
    """The tags that most goals of a list have, each with the `size` of the list that it leads to. One query."""
    listed = Q(goals__isnull=False, goals__deleted_at=None, goals__counts_for=None)
    if is_archived is not None:
        listed &= Q(goals__archived_at__isnull=not is_archived)
    tags = Tag.objects.filter(site=site).annotate(size=Count("goals", filter=listed))
    return list(tags.filter(size__gt=0).order_by("-size", "sort_key", "name")[:MOST_TAGS])


def rows_of(site: Site, goals: Sequence[Goal], *, now: datetime) -> list[Row]:
    """Goals with their figures."""
    headlines = reports.summarise_goals(goals, now=now)
    patterns = patterns_of(site, goals)
    return [Row(goal, headlines[goal.pk], patterns.get(goal.pk, "")) for goal in goals]


def patterns_of(site: Site, goals: Sequence[Goal]) -> dict[int, str]:
    """Of goals whose names seem to hold an identifier, by id: the pattern, unless a rule of the site groups such names
    already. At most one query.
    """
    found = {goal.pk: pattern for goal in goals if (pattern := pattern_of(site, goal))}
    if found:
        rules = site.rules.filter(source=None, is_enabled=True, action=Rule.Action.PATTERN_GOAL)
        grouped = set(rules.filter(argument__in=found.values()).values_list("argument", flat=True))
        found = {pk: pattern for pk, pattern in found.items() if pattern not in grouped}
    return found


def pattern_of(site: Site, goal: Goal) -> str:
    """The pattern of the events that make goals like this one, such as `Viewed order {n}`; empty without identifier."""
    events = parse_goal_name(goal.name, template=site.goal_name_template) if goal.is_named_by_event else ()
    return (suggest_pattern(events[0][1]) or "") if events else ""


def address_of_list(request: HttpRequest) -> QueryDict:
    """What the address of the list that a form was on asks for."""
    return QueryDict(request.POST.get("query", "").replace("%00", "%EF%BF%BD"))  # as api.http.middleware does


def ids_in(texts: Sequence[str]) -> list[int]:
    """The ids of goals that a form or an address names; a page of them at most."""
    return [int(each) for each in texts[:PER_PAGE] if each.isascii() and each.isdigit() and len(each) <= ID_DIGITS]
