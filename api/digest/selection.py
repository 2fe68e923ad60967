"""Selection of messages for a batch: each query locks rows that no worker has claimed or set aside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

from django.db import connection

from api.digest.derivation import MESSAGE_COLUMNS, StoredMessage
from api.digest.held_locks import NeededLock
from api.http.chunks import CHUNK_BYTES


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A claimed message, with the state that earlier attempts left."""

    stored: StoredMessage
    attempts: int
    effects: frozenset[str]
    warnings: frozenset[str]

    @property
    def id(self) -> int:
        return self.stored.id


def claim_pending(site_id: int, limit: int, aside: Sequence[int]) -> list[int]:
    return _claim("status = 'pending' AND attempts = 0 ORDER BY id LIMIT %s", [site_id, limit], aside)


def claim_again(site_id: int, due: Mapping[NeededLock, Sequence[int]], _aside: Sequence[int]) -> list[int]:
    """Claim one message of each lock, the first that no other worker has."""
    ids = [id_ for messages in due.values() for id_ in messages]
    free = set(_claim("status IN ('pending', 'deferred') AND id = ANY(%b::bigint[]) ORDER BY id", [site_id, ids], ()))
    return sorted(
        {next(id_ for id_ in messages if id_ in free) for messages in due.values() if not free.isdisjoint(messages)}
    )


def claim_suspect(site_id: int, now: datetime, aside: Sequence[int]) -> list[int]:
    """Claim one message that failed before, a while after its last attempt."""
    return _claim(
        """
        status = 'pending' AND attempts > 0
        AND (digested_at IS NULL OR digested_at < %s - attempts * interval '1 second')
        ORDER BY id LIMIT 1
        """,
        [site_id, now],
        aside,
    )


def claim_deferred(site_id: int, names: Sequence[str], aside: Sequence[int]) -> list[int]:
    return _claim(
        """
        status = 'deferred' AND id IN (
            SELECT first.id FROM unnest(%b::text[]) AS n (name)
              JOIN LATERAL (
                SELECT id FROM api_message
                 WHERE site_id = %s AND status = 'deferred' AND waiting_for = n.name
                 ORDER BY id LIMIT 1
              ) AS first ON true
        ) ORDER BY id
        """,
        [site_id, list(names), site_id],
        aside,
    )


def claim_waiting(site_id: int, names: Mapping[str, datetime], limit: int, aside: Sequence[int]) -> list[int]:
    return _claim(
        """
        status = 'deferred' AND id IN (
            SELECT m.id FROM unnest(%b::text[], %b::timestamptz[]) AS n (name, until)
              JOIN api_message m ON m.site_id = %s AND m.status = 'deferred' AND m.waiting_for = n.name
             WHERE m.digested_at < n.until ORDER BY m.id LIMIT %s
        ) ORDER BY id
        """,
        [site_id, list(names), list(names.values()), site_id, limit],
        aside,
    )


def _claim(condition: str, parameters: Sequence[Any], aside: Sequence[int]) -> list[int]:
    """Lock messages of a site that meet a condition and return their ids.

    Messages that another worker has claimed, or that are set aside, are left. Those of a dead worker are left until
    `recover_from_dead_workers` has counted the attempt; afterwards each goes alone. Otherwise a message that kills its
    worker would take its whole batch with it. Bodies are not read, so that the claim is noted before anything large is
    in memory. No more messages are locked than the worker can hold. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT id, octet_length(body), attempts FROM api_message
             WHERE id NOT IN (SELECT unnest(message_ids) FROM api_claim UNION ALL SELECT unnest(%b::bigint[]))
               AND site_id = %s AND {condition} FOR UPDATE SKIP LOCKED
            """,
            [list(aside), *parameters],
        )
        rows = cursor.fetchall()
    suspects = [id_ for id_, _, attempts in rows if attempts]
    if suspects:
        return suspects[:1]
    total = accumulate(size for _, size, _ in rows)
    return [id_ for (id_, _, _), so_far in zip(rows, total, strict=True) if so_far <= CHUNK_BYTES or id_ == rows[0][0]]


def load(ids: Sequence[int]) -> list[ClaimedMessage]:
    """Return these messages in the order of their arrival. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {MESSAGE_COLUMNS}, attempts, effects, warnings
              FROM api_message WHERE id = ANY(%b::bigint[]) ORDER BY id
            """,
            [list(ids)],
        )
        return [
            ClaimedMessage(StoredMessage.of_row(row), attempts, frozenset(effects), frozenset(warnings))
            for *row, attempts, effects, warnings in cursor.fetchall()
        ]
