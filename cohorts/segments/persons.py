"""Persons whose segments are evaluated: all identities that lead to one root, joined.

The root is the identity at the end of the owners, of a ring of aliases the smallest. It identifies the person: its
row is locked while memberships change, and they are kept at it. An identity that moves leads to another root from
then on, so that both persons are evaluated again.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from django.db import connection

from cohorts import merge
from cohorts.changes import IdentityKey
from cohorts.identities import as_columns
from cohorts.models import SIZE, Identity

MOST_POINTING: Final = 100  # identities that point at one and are read; remote data reads more of one person
MOST_OF_PERSON: Final = 200  # identities, the nearest to the root
PERSON_BYTES: Final = 4_194_304  # of their registers; the nearest to the root are read
MOST_BYTES: Final = 33_554_432  # of the registers that one query returns

# From identities to their owners, and so on. UNION ends where aliases form a ring.
WALK_UP: Final = """
WITH RECURSIVE up AS (
    SELECT i.* FROM unnest(%(kinds)b::smallint[], %(values)b::text[]) AS k (kind, value), LATERAL (
        SELECT i.kind, i.value, i.parent_kind, i.parent_value FROM cohorts_identity i
         WHERE i.site_id = %(site)b AND i.kind = k.kind AND i.value = k.value OFFSET 0
    ) AS i
     UNION
    SELECT i.* FROM up, LATERAL (
        SELECT i.kind, i.value, i.parent_kind, i.parent_value FROM cohorts_identity i
         WHERE i.site_id = %(site)b AND i.kind = up.parent_kind AND i.value = up.parent_value OFFSET 0
    ) AS i
)
SELECT kind, value, parent_kind, parent_value FROM up
"""
# Each person is walked by itself from its root, as in cohorts.remote_data, where the reasons for this form are.
WALK_DOWN: Final = f"""
WITH person AS (
    SELECT asked.place, its.*
      FROM unnest(%(kinds)b::smallint[], %(values)b::text[]) WITH ORDINALITY AS asked (kind, value, place)
     CROSS JOIN LATERAL (
        WITH RECURSIVE walk AS (
            SELECT root.* FROM (
                SELECT i.ctid AS row, i.id, i.kind, i.value, {SIZE} AS size FROM cohorts_identity i
                 WHERE i.site_id = %(site)b AND i.kind = asked.kind AND i.value = asked.value OFFSET 0
            ) AS root
            UNION
            SELECT next.*
              FROM walk
              JOIN LATERAL (
                SELECT i.ctid AS row, i.id, i.kind, i.value, {SIZE} AS size FROM cohorts_identity i
                 WHERE i.site_id = %(site)b
                   AND i.parent_kind = ANY (ARRAY[nullif(walk.kind, {Identity.Kind.VISITOR})])
                   AND i.parent_value = walk.value
                 ORDER BY i.parent_kind, i.id
                 LIMIT %(most)b
              ) AS next ON true
        )
        SELECT *, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS so_far FROM (SELECT * FROM walk LIMIT %(in_all)b) AS its
     ) AS its
)
SELECT person.place, person.id, person.kind, person.value, person.all_so_far > {MOST_BYTES},
       CASE WHEN person.all_so_far <= {MOST_BYTES} OR person.place = 1 THEN
       (SELECT i.registers::text FROM cohorts_identity i WHERE i.site_id = %(site)b AND i.ctid = person.row) END
  FROM (SELECT *, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS all_so_far FROM person
         WHERE so_far <= {PERSON_BYTES} OR so_far = size) AS person
"""


@dataclass(frozen=True, slots=True)
class JoinedPerson:
    """A person: its root, its identities and their joined registers."""

    root: IdentityKey
    root_id: int
    ids: Sequence[int]
    keys: Sequence[IdentityKey]  # of these identities
    codes: Sequence[str]  # visitor codes for which its conversions count
    registers: merge.Registers = field(default_factory=dict)


def find_roots(site_id: int, keys: Collection[IdentityKey]) -> dict[IdentityKey, IdentityKey]:
    """Return the root of each of these identities that exist. One query, if there are any."""
    if not keys:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(WALK_UP, {"site": site_id, **as_columns(keys)})
        parents: dict[IdentityKey, IdentityKey | None] = {
            (kind, value): None if parent_kind is None else (parent_kind, parent_value)
            for kind, value, parent_kind, parent_value in cursor.fetchall()
        }
    return {key: find_root(key, parents) for key in keys if key in parents}


def find_root(key: IdentityKey, parents: Mapping[IdentityKey, IdentityKey | None]) -> IdentityKey:
    """Return the end of the owners of an identity, of a ring the smallest. Pure."""
    path: dict[IdentityKey, None] = {}
    while key not in path:
        path[key] = None
        parent = parents[key]
        if parent is None or parent not in parents:  # the owner was erased
            return key
        key = parent
    ring = list(path)
    return min(ring[ring.index(key) :], key=lambda each: (each[0], each[1].encode()))


def load_persons(site_id: int, roots: Iterable[IdentityKey]) -> list[JoinedPerson]:
    """Return the persons of these roots; those without a row are left out. One query for each 32 MiB of registers."""
    to_do = list(roots)
    persons: list[JoinedPerson] = []
    while to_do:
        found, to_do = _load_some(site_id, to_do)
        persons += found
    return persons


def _load_some(site_id: int, roots: Sequence[IdentityKey]) -> tuple[list[JoinedPerson], list[IdentityKey]]:
    """Return the persons of the first of these roots, and the roots that are left."""
    with connection.cursor() as cursor:
        limits = {"most": MOST_POINTING, "in_all": MOST_OF_PERSON}
        cursor.execute(WALK_DOWN, {"site": site_id, **as_columns(roots), **limits})
        rows = cursor.fetchall()
    unread = {place for place, _, _, _, is_beyond, _ in rows if is_beyond and place > 1}
    by_place = defaultdict[int, list[tuple[int, int, str, str]]](list)
    for place, id_, kind, value, _, text in rows:
        if place not in unread:
            by_place[place].append((id_, kind, value, text))
    persons = [_join(roots[place - 1], its) for place, its in by_place.items()]
    return persons, [roots[place - 1] for place in sorted(unread)]


def _join(root: IdentityKey, rows: Sequence[tuple[int, int, str, str]]) -> JoinedPerson:
    registers = merge.join(msgspec.json.decode(text) for *_, text in rows)
    (root_id,) = (id_ for id_, kind, value, _ in rows if (kind, value) == root)
    codes = sorted({value for _, _, value, _ in rows})
    keys = [(kind, value) for _, kind, value, _ in rows]
    return JoinedPerson(root, root_id, [id_ for id_, *_ in rows], keys, codes, registers)
