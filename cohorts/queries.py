"""Queries of pages for people, groups and personas, each by an index or of a bounded number of rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection

from cohorts import merge, remote_data
from cohorts.models import Identity, Persona

MAIN_TRAITS: Final = ("plan", "tier", "industry", "employees", "website")  # of a group, which lists show first
SHOWN_LENGTH: Final = 60  # characters of such a trait
SHOWN_NAME: Final = 100  # of a group's name


def find_person(site_id: int, ids: Sequence[str], *, most: int = remote_data.MOST_POINTING) -> list[Identity]:
    """Return all identities of the persons of these ids, as remote data finds them, users first. One query.

    At most one more than `most` identities are found. Of those that remote data leaves out, because all
    together they are too large, the registers are empty and `is_unread` is true.
    """
    asked = {**remote_data.parameters(site_id, ids), "most": most, "in_all": 1 + most}
    columns = ", ".join(
        f"i.{field.column}"
        for field in Identity._meta.concrete_fields  # noqa: SLF001 - Django's own way
        if field.name != "registers"
    )
    return list(
        Identity.objects.raw(
            # OFFSET 0, because the planner overestimates the rows of the walk and would join the whole table.
            f"""
            {remote_data.WALK_NEAREST}
            SELECT {columns}, CASE WHEN near.is_read THEN i.registers ELSE '{{}}' END AS registers,
                   NOT near.is_read AS is_unread
              FROM near, LATERAL (
                SELECT * FROM cohorts_identity WHERE site_id = %(site)b AND ctid = near.row OFFSET 0
              ) AS i
             ORDER BY i.kind, i.value
            """,
            asked,
        )
    )


@dataclass(frozen=True, slots=True)
class GroupSummary:
    """A group's name, some of its traits as text, and the number of all, with removed ones."""

    name: str = ""
    main: Sequence[tuple[str, str]] = ()
    traits: int = 0


def load_group_summaries(site_id: int, group_ids: Sequence[int]) -> dict[int, GroupSummary]:
    """Return the summary of each group, with three of its traits that are texts or numbers. One query at most."""
    if not group_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT g.id, coalesce(g.registers #>> '{traits,name,3}', ''),
                   (SELECT count(*) FROM jsonb_object_keys(coalesce(g.registers -> 'traits', '{}'))),
                   ARRAY(SELECT ARRAY[t.key, left(t.value ->> 3, %(length)s)]
                           FROM jsonb_each(coalesce(g.registers -> 'traits', '{}')) AS t
                          WHERE t.key <> 'name' AND jsonb_typeof(t.value -> 3) IN ('string', 'number', 'boolean')
                          ORDER BY array_position(%(first)s::text[], t.key), t.key LIMIT 3)
              FROM cohorts_group g WHERE g.site_id = %(site)s AND g.id = ANY(%(ids)s::bigint[])
            """,
            {"site": site_id, "ids": list(group_ids), "first": list(MAIN_TRAITS), "length": SHOWN_LENGTH},
        )
        return {
            id_: GroupSummary(name[:SHOWN_NAME], [(key, value) for key, value in main], traits)
            for id_, name, traits, main in cursor.fetchall()
        }


def listed_personas(site_id: int, names: Sequence[str]) -> set[str]:
    """Return the personas among these that are in the site's list. One query, by the index."""
    return set(Persona.objects.filter(site_id=site_id, name__in=names).values_list("name", flat=True))


def load_first_and_last_events(site_id: int, persona_ids: Sequence[int]) -> dict[int, tuple[datetime, datetime]]:
    """Return the times of the first and last event of each persona. One query, by the index, if there are personas."""
    if not persona_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT p.id, first.occurred_at, last.occurred_at FROM unnest(%(personas)s::bigint[]) AS p (id)
              JOIN LATERAL (
                SELECT occurred_at FROM cohorts_personafact f
                 WHERE f.site_id = %(site)s AND f.persona_id = p.id ORDER BY occurred_at LIMIT 1
              ) AS first ON true
              JOIN LATERAL (
                SELECT occurred_at FROM cohorts_personafact f
                 WHERE f.site_id = %(site)s AND f.persona_id = p.id ORDER BY occurred_at DESC LIMIT 1
              ) AS last ON true
            """,
            {"site": site_id, "personas": list(persona_ids)},
        )
        return {row[0]: (row[1], row[2]) for row in cursor.fetchall()}


def visitor_codes(identities: Sequence[Identity]) -> list[str]:
    """Return the visitor codes to which conversions of these identities may belong. Pure."""
    linked = (
        identity.registers[name][3] for identity in identities for name in merge.EARLIEST if name in identity.registers
    )
    return list(dict.fromkeys([*(identity.value for identity in identities), *linked]))
