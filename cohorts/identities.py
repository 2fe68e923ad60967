"""Rows of identities: locked, read and written in the order of their keys."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from django.db import connection

from cohorts import merge
from cohorts.changes import IdentityKey, Kind, LoadedIdentity
from cohorts.models import SIZE, PersonaFact, SearchText
from cohorts.segment_tables import SegmentChange, SegmentMember, SegmentRecheck
from locks import Lock, waits_for

MOST_BYTES: Final = 8_388_608  # of registers that a batch of several changes reads: some 0.5 s, 100 MB of memory
AT_ONCE: Final = 16_384  # bytes of registers that are read with the lock; larger ones after their sizes are added up
KIND_NAMES = {"user": Kind.USER, "visitor": Kind.VISITOR, "anonymous": Kind.ANONYMOUS}


# In microseconds, of a row of a version that did not keep when it was first seen.
CREATED: Final = """
    CASE WHEN NOT i.registers ? 'first_seen' AND isfinite(i.created_at)
         THEN (extract(epoch FROM i.created_at) * 1000000)::bigint END
"""


class TooManyBytesError(Exception):
    """Raised to roll back and digest fewer messages at once: the registers of their people exceed the memory limit."""


class LostRaceError(Exception):
    """Raised to roll back and digest the batch again, because its identities are not all locked.

    Either another worker inserted one of them at the same moment, or the batch changes the identities of `also`.
    All must be locked in the order of their keys, so that two batches cannot deadlock.
    """

    def __init__(self, also: Iterable[IdentityKey] = ()) -> None:
        super().__init__()
        self.also = frozenset(also)


def lock_identities(
    site_id: int, keys: Sequence[IdentityKey], *, most: int | None = None
) -> dict[IdentityKey, LoadedIdentity]:
    """Return the identities under these keys, those that exist locked in the order of the keys.

    Raises TooManyBytesError before it reads more than about `most` bytes. One query, one more for large identities.
    Each is looked up by itself, in the order of the keys: for a join the planner may read all of the site's identities.
    """
    known: dict[IdentityKey, LoadedIdentity] = {}
    with waits_for(Lock.IDENTITY), connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT k.kind, k.value, its.* FROM unnest(%(kinds)b::smallint[], %(values)b::text[]) AS k (kind, value),
                   LATERAL (
                    SELECT i.id, i.bytes, {SIZE}, CASE WHEN {SIZE} <= {AT_ONCE} THEN i.registers::text END, {CREATED}
                      FROM cohorts_identity i
                     WHERE i.site_id = %(site)b AND i.kind = k.kind AND i.value = k.value
                       FOR UPDATE
                   ) AS its
            """,
            {"site": site_id, **as_columns(keys)},
        )
        rows = cursor.fetchall()
    texts = read_large(
        site_id, "cohorts_identity", [(id_, size, text) for _, _, id_, _, size, text, _ in rows], most=most
    )
    for kind, value, id_, size, _, text, created in rows:
        registers = read_registers(text or texts[id_], is_limited=size is not None)
        known[kind, value] = LoadedIdentity(id_, registers, is_shrunk=size is None and text is None, created=created)
    return known | {key: LoadedIdentity(None, {}) for key in keys if key not in known}


def read_large(
    site_id: int, table: str, rows: Sequence[tuple[int, int, str | None]], *, most: int | None
) -> dict[int, str]:
    """Return the registers of those of the rows (id, size, registers) that came without. One query, if there are any.

    Raises TooManyBytesError if all of them together have more than `most` bytes.
    """
    if most is not None and sum(size for _, size, _ in rows) > most:
        raise TooManyBytesError
    large = [id_ for id_, _, text in rows if text is None]
    if not large:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, registers::text FROM {table} WHERE site_id = %b AND id = ANY(%b::bigint[])", [site_id, large]
        )
        return dict(cursor.fetchall())


def read_registers(text: str, *, is_limited: bool) -> merge.Registers:
    registers: merge.Registers = msgspec.json.decode(text)
    if not is_limited:
        merge.shrink(registers)
    return registers


def find_held(site_id: int, keys: Sequence[IdentityKey]) -> set[IdentityKey]:
    """Return which of these identities other sessions hold; the others are locked. Two queries.

    An identity that another transaction has made and not committed is not seen.
    """
    found: list[set[IdentityKey]] = []
    with connection.cursor() as cursor:
        for lock in ("FOR UPDATE SKIP LOCKED", "OFFSET 0"):
            cursor.execute(
                f"""
                SELECT k.kind, k.value FROM unnest(%(kinds)b::smallint[], %(values)b::text[]) AS k (kind, value),
                       LATERAL (
                        SELECT 1 FROM cohorts_identity i
                         WHERE i.site_id = %(site)b AND i.kind = k.kind AND i.value = k.value {lock}
                       ) AS its
                """,
                {"site": site_id, **as_columns(keys)},
            )
            found.append(set(cursor.fetchall()))
    free, there = found
    return there - free


def as_columns(keys: Collection[IdentityKey]) -> dict[str, list[Any]]:
    kinds, values = zip(*keys, strict=True) if keys else ((), ())
    return {"kinds": list(kinds), "values": list(values)}


def save_identities(site_id: int, identities: dict[IdentityKey, LoadedIdentity]) -> None:
    """Insert new identities and update changed ones, in the order of their keys. Two queries at most."""
    new = {key: identity for key, identity in identities.items() if identity.id is None}
    old = {key: identity for key, identity in identities.items() if identity.id is not None}
    if new:
        _insert(site_id, new)
    if old:
        _update(site_id, old)


def _insert(site_id: int, identities: Mapping[IdentityKey, LoadedIdentity]) -> None:
    """Insert new identities. Raises LostRaceError if another transaction has just inserted one of them.

    This waits for such a transaction. Without ON CONFLICT, PostgreSQL would write the identifier to its log.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO cohorts_identity (site_id, kind, value, registers, bytes, parent_kind, parent_value,
                                          created_at, updated_at)
            SELECT %(site)s, n.kind, n.value, n.registers::jsonb, octet_length(n.registers), n.parent_kind,
                   n.parent_value, now(), now()
              FROM unnest(%(kinds)b::smallint[], %(values)b::text[], %(registers)b::text[],
                          %(parent_kinds)b::smallint[], %(parent_values)b::text[])
                   AS n (kind, value, registers, parent_kind, parent_value)
            ON CONFLICT (site_id, kind, value) DO NOTHING
            RETURNING kind, value, id
            """,
            {"site": site_id, **as_columns(identities), **register_columns(identities.values())},
        )
        if cursor.rowcount != len(identities):
            raise LostRaceError
        for kind, value, id_ in cursor.fetchall():
            identities[kind, value].id = id_
            identities[kind, value].is_new = True


def _update(site_id: int, identities: Mapping[IdentityKey, LoadedIdentity]) -> None:
    """Update identities that this transaction has locked.

    ON CONFLICT finds each by its key. For the join of an UPDATE the planner may read all of the site's identities.
    The time stays if only stamps move, so that the write-ahead log has little more than those stamps.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO cohorts_identity AS i (id, site_id, kind, value, registers, bytes, parent_kind, parent_value,
                                               created_at, updated_at)
            SELECT n.id, %(site)s, n.kind, n.value, n.registers::jsonb, octet_length(n.registers), n.parent_kind,
                   n.parent_value, now(), CASE WHEN n.is_changed THEN now() ELSE 'epoch' END
              FROM unnest(%(row_ids)b::bigint[], %(kinds)b::smallint[], %(values)b::text[], %(registers)b::text[],
                          %(parent_kinds)b::smallint[], %(parent_values)b::text[], %(changed)b::bool[])
                   AS n (id, kind, value, registers, parent_kind, parent_value, is_changed)
            ON CONFLICT (site_id, kind, value) DO UPDATE
               SET registers = excluded.registers, bytes = excluded.bytes, parent_kind = excluded.parent_kind,
                   parent_value = excluded.parent_value, updated_at = greatest(i.updated_at, excluded.updated_at)
            """,
            {
                "site": site_id,
                "row_ids": [identity.id for identity in identities.values()],
                "changed": [identity.is_changed for identity in identities.values()],
                **as_columns(identities),
                **register_columns(identities.values()),
            },
        )


def delete(site_id: int, ids: Sequence[int]) -> int:
    """Delete identities with all that belongs to them alone, and return how many there were. Six queries."""
    for model in (SearchText, PersonaFact, SegmentMember, SegmentChange, SegmentRecheck):
        model.objects.filter(site_id=site_id, identity__in=ids).delete()
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM cohorts_identity WHERE site_id = %b AND id = ANY(%b::bigint[])", [site_id, list(ids)]
        )
        return int(cursor.rowcount)


def register_columns(identities: Iterable[LoadedIdentity]) -> dict[str, list[Any]]:
    """Return the columns registers (as JSON), parent kind and parent value of these identities."""
    identities = list(identities)
    parents = [merge.parent_of(identity.registers) for identity in identities]
    return {
        "registers": [msgspec.json.encode(identity.registers).decode() for identity in identities],
        "parent_kinds": [int(KIND_NAMES[parent[0]]) if parent else None for parent in parents],
        "parent_values": [parent[1] if parent else None for parent in parents],
    }
