"""Personas and groups of a site: lists, members, removal."""

from datetime import UTC, datetime

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import urlencode

import names
import times
from api.erasure import removal
from api.insight import people
from api.models import Removal, Role, Site
from api.models.audit import write_audit
from api.pages.access import show, site_page
from cohorts import members, merge, queries
from cohorts.models import Group, Identity, Persona
from cohorts.remote_data import COMMON_BYTES, MOST_LISTED

PAGE = 50


@site_page()
def list_personas(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List personas by name with their sizes and the first and last event about them."""
    after = request.GET.get("after", "")
    personas = list(names.in_order(Persona.objects.filter(site=site), "name", after=after)[: PAGE + 1])
    sizes, is_complete = members.sizes(site.pk) if personas else ({}, True)
    seen = queries.load_first_and_last_events(site.pk, [persona.pk for persona in personas[:PAGE]])
    return show(
        request,
        "pages/personas/personas.html",
        title="Personas",
        rows=[
            (persona, sizes.get(persona.name, 0), seen.get(persona.pk, (persona.created_at, None)))
            for persona in personas[:PAGE]
        ],
        is_complete=is_complete,
        most=members.MOST_COUNTED,
        is_full=Persona.objects.filter(site=site)[:MOST_LISTED].count() == MOST_LISTED,
        most_listed=MOST_LISTED,
        common_bytes=COMMON_BYTES,
        removals=_list_removals(site, Removal.Of.PERSONA),
        after=after,
        next=personas[PAGE - 1].name if len(personas) > PAGE else None,
    )


@site_page()
def show_persona(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show a persona and a page of its current members."""
    persona = get_object_or_404(Persona, site=site, name=_text(request, "name"))
    place = _place(request.GET)
    page = members.find_members(site.pk, "personas", persona.name, after=place)
    return show(
        request,
        "pages/personas/persona.html",
        title=f"Persona {persona.name}",
        persona=persona,
        times=queries.load_first_and_last_events(site.pk, [persona.pk]).get(persona.pk, (persona.created_at, None)),
        rows=[(member, times.of_stamp(member.since)) for member in page.members],
        members=page,
        is_first=place is None,
        most=members.MOST_SCANNED,
        field="name",
        value=persona.name,
    )


@site_page()
def list_groups(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List groups by id."""
    after = request.GET.get("after", "")
    rows = Group.objects.filter(site=site).defer("registers")
    groups = list(names.in_order(rows, "group_id", after=after)[: PAGE + 1])
    traits = queries.count_traits(site.pk, [group.pk for group in groups[:PAGE]])
    return show(
        request,
        "pages/personas/groups.html",
        title="Groups",
        rows=[(group, traits.get(group.pk, 0)) for group in groups[:PAGE]],
        removals=_list_removals(site, Removal.Of.GROUP),
        after=after,
        next=groups[PAGE - 1].group_id if len(groups) > PAGE else None,
    )


@site_page()
def show_group(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show a group, a page of its members and their latest conversions."""
    group = get_object_or_404(Group, site=site, group_id=_text(request, "id"))
    place = _place(request.GET)
    page = members.find_members(site.pk, "group", group.group_id, after=place, company_is_group=site.company_is_group)
    identities = Identity.objects.filter(site=site, pk__in=[id_ for member in page.members for id_ in member.ids])
    return show(
        request,
        "pages/personas/group.html",
        title=f"Group {group.group_id}",
        group=group,
        traits=people.traits_of_group(group),
        left_out=people.left_out(group.registers),
        most_traits=merge.MOST_VALUES["traits"],
        most_shown=people.MOST_SHOWN,
        rows=[(member, times.of_stamp(member.since)) for member in page.members],
        members=page,
        is_first=place is None,
        most=members.MOST_SCANNED,
        conversions=people.last_conversions(site, list(identities)),
        field="id",
        value=group.group_id,
    )


@site_page(Role.OWNER)
def remove_persona(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show what a removal deletes; on POST remove the persona."""
    persona = get_object_or_404(Persona, site=site, name=_text(request, "name"))
    if request.method == "POST":
        with transaction.atomic():
            write_audit(request.user, site, "Removed a persona", {"name": persona.name}, None)
            removal.remove_persona(persona, by=request.user.get_username(), now=datetime.now(UTC))
        messages.success(request, f"Persona {persona.name} removed. A worker is removing it from its members.")
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
        back=page_of(site, "persona", name=persona.name),
    )


@site_page(Role.OWNER)
def remove_group(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show what a removal deletes; on POST remove the group."""
    group = get_object_or_404(Group, site=site, group_id=_text(request, "id"))
    if request.method == "POST":
        with transaction.atomic():
            write_audit(request.user, site, "Removed a group", {"id": group.group_id}, None)
            removal.remove_group(group, by=request.user.get_username(), now=datetime.now(UTC))
        messages.success(request, f"Group {group.group_id} removed. A worker is removing it from its members.")
        return redirect("pages:groups", site.sitecode)
    page = members.find_members(site.pk, "group", group.group_id, after=None, company_is_group=site.company_is_group)
    return show(
        request,
        "pages/personas/remove.html",
        title=f"Remove the group {group.group_id}",
        what="group",
        name=group.group_id,
        size=len(page.members),
        is_complete=page.next is None,
        traits=len(people.traits_of_group(group)),
        back=page_of(site, "group", id=group.group_id),
    )


def _list_removals(site: Site, of: Removal.Of) -> list[str]:
    """Return the names of personas or groups that a worker is removing."""
    return list(site.removals.filter(of=of, finished_at=None).values_list("name", flat=True)[:PAGE])


def page_of(site: Site, page: str, **query: str) -> str:
    """Return the address of a page of a persona or a group."""
    return f"{reverse(f'pages:{page}', args=[site.sitecode])}?{urlencode(query)}"


def _text(request: HttpRequest, name: str) -> str:
    return (request.POST if request.method == "POST" else request.GET).get(name, "")


def _place(query: QueryDict) -> members.Key | None:
    """Return the end of the page before. Raises Http404 if it is not valid."""
    if "kind" not in query:
        return None
    try:
        return int(Identity.Kind(int(query.get("kind", "")))), query.get("after", "")
    except ValueError as error:
        raise Http404 from error
