"""Selection of messages for a batch: each query locks rows that no worker has claimed or set aside."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

import msgspec
from django.db import connection

from api.digest.derivation import COLUMNS, StoredMessage
from api.digest.held_locks import NeededLock
from api.http.chunks import CHUNK_BYTES

THESE: Final = "site_id = %(site)s AND id = ANY(%(ids)b::bigint[]) AND id BETWEEN %(first)s AND %(last)s"


class ClaimedMessage(msgspec.Struct, frozen=True):
    """A claimed message, with the state that earlier attempts left."""

    stored: StoredMessage
    attempts: int
    effects: frozenset[str]
    warnings: frozenset[str]

    @property
    def id(self) -> int:
        return self.stored.id


def claim_pending(site_id: int, first: int, limit: int, aside: Sequence[int]) -> list[int]:
    return _claim(
        site_id, first, "status = 'pending' AND attempts = 0 ORDER BY id LIMIT %(limit)s", {"limit": limit}, aside
    )


def claim_again(site_id: int, due: Mapping[NeededLock, Sequence[int]], _aside: Sequence[int]) -> list[int]:
    """Claim one message of each lock, the first that no other worker has."""
    ids = [id_ for messages in due.values() for id_ in messages]
    condition = "status IN ('pending', 'deferred') AND id = ANY(%(ids)b::bigint[]) ORDER BY id"
    free = set(_claim(site_id, min(ids, default=0), condition, {"ids": ids}, ()))
    return sorted(
        {next(id_ for id_ in messages if id_ in free) for messages in due.values() if not free.isdisjoint(messages)}
    )


def claim_suspect(site_id: int, first: int, now: datetime, aside: Sequence[int]) -> list[int]:
    """Claim one message that failed before, a while after its last attempt."""
    condition = """
        status = 'pending' AND attempts > 0
        AND (digested_at IS NULL OR digested_at < %(now)s - attempts * interval '1 second')
        ORDER BY id LIMIT 1
    """
    return _claim(site_id, first, condition, {"now": now}, aside)


def claim_deferred(site_id: int, first: int, names: Sequence[str], aside: Sequence[int]) -> list[int]:
    condition = """
        status = 'deferred' AND id IN (
            SELECT first.id FROM unnest(%(names)b::text[]) AS n (name)
              JOIN LATERAL (
                SELECT id FROM api_message
                 WHERE site_id = %(site)s AND id >= %(first)s AND status = 'deferred' AND waiting_for = n.name
                 ORDER BY id LIMIT 1
              ) AS first ON true
        ) ORDER BY id
    """
    return _claim(site_id, first, condition, {"names": list(names)}, aside)


def claim_waiting(
    site_id: int, first: int, names: Mapping[str, datetime], limit: int, aside: Sequence[int]
) -> list[int]:
    condition = """
        status = 'deferred' AND id IN (
            SELECT m.id FROM unnest(%(names)b::text[], %(until)b::timestamptz[]) AS n (name, until)
              JOIN api_message m ON m.site_id = %(site)s AND m.id >= %(first)s
                                AND m.status = 'deferred' AND m.waiting_for = n.name
             WHERE m.digested_at < n.until ORDER BY m.id LIMIT %(limit)s
        ) ORDER BY id
    """
    parameters = {"names": list(names), "until": list(names.values()), "limit": limit}
    return _claim(site_id, first, condition, parameters, aside)


def _claim(site_id: int, first: int, condition: str, parameters: Mapping[str, Any], aside: Sequence[int]) -> list[int]:
    """Lock messages of a site, from an id on, that meet a condition and return their ids.

    Messages that another worker has claimed, or that are set aside, are left. Those of a dead worker are left until
    `recover_from_dead_workers` has counted the attempt; afterwards each goes alone. Otherwise a message that kills its
    worker would take its whole batch with it. Bodies are not read, so that the claim is noted before anything large is
    in memory. No more messages are locked than the worker can hold. Partitions before `first` are not even planned. One
    query.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id, size, attempts FROM api_message
             WHERE id NOT IN (SELECT unnest(message_ids) FROM api_claim WHERE site_id = %(site)s
                               UNION ALL SELECT unnest(%(aside)b::bigint[]))
               AND site_id = %(site)s AND id >= %(first)s AND {condition} FOR UPDATE SKIP LOCKED
            """,
            {**parameters, "site": site_id, "first": first, "aside": list(aside)},
        )
        rows = cursor.fetchall()
    suspects = [id_ for id_, _, attempts in rows if attempts]
    if suspects:
        return suspects[:1]
    total = accumulate(size for _, size, _ in rows)
    return [id_ for (id_, _, _), so_far in zip(rows, total, strict=True) if so_far <= CHUNK_BYTES or id_ == rows[0][0]]


def load(site_id: int, ids: Sequence[int]) -> list[ClaimedMessage]:
    """Return these messages of a site in the order of their arrival. Two queries.

    A join would compare each message with each body, as long as PostgreSQL takes a new partition for an empty one. The
    range of the ids keeps other partitions out of the plans.
    """
    parameters: dict[str, Any] = {"site": site_id, "ids": list(ids), "first": min(ids), "last": max(ids)}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, body FROM api_messagebody WHERE {THESE}", parameters)
        bodies = dict(cursor.fetchall())
        cursor.execute(
            f"""
            -- Of nearly all messages they are empty, and psycopg takes longer for an empty array than for NULL.
            SELECT {COLUMNS}, attempts, nullif(effects, '{{}}'), nullif(warnings, '{{}}') FROM api_message
             WHERE {THESE} ORDER BY id
            """,
            parameters,
        )
        return [
            ClaimedMessage(
                StoredMessage.of_row((*row, bodies.get(row[0], b""))),
                attempts,
                frozenset(effects or ()),
                frozenset(warnings or ()),
            )
            for *row, attempts, effects, warnings in cursor.fetchall()
        ]
