"""The page of a change of many goals: what it would do, in figures; while it runs, how far it is."""

from typing import TYPE_CHECKING, Final, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.digest import goal_changes
from api.digest.goal_changes import NEED_TAG, PAST_TENSE, Action
from api.http.wording import count_of
from api.models import GoalsChange, Role, Site
from api.pages.access import show, site_page
from api.pages.goals.goal_list import PER_PAGE, TAG_LENGTH, address_of_list, ids_in
from api.pages.goals.list_query import read_wish
from goals import catalogue
from goals.list_order import find_goal_ids

if TYPE_CHECKING:
    from django.contrib.auth.models import User

AT_ONCE: Final = 0.5  # seconds that a request works itself; what is not done then is left to a worker


@site_page(Role.EDITOR)
@require_POST
def ask_to_change(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Take down which goals are to be changed: those that were picked, or all of a list; and ask."""
    action, tag = request.POST.get("action", ""), catalogue.clean_tag(request.POST.get("tag_name", ""))
    query = address_of_list(request)
    if request.POST.get("back") == "twins":
        query = QueryDict("back=twins")
    picked = ids_in(request.POST.getlist("goal"))
    is_of_all = request.POST.get("scope") == "all"
    if action == "merge" and is_of_all:
        messages.error(request, f"Pick the goals to merge: {PER_PAGE} at most.")
    elif action == "merge" and picked:
        goals = "&".join(f"goal={id_}" for id_ in picked)
        return HttpResponseRedirect(f"{reverse('pages:goals-merge', args=[site.sitecode])}?{goals}")
    elif action not in Action.values:
        messages.error(request, "Choose what to do.")
    elif action in NEED_TAG and not 0 < len(tag) <= TAG_LENGTH:
        messages.error(request, f"Give a tag of 1 to {TAG_LENGTH} characters.")
    else:
        if is_of_all:
            now = timezone.now()
            wish = read_wish(query, now=now)
            picked = find_goal_ids([site.pk], wish.filter, now=now, order=wish.order).ids
        if picked:
            user = cast("User", request.user)
            change = goal_changes.prepare_change(site, Action(action), picked, tag=tag, user=user)
            return HttpResponseRedirect(address_of(site, change, query))
        messages.error(request, "Pick the goals first: tick them in the list.")
    return HttpResponseRedirect(list_of(site, query))


def address_of(site: Site, change: GoalsChange, query: QueryDict) -> str:
    """Return the address of a change, with that of the list it was asked for on."""
    address = reverse("pages:goals-changing", args=[site.sitecode, change.pk])
    return f"{address}?{query.urlencode()}" if query else address


def list_of(site: Site, query: QueryDict) -> str:
    """Return the address of the list that a change was asked for on."""
    if query.get("back") == "twins":
        return reverse("pages:goals-twins", args=[site.sitecode])
    return f"{reverse('pages:goals', args=[site.sitecode])}?{query.urlencode()}"


@site_page(Role.EDITOR)
def change_goals(request: HttpRequest, site: Site, change_id: int) -> HttpResponseBase:
    """GET: what a change would do, or how far it is. POST: start it, or make it one that archives instead."""
    change = get_object_or_404(GoalsChange.objects.filter(site=site), pk=change_id)
    if request.method == "POST":
        if request.POST.get("do") == "archive":  # instead of deleting
            GoalsChange.objects.filter(pk=change.pk, started_at=None).update(action=Action.ARCHIVE, tag="")
            return HttpResponseRedirect(address_of(site, change, request.GET))
        now = timezone.now()
        goal_changes.start_change(change, user=cast("User", request.user), now=now)
        goal_changes.run_change(change, now=now, seconds=AT_ONCE)
        if change.finished_at is None:
            return HttpResponseRedirect(address_of(site, change, request.GET))
        messages.success(request, sentence_of_end(change))
        return HttpResponseRedirect(list_of(site, request.GET))
    is_asked = change.started_at is None
    return show(
        request,
        "pages/goals/changing.html",
        title=f"{Action(change.action).label.capitalize()}: {count_of(len(change.goal_ids), 'goal')}",
        change=change,
        back=list_of(site, request.GET),
        size=len(change.goal_ids),
        question=goal_changes.preview_change(change) if is_asked else None,
        verb=Action(change.action).label.capitalize(),
        done=PAST_TENSE[change.action],
        end=sentence_of_end(change) if change.finished_at else "",
    )


def sentence_of_end(change: GoalsChange) -> str:
    """Return what a change has done."""
    left = len(change.goal_ids) - change.changed
    done = f"{PAST_TENSE[change.action]} {count_of(change.changed, 'goal')}"
    tag = f": {change.tag}" if change.tag else ""
    return f"{done}{tag}. {left:,} had gone or needed no change." if left else f"{done}{tag}."
