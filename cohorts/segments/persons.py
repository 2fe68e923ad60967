"""Persons whose segments are evaluated: all identities that lead to one root, joined.

The root is the identity at the end of the owners, of a ring of aliases the smallest. It identifies the person: its
row is locked while memberships change, and they are kept at it. An identity that moves leads to another root from
then on, so that both persons are evaluated again.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

import msgspec
from django.db import connection

from cohorts import merge
from cohorts.changes import OWNERS, Fact, IdentityKey, LoadedIdentity
from cohorts.identities import CREATED, as_columns
from cohorts.models import SIZE, Identity

READ_BYTES: Final = 16_777_216  # of registers that one query returns

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
# The identities that point at each of these, in the order of the index. `ANY` and the sort make the planner choose that
# index also without statistics (cohorts.remote_data).
POINTING: Final = f"""
SELECT asked.place, its.* FROM unnest(%(places)b::int[], %(kinds)b::smallint[], %(values)b::text[])
       AS asked (place, kind, value), LATERAL (
    SELECT i.id, i.kind, i.value, {SIZE} FROM cohorts_identity i
     WHERE i.site_id = %(site)b AND i.parent_kind = ANY (ARRAY[asked.kind]) AND i.parent_value = asked.value
     ORDER BY i.parent_kind, i.id
     LIMIT %(most)b
) AS its
"""
THEMSELVES: Final = f"""
SELECT asked.place, its.* FROM unnest(%(places)b::int[], %(kinds)b::smallint[], %(values)b::text[])
       AS asked (place, kind, value), LATERAL (
    SELECT i.id, i.kind, i.value, {SIZE} FROM cohorts_identity i
     WHERE i.site_id = %(site)b AND i.kind = asked.kind AND i.value = asked.value OFFSET 0
) AS its
"""
Known = Mapping[IdentityKey, LoadedIdentity]  # identities that are locked and as the transaction wrote them
NONE_KNOWN: Final[Known] = {}
NOTHING_WATCHED: Final[Mapping[IdentityKey, AbstractSet[Fact]]] = {}


@dataclass(frozen=True, slots=True)
class JoinedPerson:
    """A person: its root, its identities and their joined registers."""

    root: IdentityKey
    root_id: int
    ids: Sequence[int]
    keys: Sequence[IdentityKey]  # of these identities
    codes: Sequence[str]  # visitor codes for which its conversions count
    registers: merge.Registers = field(default_factory=dict)
    first_seen: int | None = None  # in microseconds, as registers have it
    last_seen: int | None = None
    shared: AbstractSet[Fact] = frozenset()  # watched facts that several of its identities have


def find_keys_of(site_id: int, codes: Collection[str]) -> dict[str, IdentityKey]:
    """Return the identity of each id: as user, then visitor, then anonymous id, as remote data does. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT its.* FROM unnest(%(codes)b::text[]) AS asked (code) CROSS JOIN LATERAL (
                SELECT i.kind, i.value FROM cohorts_identity i
                 WHERE i.site_id = %(site)b AND i.kind IN (1, 2, 3) AND i.value = asked.code ORDER BY i.kind LIMIT 1
            ) AS its
            """,
            {"site": site_id, "codes": list(codes)},
        )
        return {value: (kind, value) for kind, value in cursor.fetchall()}


def find_roots(
    site_id: int, keys: Collection[IdentityKey], known: Known = NONE_KNOWN
) -> dict[IdentityKey, IdentityKey]:
    """Return the root of each of these identities that exist. One query, if one is not known."""
    parents: dict[IdentityKey, IdentityKey | None] = {}
    to_read = set[IdentityKey]()
    to_do = list(keys)
    while to_do:
        key = to_do.pop()
        if key in parents or key in to_read:
            continue
        identity = known.get(key)
        if identity is None:
            to_read.add(key)
        elif identity.id is not None:
            parent = merge.parent_of(identity.registers)
            parents[key] = None if parent is None else (OWNERS[parent[0]], parent[1])
            to_do += [] if parent is None else [(OWNERS[parent[0]], parent[1])]
    if to_read:
        with connection.cursor() as cursor:
            cursor.execute(WALK_UP, {"site": site_id, **as_columns(to_read)})
            for kind, value, parent_kind, parent_value in cursor.fetchall():
                parents[kind, value] = None if parent_kind is None else (parent_kind, parent_value)
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


@dataclass(slots=True)
class _Walk:
    """The walk from a root to the identities of its person."""

    root: IdentityKey
    ids: dict[IdentityKey, int] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)  # of registers that are to be read
    parts: list[merge.Registers] = field(default_factory=list)  # registers with facts
    seen: merge.Registers = field(default_factory=dict)  # the first and last time
    holders: dict[Fact, int] = field(default_factory=dict)  # identities that have a watched fact

    def add(self, registers: merge.Registers, watched: AbstractSet[Fact], *, created: int | None) -> None:
        """Add the registers of an identity. A row that does not say when it was first seen has its time of creation."""
        for name, at in ((merge.FIRST_SEEN, created), (merge.LAST_SEEN, None)):
            if (known := registers.get(name, at)) is not None:
                merge.set_seen(self.seen, name, known)
        if not merge.HOLD_FACTS.isdisjoint(registers):
            self.parts.append(registers)
            for fact in watched:
                if has_fact(registers, fact):
                    self.holders[fact] = self.holders.get(fact, 0) + 1

    @property
    def has_shared(self) -> bool:
        return any(holders > 1 for holders in self.holders.values())

    def join(self) -> merge.Registers:
        # Each identity is within the limits by itself. A common limit would let one fact push another out.
        return self.parts[0] if len(self.parts) == 1 else merge.join(self.parts, most={})


def load_persons(site_id: int, roots: Iterable[IdentityKey]) -> list[JoinedPerson]:
    """Return the persons of these roots with all their identities; those without a row are left out.

    A query for each step of the walk, mostly three, and one for each 16 MiB of registers.
    """
    return load_ordinary(site_id, list(roots), most=None)[0]


def load_ordinary(
    site_id: int,
    roots: Sequence[IdentityKey],
    *,
    most: int | None,
    known: Known = NONE_KNOWN,
    watched: Mapping[IdentityKey, AbstractSet[Fact]] = NOTHING_WATCHED,
    only_if_shared: AbstractSet[IdentityKey] = frozenset(),
) -> tuple[list[JoinedPerson], list[int]]:
    """Return the persons of at most `most` identities, and the ids of the roots of the others.

    `watched` has facts by root. Persons of `only_if_shared` are left out unless several identities have one of these.
    What is known costs no query.
    """
    walks = {place: _Walk(root) for place, root in enumerate(roots)}
    found = _find_themselves(site_id, walks, known)
    while found:
        pointing = list[tuple[int, IdentityKey]]()
        for place, id_, kind, value, size in found:
            walk, key = walks[place], (kind, value)
            if key in walk.ids:  # in a ring
                continue
            walk.ids[key] = id_
            identity = known.get(key)
            if identity is None:
                walk.sizes[id_] = size
            else:
                walk.add(identity.registers, watched.get(walk.root, frozenset()), created=identity.created)
            if kind != Identity.Kind.VISITOR:  # nothing points at a visitor code
                pointing.append((place, key))
        pointing = [each for each in pointing if most is None or len(walks[each[0]].ids) <= most]
        found = _read(POINTING, site_id, pointing, most=None if most is None else most + 1)
    persons = [walk for walk in walks.values() if walk.ids]
    ordinary = [walk for walk in persons if most is None or len(walk.ids) <= most]
    _read_registers(site_id, ordinary, watched)
    large = [walk.ids[walk.root] for walk in persons if most is not None and len(walk.ids) > most]
    return [_join(walk) for walk in ordinary if walk.root not in only_if_shared or walk.has_shared], large


_Found = list[tuple[int, int, int, str, int]]  # place, id, kind, value, size of the registers


def _find_themselves(site_id: int, walks: Mapping[int, _Walk], known: Known) -> _Found:
    """Return the rows of the roots. One query, if one is not known."""
    found: _Found = []
    to_read = list[tuple[int, IdentityKey]]()
    for place, walk in walks.items():
        identity = known.get(walk.root)
        if identity is None:
            to_read.append((place, walk.root))
        elif identity.id is not None:
            found.append((place, identity.id, *walk.root, 0))
    return found + _read(THEMSELVES, site_id, to_read, most=None)


def _read(statement: str, site_id: int, asked: Sequence[tuple[int, IdentityKey]], *, most: int | None) -> _Found:
    if not asked:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "site": site_id,
                "places": [place for place, _ in asked],
                **as_columns([key for _, key in asked]),
                "most": most,
            },
        )
        found: _Found = cursor.fetchall()
        return found


def _read_registers(site_id: int, walks: Iterable[_Walk], watched: Mapping[IdentityKey, AbstractSet[Fact]]) -> None:
    """Read the registers of identities that are not known. Join those of each person after each query."""
    walk_of = {id_: walk for walk in walks for id_ in walk.sizes}
    for ids in _split([(id_, walk.sizes[id_]) for id_, walk in walk_of.items()]):
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT i.id, i.registers::text, {CREATED} FROM cohorts_identity i
                 WHERE i.site_id = %b AND i.id = ANY(%b::bigint[])
                """,
                [site_id, ids],
            )
            for id_, text, created in cursor.fetchall():
                walk = walk_of[id_]
                walk.add(msgspec.json.decode(text), watched.get(walk.root, frozenset()), created=created)
        for walk in {id(walk): walk for walk in map(walk_of.__getitem__, ids)}.values():
            walk.parts = [walk.join()] if len(walk.parts) > 1 else walk.parts


def _split(sized: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    """Yield ids whose sizes together are within a limit, at least one."""
    ids, bytes_ = list[int](), 0
    for id_, size in sized:
        if ids and bytes_ + size > READ_BYTES:
            yield ids
            ids, bytes_ = [], 0
        ids.append(id_)
        bytes_ += size
    if ids:
        yield ids


def has_fact(registers: merge.Registers, fact: Fact) -> bool:
    """Return True if an identity has a fact."""
    name, key = fact
    return name in registers and (name not in merge.MAPS or key in registers[name])


def _join(walk: _Walk) -> JoinedPerson:
    return JoinedPerson(
        walk.root,
        walk.ids[walk.root],
        list(walk.ids.values()),
        list(walk.ids),
        sorted({value for _, value in walk.ids}),
        walk.join(),
        walk.seen.get(merge.FIRST_SEEN),
        walk.seen.get(merge.LAST_SEEN),
        {fact for fact, holders in walk.holders.items() if holders > 1},
    )
