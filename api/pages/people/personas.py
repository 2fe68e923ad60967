"""Personas and groups of a site: lists, and who is in each."""

from datetime import UTC, datetime

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import urlencode

import names
import times
from api.audit import note
from api.erasure import removal
from api.insight import people
from api.models import Removal, Role, Site
from api.pages.access import show, site_page
from cohorts import members, merge, queries
from cohorts.models import Group, Identity, Persona
from cohorts.remote_data import COMMON_BYTES, MOST_LISTED

PAGE = 50


@site_page()
def list_personas(request: HttpRequest, site: Site) -> HttpResponseBase:
    """A page of personas by name, with their sizes, and when events first and last spoke of them."""
    after = request.GET.get("after", "")
    personas = list(names.in_order(Persona.objects.filter(site=site), "name", after=after)[: PAGE + 1])
    sizes, is_complete = members.sizes(site.pk) if personas else ({}, True)
    times = queries.spoken_of([persona.pk for persona in personas[:PAGE]])
    return show(
        request,
        "pages/personas/personas.html",
        title="Personas",
        rows=[
            (persona, sizes.get(persona.name, 0), times.get(persona.pk, (persona.created_at, None)))
            for persona in personas[:PAGE]
        ],
        is_complete=is_complete,
        most=members.MOST_COUNTED,
        is_full=Persona.objects.filter(site=site)[:MOST_LISTED].count() == MOST_LISTED,
        most_listed=MOST_LISTED,
        common_bytes=COMMON_BYTES,
        going=_going(site, Removal.Of.PERSONA),
        after=after,
        next=personas[PAGE - 1].name if len(personas) > PAGE else None,
    )


@site_page()
def show_persona(request: HttpRequest, site: Site) -> HttpResponseBase:
    """A persona and a page of who is in it now."""
    persona = get_object_or_404(Persona, site=site, name=_text(request, "name"))
    place = _place(request.GET)
    found = members.find_members(site.pk, "personas", persona.name, after=place)
    return show(
        request,
        "pages/personas/persona.html",
        title=f"Persona {persona.name}",
        persona=persona,
        times=queries.spoken_of([persona.pk]).get(persona.pk, (persona.created_at, None)),
        rows=[(each, _time(each.since)) for each in found.members],
        members=found,
        is_first=place is None,
        most=members.MOST_SCANNED,
        field="name",
        value=persona.name,
    )


@site_page()
def list_groups(request: HttpRequest, site: Site) -> HttpResponseBase:
    """A page of groups by id."""
    after = request.GET.get("after", "")
    its = Group.objects.filter(site=site).defer("registers")
    groups = list(names.in_order(its, "group_id", after=after)[: PAGE + 1])
    traits = queries.count_traits([group.pk for group in groups[:PAGE]])
    return show(
        request,
        "pages/personas/groups.html",
        title="Groups",
        rows=[(group, traits.get(group.pk, 0)) for group in groups[:PAGE]],
        going=_going(site, Removal.Of.GROUP),
        after=after,
        next=groups[PAGE - 1].group_id if len(groups) > PAGE else None,
    )


@site_page()
def show_group(request: HttpRequest, site: Site) -> HttpResponseBase:
    """A group, a page of its members, and what these converted last."""
    group = get_object_or_404(Group, site=site, group_id=_text(request, "id"))
    place = _place(request.GET)
    found = members.find_members(site.pk, "group", group.group_id, after=place, company_is_group=site.company_is_group)
    theirs = Identity.objects.filter(pk__in=[id_ for each in found.members for id_ in each.ids])
    return show(
        request,
        "pages/personas/group.html",
        title=f"Group {group.group_id}",
        group=group,
        traits=people.traits_of_group(group),
        left_out=people.left_out(group.registers),
        most_traits=merge.MOST["traits"],
        most_shown=people.MOST_SHOWN,
        rows=[(each, _time(each.since)) for each in found.members],
        members=found,
        is_first=place is None,
        most=members.MOST_SCANNED,
        conversions=people.last_conversions(site, list(theirs)),
        field="id",
        value=group.group_id,
    )


@site_page(Role.OWNER)
def remove_persona(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Say what is lost with a persona; and, posted, remove it."""
    persona = get_object_or_404(Persona, site=site, name=_text(request, "name"))
    if request.method == "POST":
        with transaction.atomic():
            note(request, site, "Removed a persona", {"name": persona.name}, None)
            removal.remove_persona(persona, by=request.user.get_username(), now=datetime.now(UTC))
        messages.success(request, f"{persona.name} is removed. A worker takes it from its members now.")
        return redirect("pages:personas", site.sitecode)
    sizes, is_complete = members.sizes(site.pk)
    return show(
        request,
        "pages/personas/remove.html",
        title=f"Remove the persona {persona.name}",
        what="persona",
        name=persona.name,
        size=sizes.get(persona.name, 0),
        is_complete=is_complete,
        back=address(site, "persona", name=persona.name),
    )


@site_page(Role.OWNER)
def remove_group(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Say what is lost with a group; and, posted, remove it."""
    group = get_object_or_404(Group, site=site, group_id=_text(request, "id"))
    if request.method == "POST":
        with transaction.atomic():
            note(request, site, "Removed a group", {"id": group.group_id}, None)
            removal.remove_group(group, by=request.user.get_username(), now=datetime.now(UTC))
        messages.success(request, f"{group.group_id} is removed. Its members leave it now, by a worker.")
        return redirect("pages:groups", site.sitecode)
    found = members.find_members(site.pk, "group", group.group_id, after=None, company_is_group=site.company_is_group)
    return show(
        request,
        "pages/personas/remove.html",
        title=f"Remove the group {group.group_id}",
        what="group",
        name=group.group_id,
        size=len(found.members),
        is_complete=found.next is None,
        traits=len(people.traits_of_group(group)),
        back=address(site, "group", id=group.group_id),
    )


def _going(site: Site, of: Removal.Of) -> list[str]:
    """The names of what a worker is removing now."""
    return list(site.removals.filter(of=of, finished_at=None).values_list("name", flat=True)[:PAGE])


def address(site: Site, page: str, **query: str) -> str:
    """The address of the page of a persona or a group."""
    return f"{reverse(f'pages:{page}', args=[site.sitecode])}?{urlencode(query)}"


def _text(request: HttpRequest, name: str) -> str:
    given = request.POST if request.method == "POST" else request.GET
    return given.get(name, "").replace("\0", "\ufffd")


def _place(query: QueryDict) -> members.Key | None:
    """Where the page before ended; Http404 for what is none."""
    if "kind" not in query:
        return None
    try:
        return int(Identity.Kind(int(query.get("kind", "")))), query.get("after", "").replace("\0", "")
    except ValueError as error:
        raise Http404 from error


def _time(micros: int) -> datetime:
    return times.of_stamp(micros)
