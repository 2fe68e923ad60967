"""Changes of many goals at once: a preview in figures, then the progress."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, QueryDict
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.digest import goal_changes
from api.digest.goal_changes import NEED_TAG, PAST_TENSE, Action
from api.http.wording import count_of
from api.models import GoalsChange, Role, Site
from api.pages.access import get_in_site, show, site_page
from api.pages.goals.goal_list import PER_PAGE, TAG_LENGTH, query_of_list, read_ids
from api.pages.goals.list_query import GoalListQuery
from api.pages.query_form import read_id
from api.pages.undo import say_with_undo
from goals import catalogue
from goals.list_order import find_goal_ids

if TYPE_CHECKING:
    from django.contrib.auth.models import User

AT_ONCE: Final = 0.5  # seconds of work in the request; a worker does the rest


@site_page(Role.EDITOR)
@require_POST
def ask_to_change(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Store a change of the selected goals, or of all in the list, and lead to its preview."""
    action, tag = request.POST.get("action", ""), catalogue.clean_tag(request.POST.get("tag_name", ""))
    query = query_of_list(request)
    if request.POST.get("back") == "cleanup":
        query = QueryDict("back=cleanup")
    selected = read_ids(request.POST.getlist("goal"))
    is_of_all = request.POST.get("scope") == "all"
    if action == "merge" and is_of_all:
        messages.error(request, f"Select up to {PER_PAGE} goals to merge.")
    elif action == "merge" and selected:
        goals = "&".join(f"goal={id_}" for id_ in selected)
        return HttpResponseRedirect(f"{reverse('pages:goals-merge', args=[site.sitecode])}?{goals}")
    elif action not in Action.values:
        messages.error(request, "Choose an action.")
    elif action in NEED_TAG and not 0 < len(tag) <= TAG_LENGTH:
        messages.error(request, f"Enter a tag (1–{TAG_LENGTH} characters).")
    else:
        if is_of_all:
            now = timezone.now()
            form = GoalListQuery(query, template=site.goal_name_template, now=now)
            selected = find_goal_ids([site.pk], form.filter, now=now, order=form.order)
        if selected:
            user = cast("User", request.user)
            change = goal_changes.prepare_change(site, Action(action), selected, tag=tag, user=user)
            return HttpResponseRedirect(address_of(site, change, query))
        messages.error(request, "Select goals first.")
    return HttpResponseRedirect(address_of_list(site, keep_picks(query, selected, action)))


def keep_picks(query: QueryDict, selected: Sequence[int], action: str) -> QueryDict:
    """Return the query string of the list with what was picked and chosen, for another try. Pure."""
    kept = query.copy()
    kept.setlist("pick", [str(id_) for id_ in selected[:PER_PAGE]])
    if action in Action.values:
        kept["action"] = action
    return kept


def address_of(site: Site, change: GoalsChange, query: QueryDict) -> str:
    """Return the address of a change with the query string of its list."""
    address = reverse("pages:goals-changing", args=[site.sitecode, change.pk])
    return f"{address}?{query.urlencode()}" if query else address


def address_of_list(site: Site, query: QueryDict) -> str:
    """Return the address of the list from which a change was asked for."""
    if query.get("back") == "cleanup":
        return reverse("pages:goals-cleanup", args=[site.sitecode])
    return f"{reverse('pages:goals', args=[site.sitecode])}?{query.urlencode()}"


@site_page(Role.EDITOR)
def change_goals(request: HttpRequest, site: Site, change_id: int) -> HttpResponseBase:
    """Show the preview or the progress of a change; on POST start it, or archive instead of deleting."""
    change = get_in_site(GoalsChange, site, change_id)
    if request.method == "POST":
        if request.POST.get("do") == "archive":  # instead of deleting
            GoalsChange.objects.filter(site=site, pk=change.pk, started_at=None).update(action=Action.ARCHIVE, tag="")
            return HttpResponseRedirect(address_of(site, change, request.GET))
        now = timezone.now()
        user, ids = cast("User", request.user), goal_changes.list_goals_to_undo(change)
        goal_changes.start_change(change, user=user, now=now)
        goal_changes.run_change(change, now=now, seconds=AT_ONCE)
        back = None
        if ids:
            contrary = goal_changes.CONTRARY[change.action]
            back = goal_changes.prepare_change(site, contrary, ids, tag=change.tag, user=user)
        if change.finished_at is None:  # the page of the progress has the button Undo in the end
            query = request.GET.copy()
            query["undo"] = str(back.pk) if back else ""
            return HttpResponseRedirect(address_of(site, change, query))
        if back is not None:
            say_with_undo(request, describe_end(change), address_of(site, back, request.GET))
        else:
            messages.success(request, describe_end(change))
        return HttpResponseRedirect(address_of_list(site, request.GET))
    is_asked = change.started_at is None
    query = request.GET.copy()
    undo = find_undo(site, change, read_id(query.pop("undo", [""])[-1]))
    return show(
        request,
        "pages/goals/changing.html",
        title=f"{Action(change.action).label.capitalize()}: {count_of(len(change.goal_ids), 'goal')}",
        change=change,
        back=address_of_list(site, query),
        undo=address_of(site, undo, query) if undo else "",
        size=len(change.goal_ids),
        question=goal_changes.preview_change(change) if is_asked else None,
        verb=Action(change.action).label.capitalize(),
        done=PAST_TENSE[change.action],
        end=describe_end(change) if change.finished_at else "",
    )


def find_undo(site: Site, change: GoalsChange, number: int | None) -> GoalsChange | None:
    """Return the prepared change that undoes a finished one, None once it was started or if it was not asked for."""
    contrary = goal_changes.CONTRARY.get(Action(change.action))
    if number is None or contrary is None or change.finished_at is None:
        return None
    return GoalsChange.objects.filter(site=site, pk=number, action=contrary, tag=change.tag, started_at=None).first()


def describe_end(change: GoalsChange) -> str:
    """Return a sentence on what a change did."""
    left = len(change.goal_ids) - change.changed
    done = f"{PAST_TENSE[change.action]} {count_of(change.changed, 'goal')}"
    tag = f": {change.tag}" if change.tag else ""
    return f"{done}{tag}. {left:,} needed no change or no longer existed." if left else f"{done}{tag}."
