"""Personas and groups of a site: lists, and who is in each."""

from datetime import UTC, datetime

from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404

from api.insight import people
from api.models import Site
from api.pages.access import show, site_page
from cohorts import finding, members
from cohorts.models import Group, Identity, Persona
from cohorts.people import EPOCH, RESOLUTION

PAGE = 50


@site_page()
def list_personas(request: HttpRequest, site: Site) -> HttpResponseBase:
    """A page of personas by name, with their sizes, and when events first and last spoke of them."""
    after = request.GET.get("after", "")
    personas = list(Persona.objects.filter(site=site, name__gt=after).order_by("name")[: PAGE + 1])
    sizes, is_complete = members.sizes(site.pk) if personas else ({}, True)
    times = finding.spoken_of([persona.pk for persona in personas[:PAGE]])
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
        times=finding.spoken_of([persona.pk]).get(persona.pk, (persona.created_at, None)),
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
    groups = list(Group.objects.filter(site=site, group_id__gt=after).order_by("group_id")[: PAGE + 1])
    return show(
        request,
        "pages/personas/groups.html",
        title="Groups",
        rows=[(group, len(group.registers.get("traits", {}))) for group in groups[:PAGE]],
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
        rows=[(each, _time(each.since)) for each in found.members],
        members=found,
        is_first=place is None,
        most=members.MOST_SCANNED,
        conversions=people.last_conversions(site, list(theirs)),
        field="id",
        value=group.group_id,
    )


def _text(request: HttpRequest, name: str) -> str:
    return request.GET.get(name, "").replace("\0", "\ufffd")


def _place(query: QueryDict) -> members.Key | None:
    """Where the page before ended; Http404 for what is none."""
    if "kind" not in query:
        return None
    try:
        return int(Identity.Kind(int(query.get("kind", "")))), query.get("after", "").replace("\0", "")
    except ValueError as error:
        raise Http404 from error


def _time(micros: int) -> datetime:
    return (EPOCH + micros * RESOLUTION).astimezone(UTC)
