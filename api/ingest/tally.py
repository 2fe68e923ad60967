"""What came in through each source: the inbox adds a row a commit and source; here these become one an hour."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection

CHUNK: Final = 5_000


@dataclass(frozen=True, slots=True)
class Figures:
    """What came in through a source: messages, duplicates and those refused at the door among them."""

    received: int = 0
    duplicates: int = 0
    rejected: int = 0
    last_received_at: datetime | None = None


def figures(source_ids: Collection[int], *, since: datetime | None = None) -> dict[int, Figures]:
    """The figures of these sources, in whole hours from the one of `since`, else of all time. One query.

    A source through which nothing came is not in it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT source_id, sum(received)::bigint, sum(duplicates)::bigint, sum(rejected)::bigint,
                   max(last_received_at)
              FROM api_sourcetally
             WHERE source_id = ANY(%b::bigint[]) AND hour >= coalesce(date_trunc('hour', %s, 'UTC'), '-infinity')
             GROUP BY source_id
            """,
            [list(source_ids), since],
        )
        return {source_id: Figures(*found) for source_id, *found in cursor.fetchall()}


def compact(*, seconds: float) -> int:
    """Make the rows of each source and hour one, for some seconds; how many rows went. One look at the whole table.

    Each chunk is its own short transaction. Nobody waits for it: what is inserted meanwhile is left for the next time,
    and what another one has in hand is left to it.
    """
    until = time.monotonic() + seconds
    gone = 0
    for source_id, hour in _crowds():
        taken = CHUNK
        while taken == CHUNK:
            if time.monotonic() > until:
                return gone
            taken = _merge(source_id, hour)
            gone += max(0, taken - 1)
    return gone


def _crowds() -> list[tuple[int, datetime]]:
    """The sources and hours that have several rows."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT source_id, hour FROM api_sourcetally GROUP BY source_id, hour HAVING count(*) > 1")
        return [(source_id, hour) for source_id, hour in cursor.fetchall()]


def _merge(source_id: int, hour: datetime) -> int:
    """Put one row in the place of a chunk of them; how many they were. What is deleted is what is summed."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS (
                DELETE FROM api_sourcetally WHERE id = ANY(ARRAY(
                    SELECT id FROM api_sourcetally WHERE source_id = %s AND hour = %s
                     LIMIT %s FOR UPDATE SKIP LOCKED))
                RETURNING received, duplicates, rejected, last_received_at
            ), made AS (
                INSERT INTO api_sourcetally (source_id, hour, received, duplicates, rejected, last_received_at)
                SELECT %s, %s, sum(received), sum(duplicates), sum(rejected), max(last_received_at)
                  FROM gone HAVING count(*) > 0
            )
            SELECT count(*) FROM gone
            """,
            [source_id, hour, CHUNK, source_id, hour],
        )
        return int(cursor.fetchone()[0])
