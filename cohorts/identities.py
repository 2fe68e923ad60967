"""Rows of identities: locked, read and written in the order of their keys."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from django.db import connection

from cohorts import merge
from cohorts.changes import IdentityKey, Kind, LoadedIdentity
from cohorts.models import SIZE
from locks import Lock, waits_for

MOST_BYTES: Final = 8_388_608  # of registers that a batch of several changes reads: some 0.5 s, 100 MB of memory
AT_ONCE: Final = 16_384  # bytes of registers that are read with the lock; larger ones after their sizes are added up
KIND_NAMES = {"user": Kind.USER, "visitor": Kind.VISITOR, "anonymous": Kind.ANONYMOUS}
IDENTITIES: Final = """
    unnest(%b::bigint[], %b::smallint[], %b::text[]) AS k (site_id, kind, value)
      JOIN cohorts_identity i ON i.site_id = k.site_id AND i.kind = k.kind AND i.value = k.value
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
    The site is part of each key: as a constant it would let the planner read all of the site's identities.
    """
    known = {key: LoadedIdentity(None, {}) for key in keys}
    with waits_for(Lock.IDENTITY), connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT i.kind, i.value, i.id, i.bytes, {SIZE}, CASE WHEN {SIZE} <= {AT_ONCE} THEN i.registers::text END
              FROM {IDENTITIES}
             ORDER BY i.kind, i.value COLLATE "C"
               FOR UPDATE OF i
            """,
            as_columns(site_id, keys),
        )
        rows = cursor.fetchall()
    texts = read_large("cohorts_identity", [(id_, size, text) for _, _, id_, _, size, text in rows], most=most)
    for kind, value, id_, size, _, text in rows:
        registers = read_registers(text or texts[id_], is_limited=size is not None)
        known[kind, value] = LoadedIdentity(id_, registers, is_shrunk=size is None and text is None)
    return known


def read_large(table: str, rows: Sequence[tuple[int, int, str | None]], *, most: int | None) -> dict[int, str]:
    """Return the registers of those of the rows (id, size, registers) that came without. One query, if there are any.

    Raises TooManyBytesError if all of them together have more than `most` bytes.
    """
    if most is not None and sum(size for _, size, _ in rows) > most:
        raise TooManyBytesError
    large = [id_ for id_, _, text in rows if text is None]
    if not large:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, registers::text FROM {table} WHERE id = ANY(%b::bigint[])", [large])
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
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT i.kind, i.value FROM {IDENTITIES} FOR UPDATE OF i SKIP LOCKED", as_columns(site_id, keys)
        )
        free = set(cursor.fetchall())
        cursor.execute(f"SELECT i.kind, i.value FROM {IDENTITIES}", as_columns(site_id, keys))
        return set(cursor.fetchall()) - free


def as_columns(site_id: int, keys: Sequence[IdentityKey]) -> list[list[Any]]:
    return [[site_id] * len(keys), [kind for kind, _ in keys], [value for _, value in keys]]


def save_identities(site_id: int, identities: dict[IdentityKey, LoadedIdentity]) -> None:
    """Insert new identities and update changed ones, in the order of their keys. Two queries at most."""
    new = {key: identity for key, identity in identities.items() if identity.id is None}
    old = {key: identity for key, identity in identities.items() if identity.id is not None}
    with connection.cursor() as cursor:
        if new:
            # If another transaction inserts one of these keys at the same moment, this waits for it, and it wins.
            cursor.execute(
                """
                INSERT INTO cohorts_identity (site_id, kind, value, registers, bytes, parent_kind, parent_value,
                                              created_at, updated_at)
                SELECT %s, i.kind, i.value, i.registers::jsonb, octet_length(i.registers), i.parent_kind,
                       i.parent_value, now(), now()
                  FROM unnest(%b::smallint[], %b::text[], %b::text[], %b::smallint[], %b::text[])
                       AS i (kind, value, registers, parent_kind, parent_value)
                ON CONFLICT (site_id, kind, value) DO NOTHING RETURNING kind, value, id
                """,
                [site_id, [kind for kind, _ in new], [value for _, value in new], *register_columns(new.values())],
            )
            if cursor.rowcount != len(new):
                raise LostRaceError
            for kind, value, id_ in cursor.fetchall():
                new[kind, value].id = id_
        if old:
            cursor.execute(
                """
                UPDATE cohorts_identity AS i
                   SET registers = n.registers::jsonb, bytes = octet_length(n.registers),
                       parent_kind = n.parent_kind, parent_value = n.parent_value, updated_at = now()
                  FROM unnest(%b::bigint[], %b::text[], %b::smallint[], %b::text[])
                       AS n (id, registers, parent_kind, parent_value)
                 WHERE i.id = n.id
                """,
                [[identity.id for identity in old.values()], *register_columns(old.values())],
            )


def register_columns(identities: Iterable[LoadedIdentity]) -> list[list[Any]]:
    """Return the columns registers (as JSON), parent kind and parent value of these identities."""
    identities = list(identities)
    parents = [merge.parent_of(identity.registers) for identity in identities]
    return [
        [msgspec.json.encode(identity.registers).decode() for identity in identities],
        [int(KIND_NAMES[parent[0]]) if parent else None for parent in parents],
        [parent[1] if parent else None for parent in parents],
    ]
