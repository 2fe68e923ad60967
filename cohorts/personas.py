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
    which are locked. Three queries, if any, three more for personas that are new and for identities with much history.
    """
    said = [(change, fact) for change in changes if (fact := persona_fact_of(change)) is not None]
    if not said:
        return frozenset()
    names = list(dict.fromkeys(name for _, (_, name, _) in said))
    personas = list_new_personas(site_id, names)
    said = [(change, fact) for change, fact in said if fact[1] in personas]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO cohorts_personafact (site_id, identity_id, persona_id, occurred_at, position, message_id,
                                             is_member)
            SELECT %b, f.* FROM unnest(%b::bigint[], %b::bigint[], %b::timestamptz[], %b::int[], %b::text[],
                                       %b::bool[]) AS f
                ON CONFLICT DO NOTHING
            """,
            [
                site_id,
                [known[key].id for _, (key, _, _) in said],
                [personas[name] for _, (_, name, _) in said],
                [change.occurred_at for change, _ in said],
                [change.position for change, _ in said],
                [change.message_id for change, _ in said],
                [is_member for _, (_, _, is_member) in said],
            ],
        )
    limit_history(site_id, {key: known[key] for _, (key, _, _) in said})
    return {name for name in names if name not in personas}


def list_new_personas(site_id: int, names: Sequence[str]) -> dict[str, int]:
    """Add names to the site's list as far as there is room, and return the ids of those listed.

    One query, four for new names. First come, first listed: a flood of names leaves those alone that are there,
    whatever times it claims. Two workers at one moment may exceed the limit by a batch.
    """
    listed = Persona.objects.filter(site_id=site_id)
    ids = dict(listed.filter(name__in=names).values_list("name", "id"))
    new = [name for name in names if name not in ids]
    if new:
        room = max(0, MOST_LISTED - listed[:MOST_LISTED].count())
        added = sorted(new[:room])
        Persona.objects.bulk_create([Persona(site_id=site_id, name=name) for name in added], ignore_conflicts=True)
        ids |= dict(listed.filter(name__in=added).values_list("name", "id"))
    return ids


def limit_history(site_id: int, identities: Mapping[IdentityKey, LoadedIdentity]) -> None:
    """Keep the latest of the history of each identity, whatever order it came in. One query, two if any has to go."""
    by_id = {identity.id: (key, identity) for key, identity in identities.items()}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM cohorts_personafact WHERE site_id = %(site)b AND id = ANY(ARRAY(
                SELECT old.id FROM unnest(%(ids)b::bigint[]) AS i (id) CROSS JOIN LATERAL (
                    SELECT f.id FROM cohorts_personafact f WHERE f.site_id = %(site)b AND f.identity_id = i.id
                     ORDER BY f.occurred_at DESC, f.position DESC, f.message_id COLLATE "C" DESC, f.persona_id DESC,
                              f.is_member DESC
                    OFFSET %(most)b
                ) AS old
            )) RETURNING identity_id, occurred_at
            """,
            {"site": site_id, "ids": list(by_id), "most": MOST_HISTORY},
        )
        gone = cursor.fetchall()
    dirty = {}
    for id_, occurred_at in gone:
        key, identity = by_id[id_]
        if merge.note_left_out(identity.registers, "history", (occurred_at - EPOCH) // RESOLUTION):
            dirty[key] = identity
    if dirty:
        save_identities(site_id, {key: dirty[key] for key in sorted(dirty)})
