"""Saved views of the goal list: of one person, or of everybody."""

from typing import Any, Final, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Case, Q, When
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

import names
from api.models import GoalView, Role, Site
from api.models.audit import write_audit
from api.pages.access import get_in_site, may, show, show_forbidden, site_page
from api.pages.goals.goal_list import query_of_list
from api.pages.goals.list_query import PLACES, GoalListQuery
from api.pages.ranges import OF_RANGE, names_range, recall_range
from api.pages.undo import CannotUndoError, say_with_kept

MOST_VIEWS: Final = 100  # of a person, and that a page lists
QUERY_LENGTH: Final = 2_000
NAME_LENGTH: Final = 100
KIND: Final = "view"  # of what Undo gives back


@site_page()
def list_views(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List the views of this person and those of everybody, own ones first, by name. One query."""
    user = cast("User", request.user)
    seen = GoalView.objects.filter(Q(user=user) | Q(is_shared=True), site=site)
    own_first = Case(When(user=user, then=0), default=1)
    views = seen.select_related("user").order_by(own_first, names.sort_key("name"), "pk")[: 2 * MOST_VIEWS]
    return show(request, "pages/goals/views.html", title="Saved views", views=list(views))


@site_page()
@require_POST
def save_view(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Save the list from which the form was sent under a name; a name that this person has already is replaced."""
    user, name = cast("User", request.user), request.POST.get("name", "").strip()
    query = clean_query(with_range(request, site))
    list_ = f"{reverse('pages:goals', args=[site.sitecode])}?{query}"
    own = GoalView.objects.filter(site=site, user=user)
    is_shared = "is_shared" in request.POST and may(request, Role.EDITOR)
    if not 0 < len(name) <= NAME_LENGTH:
        messages.error(request, f"Enter a name (1–{NAME_LENGTH} characters).")
    elif len(query) > QUERY_LENGTH:
        messages.error(request, "This view has too many filters to be saved.")
    elif own.exclude(name=name).count() >= MOST_VIEWS:
        messages.error(request, f"You have {MOST_VIEWS} views. Remove one first.")
    else:
        fields = {"query": query, "is_shared": is_shared}
        with transaction.atomic():
            was_shared = own.filter(name=name, is_shared=True).exists()
            GoalView.objects.update_or_create(site=site, user=user, name=name, defaults=fields)
            if is_shared or was_shared:  # owners read the log, and a view of one person is private
                logged = fields if is_shared else {"is_shared": False}
                write_audit(user, site, f"Saved a view of goals, {name}", None, logged)
        messages.success(request, f"View “{name}” saved.")
    return HttpResponseRedirect(list_)


@site_page()
@require_POST
def remove_view(request: HttpRequest, site: Site, view_id: int) -> HttpResponseBase:
    """Remove a view of this person, with Undo; an editor may remove those of everybody."""
    view = get_in_site(GoalView, site, view_id)
    user = cast("User", request.user)
    if view.user_id != user.pk and not view.is_shared:
        raise Http404
    if view.user_id != user.pk and not may(request, Role.EDITOR):
        return show_forbidden(request, Role.EDITOR)
    with transaction.atomic():
        if view.is_shared:
            write_audit(user, site, f"Removed the view of goals {view.name}", {"query": view.query}, None)
        view.delete()
    text = f"View “{view.name}” removed.{' Other members no longer see it.' if view.is_shared else ''}"
    values = {"name": view.name, "query": view.query, "is_shared": view.is_shared, "user": view.user_id}
    say_with_kept(request, site, text, KIND, values)
    return redirect("pages:goals-views", site.sitecode)


def undo_removal(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Save a removed view again. Raises CannotUndoError if the person has another one of that name, or has left."""
    name, fields = values["name"], {"query": values["query"], "is_shared": values["is_shared"]}
    if (values["is_shared"] or values["user"] != request.user.pk) and not may(request, Role.EDITOR):
        raise CannotUndoError("Views of everybody are for editors.")
    if not User.objects.filter(pk=values["user"]).exists():
        raise CannotUndoError("Its owner has no account any more.")
    with transaction.atomic():
        _, is_new = GoalView.objects.get_or_create(site=site, user_id=values["user"], name=name, defaults=fields)
        if not is_new:
            raise CannotUndoError(f"There is a view “{name}” again.")
        if values["is_shared"]:
            write_audit(cast("User", request.user), site, f"Restored the view of goals {name}", None, fields)
    messages.success(request, f"View “{name}” restored.")
    return redirect("pages:goals-views", site.sitecode)


def with_range(request: HttpRequest, site: Site) -> QueryDict:
    """Return the query string of the list with the range that it showed, which may be the last one of the session."""
    query = query_of_list(request)
    if names_range(query):
        return query
    query = query.copy()
    query.update(recall_range(request, site, query, now=timezone.now()).parts)
    return query


def clean_query(query: QueryDict) -> str:
    """Return what a query string says of a list: known parameters without empty values and places. Pure."""
    known = {*GoalListQuery(query, template="", now=timezone.now()).fields, *OF_RANGE} - {*PLACES}
    clean = QueryDict(mutable=True)
    for name, values in query.lists():
        if name in known:
            clean.setlist(name, [value for value in values if value])
    return clean.urlencode()
