"""Visits and custom data of a person for its page, and all of its visits for its export."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from django.db import connection

from api.http.chunks import CHUNK_ROWS
from api.http.wording import shorten
from api.insight.people import MOST_CODES, SHOWN_LENGTH
from api.models import Site
from cohorts import merge
from cohorts.custom_values import read_custom_values
from cohorts.models import CustomData, Identity
from goals.visit_models import VisitFact
from goals.visits import Stretch, join_stretches

LAST_VISITS: Final = 10
MOST_ROWS: Final = 50  # of each kind and visitor code, from which the visits are computed

HOLDERS: Final = "unnest(%(codes)b::text[], %(users)b::bool[]) AS h (code, is_user)"
# By indexes. Facts and activity newest first; of exposures any, because their index has no time.
READ: Final = f"""
SELECT 'fact' AS kind, f.occurred_at, f.occurred_at, f.type, f.fact ->> 'href'
  FROM {HOLDERS} CROSS JOIN generate_series(1, 4) AS t (type) CROSS JOIN LATERAL (
    SELECT f.type, f.occurred_at, f.fact FROM goals_visitfact f
     WHERE f.site_id = %(site)s AND f.visitor_code = h.code AND f.is_user = h.is_user AND f.type = t.type
     ORDER BY f.occurred_at DESC, f.position DESC, f.message_id DESC LIMIT {MOST_ROWS}
 ) AS f
 UNION ALL
SELECT 'exposure', e.first_at, e.first_at, 0, ''
  FROM {HOLDERS} CROSS JOIN LATERAL (
    SELECT e.first_at FROM goals_exposure e
     WHERE e.site_id = %(site)s AND e.visitor_code = h.code AND e.is_user = h.is_user
     LIMIT {MOST_ROWS}
 ) AS e
 UNION ALL
SELECT 'activity', v.started_at, v.last_at, 0, '' FROM {HOLDERS} CROSS JOIN LATERAL (
    SELECT v.started_at, v.last_at FROM goals_visitactivity v
     WHERE v.site_id = %(site)s AND v.visitor_code = h.code AND v.is_user = h.is_user
     ORDER BY v.started_at DESC LIMIT {MOST_ROWS}
 ) AS v
"""

TYPE_NAMES: Final = [type_.name.lower() for type_ in VisitFact.Type]
OF_PERSON: Final = "site_id = %(site)s AND visitor_code = ANY(%(codes)b::text[])"
EXPORT: Final = f"""
SELECT json_build_object('visitorCode', visitor_code, 'type', (%(types)b::text[])[type], 'occurredAt', occurred_at,
                         'fact', fact)::text
  FROM goals_visitfact WHERE {OF_PERSON}
 UNION ALL
SELECT json_build_object('visitorCode', visitor_code, 'type', 'activity', 'startedAt', started_at,
                         'lastAt', last_at)::text
  FROM goals_visitactivity WHERE {OF_PERSON}
 UNION ALL
SELECT json_build_object('visitorCode', coalesce(nullif(visitor_code, ''), anonymous_id), 'type', 'exposure',
                         'experimentId', experiment_id, 'variationId', variation_id, 'firstAt', first_at)::text
  FROM goals_exposure
 WHERE site_id = %(site)s AND (visitor_code = ANY(%(codes)b::text[])
                               OR (anonymous_id <> '' AND anonymous_id = ANY(%(codes)b::text[])))
 UNION ALL
SELECT json_build_object('visitorCode', visitor_code, 'type', 'cancellation', 'goalId', goal_id,
                         'occurredAt', occurred_at, 'revenue', revenue, 'currency', currency,
                         'properties', properties)::text
  FROM goals_cancellation WHERE {OF_PERSON}
"""


@dataclass(frozen=True, slots=True)
class PersonVisit:
    """A visit with the number of its page views, and the first page."""

    started_at: datetime
    last_at: datetime
    pages: int
    first_page: str


@dataclass(frozen=True, slots=True)
class PersonCustomData:
    """The values of a custom data index of a person. The name is empty without a definition."""

    index: int
    name: str
    values: str


def last_visits(site: Site, person: Sequence[Identity], *, limit: int = LAST_VISITS) -> list[PersonVisit]:
    """Return the latest visits of a person, newest first. One query."""
    with connection.cursor() as cursor:
        cursor.execute(READ, {"site": site.pk, **_holders(person)})
        rows = cursor.fetchall()
    visits = join_stretches(Stretch(started_at, last_at) for _, started_at, last_at, _, _ in rows)
    page_view = ("fact", VisitFact.Type.PAGE_VIEW)
    pages = sorted((at, text or "") for kind, at, _, type_, text in rows if (kind, type_) == page_view)
    return [
        PersonVisit(visit.started_at, visit.last_at, len(own), shorten(own[0], SHOWN_LENGTH) if own else "")
        for visit in reversed(visits[-limit:])
        for own in [[href for at, href in pages if visit.started_at <= at <= visit.last_at]]
    ]


def list_custom_data(site: Site, person: Sequence[Identity]) -> list[PersonCustomData]:
    """Return the custom data of a person by index. One query, if there is any."""
    values = read_custom_values(merge.join(identity.registers for identity in person))
    names = dict(CustomData.objects.filter(site=site, index__in=values).values_list("index", "name")) if values else {}
    return [
        PersonCustomData(index, names.get(index, ""), shorten(_spell(counts), SHOWN_LENGTH))
        for index, counts in sorted(values.items())
    ]


def export_visits(site: Site, person: Sequence[Identity]) -> Iterator[msgspec.Raw]:
    """Yield the facts, activity, exposures and cancellations of a person as JSON. One query, read in pieces."""
    codes = [identity.value for identity in person]
    with connection.chunked_cursor() as cursor:
        cursor.execute(EXPORT, {"site": site.pk, "codes": codes, "types": TYPE_NAMES})
        while rows := cursor.fetchmany(CHUNK_ROWS):
            yield from (msgspec.Raw(text.encode()) for (text,) in rows)


def _holders(person: Sequence[Identity]) -> dict[str, list[Any]]:
    """Return the visitor codes and users of a person, of many only the first ones."""
    holders = [identity for identity in person if identity.kind != Identity.Kind.ANONYMOUS][:MOST_CODES]
    return {
        "codes": [identity.value for identity in holders],
        "users": [identity.kind == Identity.Kind.USER for identity in holders],
    }


def _spell(counts: Mapping[str, int]) -> str:
    return ", ".join(value if count == 1 else f"{value} ({count})" for value, count in counts.items())
