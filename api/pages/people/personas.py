"""Personas and groups of a site: lists, members, removal."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django import forms
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.utils.http import urlencode

import names
import times
from api.erasure import removal
from api.http.wording import shorten
from api.insight import people
from api.insight.person_rows import PersonRow, load_root_rows
from api.models import Removal, Role, Site
from api.models.audit import write_audit
from api.models.site_days import day_of
from api.pages.access import may, page_of, show, site_page
from api.pages.people.segments import DAYS, begin_of_chart, draw_changes
from api.pages.query_form import QueryForm
from cohorts import members, merge, queries
from cohorts.models import Group, Identity, Persona
from cohorts.persona_history import LIST_DAYS, MOST_FACTS, MOST_IN_LIST, PersonaChanges, count_changes
from cohorts.remote_data import COMMON_BYTES, MOST_LISTED
from cohorts.segments.listing import ChangesOfDay

PAGE: Final = 50
MOST_SKIPPED: Final = 1_000_000
TITLE_LENGTH: Final = 200


class ListQuery(QueryForm):
    """The order of a list, and where the page begins."""

    sort = forms.ChoiceField(choices=[("", "name"), ("size", "members")])
    after = forms.CharField(max_length=255, strip=False)
    skip = forms.IntegerField(min_value=0, max_value=MOST_SKIPPED)


@dataclass(frozen=True, slots=True)
class PersonaRow:
    """A persona in the list."""

    persona: Persona
    members: int
    times: tuple[datetime, datetime | None]  # of the first and last event about it
    changes: PersonaChanges  # of the last LIST_DAYS days


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group in the list."""

    group: Group
    summary: queries.GroupSummary
    members: int


@site_page()
def list_personas(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List personas with their sizes and their change in 28 days, by name or by size."""
    query, now = ListQuery(request.GET).values, timezone.now()
    by_size = query["sort"] == "size"
    rows = Persona.objects.filter(site=site)
    skip = query["skip"] or 0
    if by_size:
        sizes, is_complete = members.sizes(site.pk)
        ordered = sorted(rows.order_by("sort_key", "name"), key=lambda persona: -sizes.get(persona.name, 0))
        personas = ordered[skip : skip + PAGE + 1]
    else:
        personas = list(names.in_order(rows, "name", after=query["after"])[: PAGE + 1])
        sizes, is_complete = members.sizes(site.pk) if personas else ({}, True)
    ids = [persona.pk for persona in personas[:PAGE]]
    seen = queries.load_first_and_last_events(site.pk, ids)
    changes = count_changes(site.pk, ids, since=now - timedelta(days=LIST_DAYS), zone=site.time_zone)
    return show(
        request,
        "pages/personas/personas.html",
        title="Personas",
        rows=[
            PersonaRow(
                persona,
                sizes.get(persona.name, 0),
                seen.get(persona.pk, (persona.created_at, None)),
                changes[persona.pk],
            )
            for persona in personas[:PAGE]
        ],
        is_complete=is_complete,
        most=members.MOST_COUNTED,
        most_changes=MOST_IN_LIST,
        days=LIST_DAYS,
        by_size=by_size,
        is_full=rows[:MOST_LISTED].count() == MOST_LISTED,
        most_listed=MOST_LISTED,
        common_bytes=COMMON_BYTES,
        removals=_list_removals(site, Removal.Of.PERSONA),
        is_first=not (query["after"] or skip),
        next=_next(by_size, skip, personas[PAGE - 1].name) if len(personas) > PAGE else "",
    )


@site_page()
def show_persona(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show a persona: entries and exits by day, and a page of its current members."""
    persona = get_object_or_404(Persona, site=site, name=_text(request, "name"))
    place, now = _place(request.GET), timezone.now()
    page = members.find_members(site.pk, "personas", persona.name, after=place)
    since = begin_of_chart(site, now)
    changes = count_changes(site.pk, [persona.pk], since=since, zone=site.time_zone, most=MOST_FACTS)[persona.pk]
    return show(
        request,
        "pages/personas/persona.html",
        title=persona.name,
        persona=persona,
        times=queries.load_first_and_last_events(site.pk, [persona.pk]).get(persona.pk, (persona.created_at, None)),
        rows=_with_since(site, page),
        members=page,
        changes=changes,
        chart=draw_changes([ChangesOfDay(*day) for day in changes.days], today=day_of(site, now)),
        days=DAYS,
        most_changes=MOST_FACTS,
        is_first=place is None,
        most=members.MOST_SCANNED,
        field="name",
        value=persona.name,
        csv=page_of(site, "people-export", persona=persona.name) if may(request, Role.EDITOR) else "",
    )


@site_page()
def list_groups(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List groups with their names, members and main traits, by id or by size."""
    query = ListQuery(request.GET).values
    by_size, skip = query["sort"] == "size", query["skip"] or 0
    rows = Group.objects.filter(site=site).defer("registers")
    sizes, is_complete = members.sizes(site.pk, "group", company_is_group=site.company_is_group)
    if by_size:
        largest = sorted(sizes, key=lambda id_: (-sizes[id_], id_))[skip : skip + PAGE + 1]
        by_id = {group.group_id: group for group in rows.filter(group_id__in=largest)}
        groups = [by_id[id_] for id_ in largest if id_ in by_id]
        has_more = len(largest) > PAGE
    else:
        groups = list(names.in_order(rows, "group_id", after=query["after"])[: PAGE + 1])
        has_more = len(groups) > PAGE
    page = groups[:PAGE]
    summaries = queries.load_group_summaries(site.pk, [group.pk for group in page])
    return show(
        request,
        "pages/personas/groups.html",
        title="Groups",
        rows=[
            GroupRow(group, summaries.get(group.pk, queries.GroupSummary()), sizes.get(group.group_id, 0))
            for group in page
        ],
        is_complete=is_complete,
        most=members.MOST_COUNTED_IN_GROUPS,
        by_size=by_size,
        removals=_list_removals(site, Removal.Of.GROUP),
        is_first=not (query["after"] or skip),
        next=_next(by_size, skip, page[-1].group_id) if has_more and page else "",
    )


@site_page()
def show_group(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show a group, a page of its members and their latest conversions."""
    group = get_object_or_404(Group, site=site, group_id=_text(request, "id"))
    place = _place(request.GET)
    page = members.find_members(site.pk, "group", group.group_id, after=place, company_is_group=site.company_is_group)
    rows = _with_since(site, page)
    traits = people.traits_of_group(group)
    name = next((fact.value for fact in traits if fact.name == "name" and isinstance(fact.value, str)), "")
    return show(
        request,
        "pages/personas/group.html",
        title=shorten(" ".join(name.split()), TITLE_LENGTH) or group.group_id,
        group=group,
        traits=traits,
        left_out=people.left_out(group.registers),
        most_traits=merge.MOST_VALUES["traits"],
        most_shown=people.MOST_SHOWN,
        rows=rows,
        members=page,
        is_first=place is None,
        most=members.MOST_SCANNED,
        conversions=people.conversions_of(site, [code for row, _ in rows for code in row.codes]),
        field="id",
        value=group.group_id,
        csv=page_of(site, "people-export", group=group.group_id) if may(request, Role.EDITOR) else "",
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


def _with_since(site: Site, page: members.MemberPage) -> list[tuple[PersonRow, datetime]]:
    """Return the members as lists show them, with the time since which they are in."""
    since = {(int(member.kind), member.value): times.of_stamp(member.since) for member in page.members}
    return [(row, since[row.kind, row.value]) for row in load_root_rows(site, list(since))]


def _next(by_size: bool, skip: int, last: str) -> str:  # noqa: FBT001 - private
    """Return the query string of the next page."""
    return urlencode({"sort": "size", "skip": str(skip + PAGE)} if by_size else {"after": last})


def _list_removals(site: Site, of: Removal.Of) -> list[str]:
    """Return the names of personas or groups that a worker is removing."""
    return list(site.removals.filter(of=of, finished_at=None).values_list("name", flat=True)[:PAGE])


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
