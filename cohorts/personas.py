"""Personas of a site, and the history of each identity's memberships."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from django.db import connection

from cohorts import merge
from cohorts.changes import Change, IdentityKey, LoadedIdentity, persona_fact_of
from cohorts.identities import save_identities
from cohorts.models import Persona
from cohorts.remote_data import MOST_LISTED
from times import EPOCH, RESOLUTION

MOST_HISTORY: Final = 1_000  # times that an identity entered or left a persona, the latest


def save_personas(
    site_id: int, changes: Sequence[Change], known: Mapping[IdentityKey, LoadedIdentity]
) -> AbstractSet[str]:
    """Add new personas to the site's list, and each entry and exit to the history.

    Return the names for which the site's list has no room: they have no history. After the identities were written,
    which are locked. Three queries, if any, two more for personas that are new and for identities with much history.
    """
    said = [(change, fact) for change in changes if (fact := persona_fact_of(change)) is not None]
    if not said:
        return frozenset()
    unlisted = list_new_personas(site_id, list(dict.fromkeys(name for _, (_, name, _) in said)))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO cohorts_personafact (identity_id, persona_id, occurred_at, position, message_id, is_member)
            SELECT f.identity_id, p.id, f.occurred_at, f.position, f.message_id, f.is_member
              FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::timestamptz[], %b::int[], %b::text[],
                          %b::bool[])
                   AS f (site_id, identity_id, name, occurred_at, position, message_id, is_member)
              JOIN cohorts_persona p ON p.site_id = f.site_id AND p.name = f.name
                ON CONFLICT DO NOTHING
            """,
            [
                [site_id] * len(said),
                [known[key].id for _, (key, _, _) in said],
                [name for _, (_, name, _) in said],
                [change.occurred_at for change, _ in said],
                [change.position for change, _ in said],
                [change.message_id for change, _ in said],
                [is_member for _, (_, _, is_member) in said],
            ],
        )
    limit_history(site_id, {key: known[key] for _, (key, _, _) in said})
    return unlisted


def list_new_personas(site_id: int, names: Sequence[str]) -> AbstractSet[str]:
    """Add names to the site's list as far as there is room, and return the others. One query, three for new names.

    First come, first listed: a flood of names leaves those alone that are there, whatever times it claims. Two workers
    at one moment may exceed the limit by a batch.
    """
    listed = Persona.objects.filter(site_id=site_id)
    known = set(listed.filter(name__in=names).values_list("name", flat=True))
    new = [name for name in names if name not in known]
    if not new:
        return frozenset()
    room = max(0, MOST_LISTED - listed[:MOST_LISTED].count())
    added = sorted(new[:room])
    Persona.objects.bulk_create([Persona(site_id=site_id, name=name) for name in added], ignore_conflicts=True)
    return frozenset(new[room:])


def limit_history(site_id: int, identities: Mapping[IdentityKey, LoadedIdentity]) -> None:
    """Keep the latest of the history of each identity, whatever order it came in. One query, two if any has to go."""
    by_id = {identity.id: (key, identity) for key, identity in identities.items()}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM cohorts_personafact WHERE id = ANY(ARRAY(
                SELECT old.id FROM unnest(%b::bigint[]) AS i (id) CROSS JOIN LATERAL (
                    SELECT f.id FROM cohorts_personafact f WHERE f.identity_id = i.id
                     ORDER BY f.occurred_at DESC, f.position DESC, f.message_id COLLATE "C" DESC, f.persona_id DESC,
                              f.is_member DESC
                    OFFSET %b
                ) AS old
            )) RETURNING identity_id, occurred_at
            """,
            [list(by_id), MOST_HISTORY],
        )
        gone = cursor.fetchall()
    dirty = {}
    for id_, occurred_at in gone:
        key, identity = by_id[id_]
        if merge.note_left_out(identity.registers, "history", (occurred_at - EPOCH) // RESOLUTION):
            dirty[key] = identity
    if dirty:
        save_identities(site_id, {key: dirty[key] for key in sorted(dirty)})
