"""A rule that combines events with an ID in their name into one goal, with a preview."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from django.contrib import messages
from django.db import transaction
from django.db.models import Max, Sum
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

from api.digest import goal_changes
from api.ingest.provisioning import note_rules_changed
from api.insight.breakdowns import find_other, unknown_goal
from api.models import Role, Rule, Site
from api.models.audit import write_audit
from api.pages.access import show, site_page
from api.pages.goals.changes import AT_ONCE
from api.pages.goals.detail import find_goal
from api.pages.goals.goal_list import suggest_pattern_of
from api.pages.settings.rules import forecast_rule
from api.rules.identifiers import suggest_pattern
from goals import catalogue
from goals.matching import EventName
from goals.models import Goal, GoalTotal
from goals.naming import name_goal, parse_goal_name
from goals.shown_names import show_goal_name, show_name
from goals.similar_names import split_name

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MOST_OFFERED: Final = 10  # the goals with most conversions


@dataclass(frozen=True, slots=True)
class Grouping:
    """Events that a rule would combine, and the goals that they created."""

    pattern: str
    event_types: Sequence[str]
    name: str  # of the goal that the next of these events creates, or finds
    member_ids: Sequence[int]


@site_page(Role.EDITOR)
def group_names(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Preview a rule for events like this goal's; on POST save it for the goal that was chosen."""
    goal = find_goal(site, goal_id)
    grouping = find_grouping(site, goal)
    if grouping is None:
        messages.error(request, "The name of this goal contains no ID.")
        return redirect("pages:goal", site.sitecode, goal.pk)
    trouble, into = "", None
    if request.method == "POST":
        into, trouble = read_target(request, site, goal)
        if not trouble:
            return group(request, site, grouping, into, archives=request.POST.get("old") == "archive")
    totals = count_conversions(site, grouping.member_ids)
    largest = sorted(grouping.member_ids, key=lambda id_: (-totals.get(id_, 0), id_))[:MOST_OFFERED]
    offered = Goal.objects.filter(site=site).in_bulk(largest)
    return show(
        request,
        "pages/goals/group.html",
        title="Combine into one goal",
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
    """Return the events and goals that are like a goal, None if its name has no ID. Reads the names of all goals."""
    pattern = suggest_pattern_of(site, goal)
    if not pattern:
        return None
    template = site.goal_name_template
    types = [event_type for event_type, _ in parse_goal_name(goal.name, template=template)]
    type_, _ = split_name(goal.name, template=template)
    active = Goal.objects.filter(site=site, deleted_at=None, counts_for=None, archived_at=None, is_named_by_event=True)
    alike = []
    for id_, name in active.values_list("pk", "name"):
        event_type, event_name = split_name(name, template=template)
        if event_type == type_ and suggest_pattern(event_name) == pattern:
            alike.append(id_)
    return Grouping(pattern, types, name_goal(types[0], pattern, template=template), alike)


def count_conversions(site: Site, goal_ids: Sequence[int]) -> dict[int, int]:
    """Return the conversions of each of these goals that has any. One query."""
    totals = GoalTotal.objects.filter(site=site, goal__in=goal_ids).values_list("goal_id")
    return dict(totals.annotate(sum=Sum("conversions")))


def draft_rule(site: Site, grouping: Grouping) -> Rule:
    """Return the unsaved rule, at the end of the site's rules."""
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
    """Return the goal that was chosen, None for the pattern's own goal, and what is wrong with the choice."""
    choice = request.POST.get("into", "")
    text = request.POST.get("other", "").strip() if choice == "other" else choice
    if choice == "":
        return None, ""
    target = find_other(site, text) if text else None
    if target is not None:
        return target, ""
    near = unknown_goal(site, goal, text).near if text else ()
    hint = f" Did you mean: {', '.join(near)}?" if near else ""
    return None, f"No goal has the ID or exact name “{text[:100]}”.{hint}"


def group(
    request: HttpRequest, site: Site, grouping: Grouping, into: Goal | None, *, archives: bool
) -> HttpResponseBase:
    """Save the rule, link its events to the goal that was chosen, and archive the other goals if asked to."""
    user = cast("User", request.user)
    with transaction.atomic():
        note_rules_changed(site.pk, now=timezone.now())  # first: it locks the site, so that two requests add one rule
        rule = draft_rule(site, grouping)
        fields: dict[str, Any] = {name: getattr(rule, name) for name in ("action", "argument", "event_type")}
        if not site.rules.filter(source=None, is_enabled=True, name_test="", path_test="", **fields).exists():
            rule.save()
            write_audit(
                request.user, site, "Added a rule", None, {**fields, "goal": into.pk if into else grouping.name}
            )
        if into is not None:
            for event_type in grouping.event_types:
                event = EventName(event_type, grouping.pattern)
                catalogue.bind_event(into, event, template=site.goal_name_template)
    others = [id_ for id_ in grouping.member_ids if into is None or id_ != into.pk]
    template = site.goal_name_template
    name = show_goal_name(into, template=template) if into else show_name(grouping.name, template=template)
    messages.success(request, f"Future “{grouping.pattern}” events will count in {name}.")
    if archives and others:
        change = goal_changes.prepare_change(site, goal_changes.Action.ARCHIVE, others, user=user)
        now = timezone.now()
        goal_changes.start_change(change, user=user, now=now)
        goal_changes.run_change(change, now=now, seconds=AT_ONCE)
        if change.finished_at is None:
            return redirect("pages:goals-changing", site.sitecode, change.pk)
    return redirect("pages:goal", site.sitecode, into.pk) if into else redirect("pages:goals-cleanup", site.sitecode)
