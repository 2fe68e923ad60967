"""People of a site: search, filters, and the list as CSV."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from django import forms
from django.db import connection
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.http import urlencode

from api.insight.people_pages import PeopleFilter, PeoplePlace, find_page
from api.insight.person_rows import PersonRow
from api.models import Role, Site
from api.models.audit import write_audit
from api.pages.access import may, page_of, show, site_page
from api.pages.csv_cells import as_text, write_at
from api.pages.csv_file import send_csv
from api.pages.query_form import IdField, QueryForm
from cohorts import search
from cohorts.models import Identity
from cohorts.segment_tables import Segment

MOST_OFFERED: Final = 300  # personas
MOST_SKIPPED: Final = 5_000  # persons of earlier pages
EXPORTED: Final = 200  # persons at a time
HEADS: Final = ("kind", "id", "name", "email", "username", "group", "personas", "last seen", "conversions")


class PeopleListQuery(QueryForm):
    """The filters of the list, and the place of the page."""

    q = forms.CharField(max_length=255)
    segment = IdField()
    persona = forms.CharField(max_length=255)
    group = forms.CharField(max_length=255)
    trait = forms.CharField(max_length=255)
    value = forms.CharField(max_length=500)
    by = forms.ChoiceField(choices=[("", "last seen"), ("id", "identifier")])
    skip = forms.IntegerField(min_value=0, max_value=MOST_SKIPPED)
    kind = forms.TypedChoiceField(choices=Identity.Kind.choices, coerce=int, empty_value=None)
    after = forms.CharField(max_length=255, strip=False)
    member = IdField()


FILTERS: Final = ("q", "segment", "persona", "group", "trait", "value")


@site_page()
def list_people(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List people, last seen first, or those who pass a filter; the only one whom a text finds has the own page."""
    query = PeopleListQuery(request.GET)
    personas, segments = load_choices(site.pk)
    wanted = read_filter(site, query)
    place = PeoplePlace.of(query.values)
    page = find_page(site, wanted, place, now=timezone.now())
    if len(page.rows) == 1 and not page.is_cut and wanted.text and wanted == PeopleFilter(text=wanted.text):
        return redirect(page_of(site, "person", id=page.rows[0].value))
    kept = {name: query.raw(name) for name in FILTERS if query.values[name]}
    can_export = may(request, Role.EDITOR) and not wanted.text
    return show(
        request,
        "pages/people/list.html",
        title="People",
        wanted=wanted,
        place=place,
        page=page,
        personas=personas,
        segments=segments,
        chips=[(label, _link(kept, without=names)) for label, names in describe_filter(wanted)],
        next=None if page.next is None else _link(kept, **page.next.query),
        first=_link(kept),
        csv=f"{page_of(site, 'people-export')}?{_link(kept)}" if can_export else "",
        most=search.MOST_FOUND,
    )


@site_page(Role.EDITOR)
def export_people(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Send the people who pass the filter as CSV, all of them. The audit log names the export, not the people."""
    wanted = read_filter(site, PeopleListQuery(request.GET))
    write_audit(request.user, site, "Exported people", None, {"filtered": not wanted.is_empty})
    return send_csv(f"people-{site.sitecode}", HEADS, list_pages(site, wanted))


def read_filter(site: Site, query: PeopleListQuery) -> PeopleFilter:
    """Return the filter that a query string asks for. One query if it names a segment."""
    asked = query.values
    segment = None
    if asked["segment"] is not None:
        segment = Segment.objects.filter(site=site, pk=asked["segment"]).first()
    return PeopleFilter(
        text=asked["q"].strip(),
        segment=segment,
        persona=asked["persona"],
        group=asked["group"],
        trait=asked["trait"],
        value=asked["value"] if asked["trait"] else "",
    )


def describe_filter(wanted: PeopleFilter) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield a label for each filter but the text, with the fields that it takes away. Pure."""
    if wanted.segment is not None:
        yield f"Segment: {wanted.segment.name}", ("segment",)
    if wanted.persona:
        yield f"Persona: {wanted.persona}", ("persona",)
    if wanted.group:
        yield f"Group: {wanted.group}", ("group",)
    if wanted.trait:
        yield f"{wanted.trait}: {wanted.value}", ("trait", "value")


def load_choices(site_id: int) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the first personas and the segments of a site by name. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            (SELECT NULL::bigint, p.name FROM cohorts_persona p WHERE p.site_id = %(site)s
              ORDER BY p.sort_key, p.name LIMIT %(most)s)
             UNION ALL
            (SELECT s.id, s.name FROM cohorts_segment s WHERE s.site_id = %(site)s ORDER BY s.sort_key, s.name)
            """,
            {"site": site_id, "most": MOST_OFFERED},
        )
        rows = cursor.fetchall()
    return [name for id_, name in rows if id_ is None], [(id_, name) for id_, name in rows if id_ is not None]


def list_pages(site: Site, wanted: PeopleFilter) -> Iterator[list[list[Any]]]:
    """Yield the cells of all people who pass a filter, by identifier. Ten queries for each 200 people."""
    place: PeoplePlace | None = PeoplePlace(by_id=True)
    while place is not None:
        page = find_page(site, wanted, place, now=timezone.now(), limit=EXPORTED)
        yield [make_cells(row) for row in page.rows]
        place = None if page.next is None else replace(page.next, by_id=True)


def make_cells(row: PersonRow) -> list[Any]:
    """Return the cells of a person: harmless texts, plain numbers, times in ISO 8601 and UTC."""
    return [
        row.kind.label,
        *(as_text(text) for text in (row.value, row.name, row.email, row.username, row.group, ", ".join(row.personas))),
        write_at(row.last_seen),
        "" if row.is_large else row.conversions,
    ]


def _link(kept: dict[str, str], *, without: Sequence[str] = (), **place: str) -> str:
    """Return the query string of the list with these filters."""
    return urlencode({name: value for name, value in kept.items() if name not in without} | place)
