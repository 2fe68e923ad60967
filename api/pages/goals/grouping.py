"""Names that hold identifiers, grouped under one goal by a rule: what that would do, before it is saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from django.contrib import messages
from django.db import transaction
from django.db.models import Max, Sum
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

from api import audit
from api.digest import goal_changes
from api.ingest.provisioning import note_rules_changed
from api.insight.breakdowns import find_other, unknown_goal
from api.models import Role, Rule, Site
from api.pages.access import show, site_page
from api.pages.goals.changes import AT_ONCE
from api.pages.goals.detail import find_goal
from api.pages.goals.goal_list import pattern_of
from api.pages.settings.rules import forecast_rule
from api.rules.identifiers import suggest_pattern
from goals import catalogue
from goals.matching import EventName
from goals.models import Goal, GoalTotal
from goals.naming import name_goal, parse_goal_name
from goals.similar_names import split_name

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST_OFFERED: Final = 10  # of the goals there are, those with most conversions


@dataclass(frozen=True, slots=True)
class Grouping:
    """The events that a rule would group, and the goals that they made."""

    pattern: str
    event_types: Sequence[str]
    name: str  # of the goal that the next of these events makes, or finds
    member_ids: Sequence[int]


@site_page(Role.EDITOR)
def group_names(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """GET: what grouping the events like this goal's would do. POST: do it, for the goal that was chosen."""
    goal = find_goal(site, goal_id)
    grouping = find_grouping(site, goal)
    if grouping is None:
        messages.error(request, "The name of this goal holds no identifier.")
        return redirect("pages:goal", site.sitecode, goal.pk)
    trouble, into = "", None
    if request.method == "POST":
        into, trouble = read_target(request, site, goal)
        if not trouble:
            return group(request, site, grouping, into, archives=request.POST.get("old") == "archive")
    totals = conversions_of(grouping.member_ids)
    largest = sorted(grouping.member_ids, key=lambda id_: (-totals.get(id_, 0), id_))[:MOST_OFFERED]
    offered = Goal.objects.in_bulk(largest)
    return show(
        request,
        "pages/goals/group.html",
        title="One goal for names with identifiers",
        goal=goal,
        grouping=grouping,
        existing=Goal.objects.filter(site=site, name=grouping.name, deleted_at=None).first(),
        offered=[(offered[id_], totals.get(id_, 0)) for id_ in largest if id_ in offered],
        size=len(grouping.member_ids),
        conversions=sum(totals.values()),
        forecast=forecast_rule(draft_rule(site, grouping)),
        trouble=trouble,
        chosen=request.POST.get("into", ""),
        other=request.POST.get("other", ""),
        old=request.POST.get("old", "archive"),
        status=400 if trouble else 200,
    )


def find_grouping(site: Site, goal: Goal) -> Grouping | None:
    """Return what would be grouped with a goal, None if its name holds no identifier. It reads all names."""
    pattern = pattern_of(site, goal)
    if not pattern:
        return None
    template = site.goal_name_template
    types = [event_type for event_type, _ in parse_goal_name(goal.name, template=template)]
    its_type, _ = split_name(goal.name, template=template)
    active = Goal.objects.filter(site=site, deleted_at=None, counts_for=None, archived_at=None, is_named_by_event=True)
    alike = []
    for id_, name in active.values_list("pk", "name"):
        event_type, event_name = split_name(name, template=template)
        if event_type == its_type and suggest_pattern(event_name) == pattern:
            alike.append(id_)
    return Grouping(pattern, types, name_goal(types[0], pattern, template=template), alike)


def conversions_of(goal_ids: Sequence[int]) -> dict[int, int]:
    """Return the conversions of each of these goals that has some. One query."""
    totals = GoalTotal.objects.filter(goal__in=goal_ids).values_list("goal_id").annotate(sum=Sum("conversions"))
    return dict(totals)


def draft_rule(site: Site, grouping: Grouping) -> Rule:
    """Return the rule, unsaved, behind the site's others."""
    last = site.rules.aggregate(last=Max("position"))["last"]
    return Rule(
        site=site,
        name=f"One goal for {grouping.pattern}"[:100],
        position=0 if last is None else last + 1,
        action=Rule.Action.PATTERN_GOAL,
        argument=grouping.pattern,
        event_type=grouping.event_types[0] if len(grouping.event_types) == 1 else "",
    )


def read_target(request: HttpRequest, site: Site, goal: Goal) -> tuple[Goal | None, str]:
    """Return the goal that was chosen, None for one of the pattern's own, and what is wrong with the choice."""
    asked = request.POST.get("into", "")
    text = request.POST.get("other", "").strip() if asked == "other" else asked
    if asked == "":
        return None, ""
    found = find_other(site, text) if text else None
    if found is not None:
        return found, ""
    near = unknown_goal(site, goal, text).near if text else ()
    hint = f" There is: {', '.join(near)}." if near else ""
    return None, f"No goal of this site has the number or exactly the name “{text[:100]}”.{hint}"


def group(
    request: HttpRequest, site: Site, grouping: Grouping, into: Goal | None, *, archives: bool
) -> HttpResponseBase:
    """Save the rule, give its events to the goal that was chosen, and put the others aside if that is wished."""
    user = cast("User", request.user)
    with transaction.atomic():
        note_rules_changed(site.pk, now=timezone.now())  # first: who adds one too waits for the site's row
        rule = draft_rule(site, grouping)
        what: dict[str, Any] = {name: getattr(rule, name) for name in ("action", "argument", "event_type")}
        if not site.rules.filter(source=None, is_enabled=True, name_test="", path_test="", **what).exists():
            rule.save()
            audit.note(request, site, "Added a rule", None, {**what, "goal": into.pk if into else grouping.name})
        if into is not None:
            for event_type in grouping.event_types:
                event = EventName(event_type, grouping.pattern)
                catalogue.bind_event(into, event, template=site.goal_name_template)
    others = [id_ for id_ in grouping.member_ids if into is None or id_ != into.pk]
    name = into.name if into else grouping.name
    messages.success(request, f"From now on events called {grouping.pattern} convert the goal {name}.")
    if archives and others:
        change = goal_changes.prepare_change(site, goal_changes.Action.ARCHIVE, others, user=user)
        now = timezone.now()
        goal_changes.start_change(change, user=user, now=now)
        goal_changes.run_change(change, now=now, seconds=AT_ONCE)
        if change.finished_at is None:
            return redirect("pages:goals-changing", site.sitecode, change.pk)
    return redirect("pages:goal", site.sitecode, into.pk) if into else redirect("pages:goals-twins", site.sitecode)
