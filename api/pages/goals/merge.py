"""Merging goals with a preview of the figures, and undoing a merge."""

from typing import Any, Final

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from api.models import Role, Site
from api.models.audit import write_audit
from api.pages.access import get_in_site, page_of, show, site_page
from api.pages.goals.goal_list import read_ids
from api.pages.undo import CannotUndoError, say_with_kept, say_with_undo
from goals import merging
from goals.models import Goal
from goals.queries import GoalFilter, filter_goals, live_goals
from goals.reports.figures import load_member_ids
from goals.reports.summaries import load_figures
from goals.shown_names import show_goal_name

MOST_OFFERED: Final = 20
KIND: Final = "merge"  # of what Undo gives back


@site_page(Role.EDITOR)
def merge_goals(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Preview `?goal=1&goal=2&into=2`; on POST merge the goals into one of them.

    The figures of the union are counted from every conversion of these goals.
    """
    asked = request.POST if request.method == "POST" else request.GET
    goals = list(live_goals(site.pk).filter(pk__in=read_ids(asked.getlist("goal"))).order_by("sort_key", "pk"))
    into = next((goal for goal in goals if str(goal.pk) == asked.get("into")), None)
    if request.method == "POST" and into is not None and len(goals) > 1:
        return _merge(request, site, [goal for goal in goals if goal != into], into)
    members = load_member_ids(site.pk, goals)
    union = [id_ for ids in members.values() for id_ in ids]
    figures = load_figures(site.pk, {**members, 0: union}) if len(goals) > 1 else {}
    search = request.GET.get("q", "")
    offered = filter_goals(site.pk, GoalFilter(search=search)).exclude(pk__in=[goal.pk for goal in goals])
    if into is None and figures:
        into = max(goals, key=lambda goal: figures[goal.pk].conversions)
    return show(
        request,
        "pages/goals/merge.html",
        title="Merge goals",
        goals=goals,
        rows=[(goal, figures[goal.pk]) for goal in goals] if figures else [],
        union=figures.get(0),
        into=into,
        search=search,
        offered=offered.prefetch_related(None).order_by("sort_key", "id")[:MOST_OFFERED],
    )


def _merge(request: HttpRequest, site: Site, goals: list[Goal], into: Goal) -> HttpResponseBase:
    try:
        with transaction.atomic():
            for goal in goals:
                merging.merge(goal, into)
                what = f"Merged the goal {goal.pk} into the goal {into.pk}"
                write_audit(request.user, site, what, {"merged_into": None}, {"merged_into": into.pk})
    except merging.MergeError as error:
        messages.error(request, str(error))
        return redirect("pages:goals", site.sitecode)
    names = ", ".join(str(show_goal_name(goal, template=site.goal_name_template)) for goal in goals)
    text = f"{names} {'was' if len(goals) == 1 else 'were'} merged into this goal."
    say_with_kept(request, site, text, KIND, {"goals": [goal.pk for goal in goals], "into": into.pk})
    return redirect("pages:goal", site.sitecode, into.pk)


def undo_merge(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Let merged goals count for themselves again. Raises CannotUndoError if none of them is still merged."""
    goals = Goal.objects.filter(site=site, pk__in=values["goals"], merged_into=values["into"], deleted_at=None)
    with transaction.atomic():
        undone = [_unmerge(request, goal) for goal in goals]
    if not undone:
        raise CannotUndoError("The goals are no longer merged.")
    messages.success(request, "Merge undone.")
    return redirect("pages:goals", site.sitecode)


def _unmerge(request: HttpRequest, goal: Goal) -> int | None:
    """Undo the merge of a goal and return the goal that it counted for."""
    before = goal.merged_into_id
    merging.unmerge(goal)
    what = f"Undid the merge of the goal {goal.pk} into the goal {before}"
    write_audit(request.user, goal.site, what, {"merged_into": before}, {"merged_into": None})
    return before


@site_page(Role.EDITOR)
@require_POST
def unmerge_goal(request: HttpRequest, site: Site, goal_id: int) -> HttpResponseBase:
    """Undo a merge: the goal's conversions count for itself again."""
    goal = get_in_site(Goal, site, goal_id, deleted_at=None)
    before = goal.merged_into_id
    if before is None:
        raise Http404
    with transaction.atomic():
        _unmerge(request, goal)
    again = [("goal", str(goal.pk)), ("goal", str(before)), ("into", str(before))]
    say_with_undo(request, "Merge undone.", page_of(site, "goals-merge"), again)
    return redirect("pages:goal", site.sitecode, goal.pk)
