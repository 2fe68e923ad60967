"""The goals of a site: the list, what is done to several at once, and the same as CSV."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api import audit
from api.models import Rule, Site
from api.pages.access import Role, show, site_page
from api.rules.identifiers import suggest_pattern
from api.templatetags.figures import when
from goals import catalogue, reports
from goals.finding import ORDERINGS, GoalFilter, find_goals, live_goals
from goals.models import Goal, Tag
from goals.naming import events_named
from goals.reports import Headline

PER_PAGE: Final = 50
MOST_TAGS: Final = 100  # in the side panel
EXPORT_CHUNK: Final = 500
TAG_LENGTH: Final = 100
ID_DIGITS: Final = 18
PAGE_DIGITS: Final = 5
SPANS: Final = ("24 h", "30 days", "all")
LAST_HEADS: Final = ("converting visitors", "revenue", "last conversion, UTC")
STATUSES: Final = (("active", "Active"), ("archived", "Archived"), ("all", "All"))
MAKERS: Final = (("", "Any way"), ("events", "Made by events"), ("hand", "Made by hand"))
SORTS: Final = (
    ("name", "Name"),
    ("-lastConversion", "Last conversion, newest first"),
    ("lastConversion", "Last conversion, oldest first"),
    ("-created", "Newest goals"),
    ("created", "Oldest goals"),
    ("-name", "Name, backwards"),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the address of a list asks for."""

    filter: GoalFilter
    status: str
    made: str
    sort: str
    page: int

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the archived goals is left out."""
        return bool(self.filter.tags or self.filter.search or self.made)


@dataclass(frozen=True, slots=True)
class Row:
    goal: Goal
    headline: Headline
    line: Sequence[int]
    pattern: str  # of its event's name, when that seems to hold an identifier

    @property
    def line_label(self) -> str:
        """The sparkline in words."""
        return f"{sum(self.line):,} in 30 days, {max(self.line, default=0):,} on the best day, {self.line[-1]:,} today"


@site_page()
def list_goals(request: HttpRequest, site: Site) -> HttpResponseBase:
    """A page of the list: `?tag=segment.io` and so on (promises K-09)."""
    wish = read_wish(request.GET)
    goals = found_by(site, wish)
    start = (wish.page - 1) * PER_PAGE
    shown = list(goals[start : start + PER_PAGE + 1])
    tags = Tag.objects.filter(site=site).annotate(size=Count("goals", filter=Q(goals__deleted_at=None)))
    largest = list(tags.order_by("-size", "name")[:MOST_TAGS])
    listed = {tag.name for tag in largest}
    now = timezone.now()
    return show(
        request,
        "pages/goals/list.html",
        title="Goals",
        wish=wish,
        rows=rows_of(site, shown[:PER_PAGE], now=now),
        # Only a page that does not show all of them counts.
        count=len(shown) if wish.page == 1 and len(shown) <= PER_PAGE else goals.count(),
        earlier=address(request.GET, page=wish.page - 1) if wish.page > 1 else "",
        later=address(request.GET, page=wish.page + 1) if len(shown) > PER_PAGE else "",
        tags=[
            *sorted(largest, key=lambda tag: tag.name),
            *(Tag(name=name) for name in wish.filter.tags if name not in listed),
        ],
        statuses=STATUSES,
        makers=MAKERS,
        sorts=SORTS,
        query=request.GET.urlencode(),
    )


def read_wish(asked: QueryDict) -> Wish:
    """What an address asks for; what it says wrongly counts as not said."""
    status = _one_of(STATUSES, asked.get("status"))
    made = _one_of(MAKERS, asked.get("made"))
    sort = asked.get("sort", "")
    page = asked.get("page", "")
    wanted = GoalFilter(
        tags=[name for name in dict.fromkeys(asked.getlist("tag")) if name],
        needs_every_tag=asked.get("match") == "all",
        is_archived={"active": False, "archived": True}.get(status),
        is_made_by_event={"events": True, "hand": False}.get(made),
        search=asked.get("q", ""),
    )
    return Wish(
        wanted,
        status,
        made,
        sort if sort.removeprefix("-") in ORDERINGS else "name",
        int(page) if page.isascii() and page.isdigit() and len(page) <= PAGE_DIGITS and int(page) else 1,
    )


def found_by(site: Site, wish: Wish) -> QuerySet[Goal]:
    """The goals that are asked for, with their tags."""
    return find_goals([site.pk], wish.filter, ordering=wish.sort).prefetch_related(None).prefetch_related("tags")


def rows_of(site: Site, goals: Sequence[Goal], *, now: datetime) -> list[Row]:
    """Goals with their figures."""
    headlines = reports.headlines(goals, now=now)
    lines = reports.sparklines(goals, now=now)
    patterns = patterns_of(site, goals)
    return [Row(goal, headlines[goal.pk], lines[goal.pk], patterns.get(goal.pk, "")) for goal in goals]


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
    """As CSV: the goals that were picked, else all of a list, with the figures of this moment."""
    asked = QueryDict(request.POST.get("query", "")) if request.method == "POST" else request.GET
    picked = ids_in(request.POST.getlist("goal"))
    goals = found_by(site, read_wish(asked)).filter(pk__in=picked) if picked else found_by(site, read_wish(asked))
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="goals-{site.sitecode}.csv"'
    writer = csv.writer(answer)
    figures = [f"{figure}, {span}" for figure in ("conversions", "converting visits") for span in SPANS]
    writer.writerow(["id", "name", "status", "made by", "tags", *figures, *LAST_HEADS])
    found = list(goals)
    for start in range(0, len(found), EXPORT_CHUNK):
        batch = found[start : start + EXPORT_CHUNK]
        headlines = reports.headlines(batch, now=timezone.now())
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
    action, tag = request.POST.get("action", ""), request.POST.get("tag_name", "")
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
    return redirect(
        f"{reverse('pages:goals', args=[site.sitecode])}?{QueryDict(request.POST.get('query', '')).urlencode()}"
    )


def ids_in(texts: Sequence[str]) -> list[int]:
    """The ids of goals that a form or an address names; a page of them at most."""
    return [int(each) for each in texts[:PER_PAGE] if each.isascii() and each.isdigit() and len(each) <= ID_DIGITS]


def _tag(goal: Goal, name: str) -> None:
    catalogue.set_tags(goal, [*(tag.name for tag in goal.tags.all()), name])


def _untag(goal: Goal, name: str) -> None:
    catalogue.set_tags(goal, [tag.name for tag in goal.tags.all() if tag.name != name])


CHANGES: Final[Mapping[str, Callable[[Goal, str], object]]] = {
    "tag": _tag,
    "untag": _untag,
    "archive": lambda goal, _: catalogue.archive_goal(goal, now=timezone.now()),
    "restore": lambda goal, _: catalogue.restore_goal(goal),
}
DONE: Final = {"tag": "Tagged", "untag": "Untagged", "archive": "Archived", "restore": "Restored"}
NEED_TAG: Final = frozenset({"tag", "untag"})


def address(asked: QueryDict, **changes: object) -> str:
    """The query of this page with something changed."""
    query = asked.copy()
    for name, value in changes.items():
        query[name] = str(value)
    return query.urlencode()


def _one_of(choices: Sequence[tuple[str, str]], asked: str | None) -> str:
    return asked if asked in dict(choices) else choices[0][0]


def _no_formula(text: str) -> str:
    """A stranger's text as a spreadsheet shows it: one that begins like a formula is not to be run."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
