"""Finding people, personas and groups: what pages read, by an index or of a bounded number of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from django.db import connection

from cohorts import remote_data
from cohorts.models import Identity, Username

MOST_SCANNED: Final = 20_000  # identities that a page of members looks at
MOST_COUNTED: Final = 20_000  # and that the sizes of personas are counted of
PAGE: Final = 50

Place = tuple[int, str]  # (kind, value): after this identity goes the next page


@dataclass(frozen=True, slots=True)
class Members:
    """A page of the identities that are in a persona or a group."""

    identities: list[Identity]
    next: Place | None  # more may follow after it


def find_person(site_id: int, ids: Sequence[str], *, most: int = remote_data.MOST_POINTING) -> list[Identity]:
    """All identities of whoever these ids name, as remote data finds them, users first. One query.

    `most` identities at most that point at one are followed.
    """
    asked = {**remote_data.parameters([(site_id, id_) for id_ in ids]), "most": most}
    return list(
        Identity.objects.raw(
            # As an array: the planner would join the whole table with so many rows as it expects of the walk.
            f"""
            {remote_data.PERSON}
            SELECT * FROM cohorts_identity WHERE id = ANY(ARRAY(SELECT id FROM person)) ORDER BY kind, value
            """,
            asked,
        )
    )


def find_by_any(site_id: int, text: str) -> list[Identity]:
    """The identities that have this id, of any kind, or whose username it is. Three queries."""
    owner = Username.objects.filter(site_id=site_id, name=text).values_list("user_value", flat=True).first()
    found = list(Identity.objects.filter(site_id=site_id, kind__in=Identity.Kind.values, value=text).order_by("kind"))
    if owner is not None:
        found += Identity.objects.filter(site_id=site_id, kind=Identity.Kind.USER, value=owner).exclude(value=text)
    return found


def newest(site_id: int, *, limit: int) -> list[Identity]:
    """The identities that were met last, among the newest 2,000 of all sites. One query."""
    last = Identity.objects.order_by("-pk").values("pk")[:2_000]
    return list(Identity.objects.filter(pk__in=last, site_id=site_id).order_by("-pk")[:limit])


def sizes(site_id: int) -> tuple[dict[str, int], bool]:
    """How many identities are in each persona, by its name, and whether all of the site were looked at. One query.

    An index would have to be written with every change of an identity; 20,000 of them are read in some 100 ms.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH seen AS MATERIALIZED (
                SELECT registers -> 'personas' AS personas FROM cohorts_identity
                 WHERE site_id = %(site)s AND kind IN (1, 2, 3) ORDER BY kind, value LIMIT %(most)s
            )
            SELECT name, count(*) FILTER (WHERE register -> 3 = 'true'), (SELECT count(*) FROM seen)
              FROM seen, jsonb_each(personas) AS each (name, register)
             GROUP BY name
            """,
            {"site": site_id, "most": MOST_COUNTED},
        )
        rows = cursor.fetchall()
    return {row[0]: row[1] for row in rows}, not rows or rows[0][2] < MOST_COUNTED


def spoken_of(persona_ids: Sequence[int]) -> dict[int, tuple[datetime, datetime]]:
    """When events first and last said of these personas that somebody is in or out. One query, by the index."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT p.id, first.occurred_at, last.occurred_at FROM unnest(%s::bigint[]) AS p (id)
              JOIN LATERAL (
                SELECT occurred_at FROM cohorts_personafact f WHERE f.persona_id = p.id ORDER BY occurred_at LIMIT 1
              ) AS first ON true
              JOIN LATERAL (
                SELECT occurred_at FROM cohorts_personafact f
                 WHERE f.persona_id = p.id ORDER BY occurred_at DESC LIMIT 1
              ) AS last ON true
            """,
            [list(persona_ids)],
        )
        return {row[0]: (row[1], row[2]) for row in cursor.fetchall()}


def members(
    site_id: int, of: Literal["personas", "group"], name: str, *, after: Place | None, limit: int = PAGE
) -> Members:
    """A page of those that are in a persona or a group now, by kind and value. Two queries.

    It looks at 20,000 identities at most, so that a page may be short, or empty, and more follow.
    """
    condition = "registers #> ARRAY['personas', %(name)s, '3'] = 'true'"
    if of == "group":
        condition = "registers #>> '{group,3}' = %(name)s"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH seen AS MATERIALIZED (
                SELECT id, kind, value, {condition} AS is_in FROM cohorts_identity
                 WHERE site_id = %(site)s AND (kind, value) > (%(kind)s, %(value)s)
                 ORDER BY kind, value LIMIT %(most)s
            ), found AS (
                SELECT id, kind, value FROM seen WHERE is_in ORDER BY kind, value LIMIT %(limit)s
            )
            SELECT id, kind, value, true FROM found
             UNION ALL
            (SELECT id, kind, value, false FROM seen
              WHERE (SELECT count(*) FROM seen) = %(most)s ORDER BY kind DESC, value DESC LIMIT 1)
            """,
            {
                "site": site_id,
                "name": name,
                "kind": after[0] if after else 0,
                "value": after[1] if after else "",
                "most": MOST_SCANNED,
                "limit": limit + 1,
            },
        )
        rows = cursor.fetchall()
    found = [row for row in rows if row[3]]
    last_seen = next(((row[1], row[2]) for row in rows if not row[3]), None)
    identities = Identity.objects.in_bulk([row[0] for row in found[:limit]])
    return Members(
        [identities[row[0]] for row in found[:limit] if row[0] in identities],
        (found[limit - 1][1], found[limit - 1][2]) if len(found) > limit else last_seen,
    )


def visitor_codes(identities: Sequence[Identity]) -> list[str]:
    """The codes that conversions of these identities may count for: theirs, and those first linked to them. Pure."""
    linked = (identity.registers["visitor"][3] for identity in identities if "visitor" in identity.registers)
    return list(dict.fromkeys([*(identity.value for identity in identities), *linked]))
