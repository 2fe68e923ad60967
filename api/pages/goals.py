"""The goals of a site: the list, what is done to several at once, and the same as CSV."""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api import audit
from api.models import Rule, Site
from api.pages.access import Role, show, site_page
from api.pages.goal_wishes import (
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
from api.templatetags.figures import when
from goals import catalogue, reports
from goals.finding import live_goals
from goals.models import Goal, Tag
from goals.naming import events_named
from goals.ordering import find_goals, ids_in_order
from goals.reports import Headline

PER_PAGE: Final = 50
MOST_TAGS: Final = 100  # in the side panel
EXPORT_CHUNK: Final = 500
TAG_LENGTH: Final = 100
# As spreadsheets read it: after white space too, and in the full width that Japanese keyboards have.
FORMULA: Final = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")
SPANS: Final = ("24 h", "30 days", "all")
LAST_HEADS: Final = ("converting visitors", "revenue", "last conversion, UTC")


@dataclass(frozen=True, slots=True)
class Row:
    goal: Goal
    headline: Headline
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
    tags = Tag.objects.filter(site=site).annotate(size=Count("goals", filter=Q(goals__deleted_at=None)))
    tags = tags.filter(size__gt=0)  # of a tag that no goal has, the page of tags tells
    largest = list(tags.order_by("-size", "name")[:MOST_TAGS])
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
            *sorted(largest, key=lambda tag: tag.name),
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


def rows_of(site: Site, goals: Sequence[Goal], *, now: datetime) -> list[Row]:
    """Goals with their figures."""
    headlines = reports.headlines(goals, now=now)
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
    events = events_named(goal.name, template=site.goal_name_template) if goal.is_named_by_event else ()
    return (suggest_pattern(events[0][1]) or "") if events else ""


@site_page()
def export_goals(request: HttpRequest, site: Site) -> HttpResponseBase:
    """As CSV: the goals that were picked, else all of a list, in its order, with the figures of this moment."""
    asked = address_of_list(request) if request.method == "POST" else request.GET
    now = timezone.now()
    wish = read_wish(asked, now=now)
    wanted = ids_in_order([site.pk], wish.filter, now=now, order=wish.order)
    if picked := set(ids_in(request.POST.getlist("goal"))):
        wanted = [id_ for id_ in wanted if id_ in picked]
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="goals-{site.sitecode}.csv"'
    writer = csv.writer(answer)
    figures = [f"{figure}, {span}" for figure in ("conversions", "converting visits") for span in SPANS]
    writer.writerow(["id", "name", "status", "made by", "tags", *figures, *LAST_HEADS])
    for start in range(0, len(wanted), EXPORT_CHUNK):
        ids = wanted[start : start + EXPORT_CHUNK]
        goals = live_goals([site.pk]).in_bulk(ids)
        batch = [goals[id_] for id_ in ids if id_ in goals]
        headlines = reports.headlines(batch, now=now)
        writer.writerows(cells_of(goal, headlines[goal.pk]) for goal in batch)
    return answer


def cells_of(goal: Goal, headline: Headline) -> list[Any]:
    """A goal's line of a CSV file."""
    spans = (headline.last_24_hours, headline.last_30_days, headline.ever)
    texts = [
        goal.name,
        "archived" if goal.archived_at else "active",
        goal.origin,
        ", ".join(tag.name for tag in goal.tags.all()),
    ]
    return [
        goal.pk,
        *(_no_formula(text) for text in texts),
        *(each.conversions for each in spans),
        *(each.visits for each in spans),
        headline.ever.visitors,
        ", ".join(f"{total} {currency}" for currency, total in headline.ever.revenue.items()),
        when(headline.last_conversion_at),
    ]


@site_page(Role.EDITOR)
@require_POST
def change_goals(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Tag, untag, archive or restore the goals that were picked."""
    goals = list(
        live_goals([site.pk]).filter(pk__in=ids_in(request.POST.getlist("goal"))).prefetch_related(None).order_by("pk")
    )
    action, tag = request.POST.get("action", ""), catalogue.clean_tag(request.POST.get("tag_name", ""))
    if action == "merge" and goals:
        query = urlencode([("goal", goal.pk) for goal in goals])
        return redirect(f"{reverse('pages:goals-merge', args=[site.sitecode])}?{query}")
    change = CHANGES.get(action)
    if change is None:
        messages.error(request, "Choose what to do.")
    elif not goals:
        messages.error(request, "Pick the goals first: tick them in the list.")
    elif action in NEED_TAG and not 0 < len(tag) <= TAG_LENGTH:
        messages.error(request, f"Give a tag of 1 to {TAG_LENGTH} characters.")
    else:
        with transaction.atomic():
            for goal in goals:
                change(goal, tag)
            after = {"goals": [goal.pk for goal in goals], **({"tag": tag} if action in NEED_TAG else {})}
            audit.note(request, site, f"{DONE[action]} goals", None, after)
        what = f"{DONE[action]} {len(goals)} {'goal' if len(goals) == 1 else 'goals'}"
        messages.success(request, f"{what}: {tag}" if action in NEED_TAG else f"{what}.")
    if request.POST.get("back") == "twins":
        return redirect("pages:goals-twins", site.sitecode)
    return redirect(f"{reverse('pages:goals', args=[site.sitecode])}?{address_of_list(request).urlencode()}")


def address_of_list(request: HttpRequest) -> QueryDict:
    """What the address of the list that a form was on asks for."""
    return QueryDict(request.POST.get("query", "").replace("%00", "%EF%BF%BD"))  # as api.middleware does


def ids_in(texts: Sequence[str]) -> list[int]:
    """The ids of goals that a form or an address names; a page of them at most."""
    return [int(each) for each in texts[:PER_PAGE] if each.isascii() and each.isdigit() and len(each) <= ID_DIGITS]


def _tag(goal: Goal, name: str) -> None:
    catalogue.set_tags(goal, [*(tag.name for tag in goal.tags.all()), name])


def _untag(goal: Goal, name: str) -> None:
    catalogue.set_tags(goal, [tag.name for tag in goal.tags.all() if catalogue.clean_tag(tag.name) != name])


CHANGES: Final[Mapping[str, Callable[[Goal, str], object]]] = {
    "tag": _tag,
    "untag": _untag,
    "archive": lambda goal, _: catalogue.archive_goal(goal, now=timezone.now()),
    "restore": lambda goal, _: catalogue.restore_goal(goal),
}
DONE: Final = {"tag": "Tagged", "untag": "Untagged", "archive": "Archived", "restore": "Restored"}
NEED_TAG: Final = frozenset({"tag", "untag"})


def _no_formula(text: str) -> str:
    """A stranger's text as a spreadsheet shows it: one that begins like a formula is not to be run."""
    return f"'{text}" if FORMULA.match(text) else text
