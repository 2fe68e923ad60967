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
from sessions import HOLD_WORKER_NUMBER, IS_WORKER_DEAD, SERVER_START

NUMBERS: Final = 2**62
FROZEN: Final = timedelta(minutes=2)  # the rows of a noted batch are locked while it is digested


class Claims:
    """Notes of one worker, on a separate connection that is opened on first use and replaced when it is lost."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection[Any] | None = None
        self._site_id, self._worker = 0, 0  # of its note
        self.held_locks = HeldLocks()

    def note(self, site_id: int, message_ids: Sequence[int]) -> None:
        """Note the messages of the batch. One query, committed at once."""
        self._site_id = site_id
        self._execute(
            f"""
            INSERT INTO api_claim (site_id, worker, message_ids, claimed_at, server_started_at)
            VALUES (%(site)s, %(worker)s, %(ids)s, clock_timestamp(), {SERVER_START})
            ON CONFLICT (site_id, worker) DO UPDATE SET message_ids = excluded.message_ids,
                                                        claimed_at = excluded.claimed_at
            """,
            {"ids": list(message_ids)},
        )

    def forget(self) -> None:
        """Delete the note. One query."""
        self._execute("DELETE FROM api_claim WHERE site_id = %(site)s AND worker = %(worker)s", {})

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
                self._connection.execute(sql, {**parameters, "site": self._site_id, "worker": self._worker})
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
        connection.execute("DELETE FROM api_claim WHERE site_id = %s AND worker = %s", [self._site_id, self._worker])
        self._worker = secrets.randbelow(NUMBERS)
        connection.execute(HOLD_WORKER_NUMBER, [self._worker])
        return connection


def recover_from_dead_workers(*, attempts: int) -> int:
    """Count a failed attempt for every message that a dead worker had claimed, and return how many there were.

    After `attempts` of them a message is `failed` with the reason `worker_died`. A frozen worker keeps its lock: its
    messages go on once PostgreSQL has ended its transaction. Messages that are still locked are left for the next
    call. One query, and four more for each dead worker.
    """
    recovered = 0
    for site_id, worker in find_notes():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"""
                SELECT c.message_ids, c.server_started_at = {SERVER_START} FROM api_claim c
                 WHERE c.site_id = %s AND c.worker = %s
                   AND (c.claimed_at < clock_timestamp() - %s * interval '1 second' OR {IS_WORKER_DEAD})
                   FOR UPDATE SKIP LOCKED
                """,
                [site_id, worker, FROZEN.total_seconds()],
            )
            if (row := cursor.fetchone()) is None:
                continue
            ids, may_be_killers = row  # not if the worker died with the server
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
            Claim.objects.filter(site_id=site_id, worker=worker).update(message_ids=locked)
            Claim.objects.filter(site_id=site_id, worker=worker, message_ids=[]).delete()
    return recovered


def find_notes() -> list[tuple[int, int]]:
    """Return site and worker of each note, of all sites. One query."""
    return list(Claim.objects.values_list("site_id", "worker"))


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
