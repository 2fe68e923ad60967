"""Notes of the messages that each worker digests, kept outside its transaction.

A message that kills its worker must not do so for ever. A living worker holds a session lock on its number and keeps
one row with the ids of its batch. If the lock of a row is free, its worker died. Other workers leave its messages
alone until the attempt is counted, and then digest them one at a time.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import psycopg
from django.db import connection, transaction

from api.digest.held_locks import HeldLocks
from api.http.database import SessionKind, connect
from api.models import Claim

NUMBERS: Final = 2**62
FROZEN: Final = timedelta(minutes=2)  # the rows of a noted batch are locked while it is digested


class Claims:
    """Notes of one worker, on a separate connection that is opened on first use and replaced when it is lost."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection[Any] | None = None
        self._worker = 0
        self.held_locks = HeldLocks()

    def note(self, site_id: int, message_ids: Sequence[int]) -> None:
        """Note the messages of the batch. One query, committed at once."""
        self._execute(
            """
            INSERT INTO api_claim (site_id, worker, message_ids, claimed_at, server_started_at)
            VALUES (%(site)s, %(worker)s, %(ids)s, clock_timestamp(), pg_postmaster_start_time())
            ON CONFLICT (worker) DO UPDATE SET site_id = excluded.site_id, message_ids = excluded.message_ids,
                                               claimed_at = excluded.claimed_at
            """,
            {"site": site_id, "ids": list(message_ids)},
        )

    def forget(self) -> None:
        """Delete the note. One query."""
        self._execute("DELETE FROM api_claim WHERE worker = %(worker)s", {})

    def close(self) -> None:
        """Release the lock on the worker's number."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> None:
        for attempt in (1, 2):
            try:
                if self._connection is None:
                    self._connection = self._connect()
                self._connection.execute(sql, {**parameters, "worker": self._worker})
            except psycopg.Error:  # a server that has become read-only raises it too
                self.close()  # a note under a living worker's lock would block its messages
                if attempt == 2:  # noqa: PLR2004
                    raise
            else:
                return

    def _connect(self) -> psycopg.Connection[Any]:
        connection = connect(SessionKind.CLAIMS)
        # Losing a note in a crash of PostgreSQL costs nothing: the crash ended the batch as well.
        connection.execute("SET synchronous_commit = off")
        # A lost connection may hold the old number for a while. Its note is not a dead worker's, so delete it.
        connection.execute("DELETE FROM api_claim WHERE worker = %s", [self._worker])
        self._worker = secrets.randbelow(NUMBERS)
        connection.execute("SELECT pg_advisory_lock(%s)", [self._worker])
        return connection


def recover_from_dead_workers(*, attempts: int) -> int:
    """Count a failed attempt for every message that a dead worker had claimed, and return how many there were.

    After `attempts` of them a message is `failed` with the reason `worker_died`. A frozen worker keeps its lock: its
    messages go on once PostgreSQL has ended its transaction. Messages that are still locked are left for the next
    call. One query, and four more for each dead worker.
    """
    recovered = 0
    for worker in Claim.objects.values_list("worker", flat=True):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT site_id, message_ids, server_started_at = pg_postmaster_start_time() FROM api_claim
                 WHERE worker = %s AND (claimed_at < clock_timestamp() - %s * interval '1 second'
                                      OR pg_try_advisory_xact_lock(worker))
                   FOR UPDATE SKIP LOCKED
                """,
                [worker, FROZEN.total_seconds()],
            )
            if (row := cursor.fetchone()) is None:
                continue
            site_id, ids, may_be_killers = row  # not if the worker died with the server
            cursor.execute(
                """
                SELECT id FROM api_message WHERE site_id = %s AND id = ANY(%b::bigint[]) FOR UPDATE SKIP LOCKED
                """,
                [site_id, ids],
            )
            free = [id_ for (id_,) in cursor.fetchall()]
            if may_be_killers:
                recovered += _count_attempt(cursor, site_id, free, attempts=attempts)
            cursor.execute(
                """
                SELECT id FROM api_message
                 WHERE site_id = %s AND id = ANY(%b::bigint[]) AND id <> ALL(%b::bigint[])
                """,
                [site_id, ids, free],
            )
            locked = [id_ for (id_,) in cursor.fetchall()]
            cursor.execute("UPDATE api_claim SET message_ids = %b::bigint[] WHERE worker = %s", [locked, worker])
            cursor.execute("DELETE FROM api_claim WHERE worker = %s AND message_ids = '{}'", [worker])
    return recovered


def _count_attempt(cursor: Any, site_id: int, ids: Sequence[int], *, attempts: int) -> int:
    cursor.execute(
        """
        UPDATE api_message
           SET attempts = attempts + 1,
               status = CASE WHEN attempts + 1 >= %s THEN 'failed' ELSE status END,
               reason = CASE WHEN attempts + 1 >= %s THEN 'worker_died' ELSE reason END,
               digested_at = CASE WHEN attempts + 1 >= %s THEN now() END
         WHERE site_id = %s AND status IN ('pending', 'deferred') AND id = ANY(%b::bigint[])
        """,
        [attempts, attempts, attempts, site_id, ids],
    )
    return int(cursor.rowcount)
