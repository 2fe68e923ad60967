"""Accepting a message durably: concurrent requests of a process share one insert and one commit.

A thread owns one connection and takes whatever requests wait at that moment; a lone request does not wait for company.
An answer is given only after the commit. What was committed but not answered is a duplicate when it comes again.
"""

import contextlib
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import structlog

from api.database import DatabaseDownError, connect, is_ours, once
from api.ingest import nudge
from api.ingest.wire import Incoming

MOST_ROWS: Final = 2_000  # a commit; more wait for the next
PATIENCE: Final = 8.0  # seconds a request waits for its commit: Segment hangs up after 10
TRIES: Final = 3  # of a batch that lost a deadlock or a serialization

log = structlog.get_logger(__name__)

# The ids are drawn in order of arrival; the rows are inserted in the order of their keys, so that two overlapping
# batches cannot deadlock. Rows that were there already give no line.
INSERT: Final = """
WITH arrived AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('api_message', 'id')) AS id, row.*
      FROM unnest(%(site)b::bigint[], %(source)b::bigint[], %(type)b::text[], %(message_id)b::text[],
                  %(position)b::int[], %(received_at)b::timestamptz[], %(occurred_at)b::timestamptz[],
                  %(body)b::bytea[], %(status)b::text[], %(reason)b::text[], %(warnings)b::text[])
           WITH ORDINALITY AS row (site_id, source_id, type, message_id, position, received_at, occurred_at,
                                   body, status, reason, warnings, place)
), stored AS (
    INSERT INTO api_message (id, site_id, source_id, type, message_id, position, received_at, occurred_at, body,
                             status, reason, detail, warnings, effects, attempts, waiting_for)
    SELECT id, site_id, source_id, type, message_id, position, received_at, occurred_at, body,
           status, reason, '', string_to_array(warnings, ' '), '{}', 0, ''
      FROM arrived
     ORDER BY site_id, type, message_id, id
    ON CONFLICT DO NOTHING
    RETURNING id
)
SELECT arrived.place FROM stored JOIN arrived USING (id)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One message on its way into the inbox."""

    site_id: int
    source_id: int | None
    event: Incoming


@dataclass(frozen=True, slots=True)
class Delivery:
    """The rows of one request, and its wait for their fate: True for stored, False for a duplicate."""

    rows: Sequence[Row]
    fate: Future[list[bool]] = field(default_factory=Future)


def store(rows: Sequence[Row]) -> list[bool]:
    """Store messages durably; for each, whether it is new. One commit, shared with concurrent requests.

    Raises DatabaseDownError when it cannot be said that they are stored, RowRefusedError for a row that PostgreSQL
    cannot hold.
    """
    delivery = Delivery(rows)
    committer().deliveries.put(delivery)
    try:
        return delivery.fate.result(timeout=PATIENCE)
    except TimeoutError as error:
        delivery.fate.cancel()
        raise DatabaseDownError from error


class RowRefusedError(Exception):
    """PostgreSQL cannot hold a row of this request; its neighbours are stored."""


class Committer:
    """The thread that stores for all requests of a process."""

    def __init__(self) -> None:
        self.deliveries: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._connection: psycopg.Connection[Any] | None = None
        threading.Thread(target=self._work, name="committer", daemon=True).start()

    def _work(self) -> None:
        while True:
            deliveries = [self.deliveries.get()]
            size = len(deliveries[0].rows)
            with contextlib.suppress(queue.Empty):
                while size < MOST_ROWS:
                    deliveries.append(self.deliveries.get_nowait())
                    size += len(deliveries[-1].rows)
            # Whoever ran out of patience was told so, and sends again: storing it now would store it twice.
            awaited = [delivery for delivery in deliveries if delivery.fate.set_running_or_notify_cancel()]
            if not awaited:
                continue
            try:
                self._commit(awaited)
                nudge.nudge()
            except Exception:  # the thread must outlive any defect: without it nothing is stored again
                log.exception("inbox.failed")
                self._disconnect()
                for delivery in awaited:
                    if not delivery.fate.done():
                        delivery.fate.set_exception(DatabaseDownError())

    def _commit(self, deliveries: Sequence[Delivery]) -> None:
        try:
            stored = self._insert([row for delivery in deliveries for row in delivery.rows])
        except psycopg.Error as error:
            if is_ours(error):
                log.warning("inbox.unavailable", error=type(error).__name__)
                self._disconnect()
                for delivery in deliveries:
                    delivery.fate.set_exception(DatabaseDownError())
            elif len(deliveries) > 1:  # one bad row must not refuse its neighbours' requests
                for delivery in deliveries:
                    self._commit([delivery])
            else:
                self._commit_singly(deliveries[0], error)
        else:
            start = 0
            for delivery in deliveries:
                delivery.fate.set_result(stored[start : start + len(delivery.rows)])
                start += len(delivery.rows)

    def _commit_singly(self, delivery: Delivery, error: psycopg.Error) -> None:
        """Store what can be stored of one request."""
        log.error("inbox.row_refused", error=type(error).__name__, sqlstate=error.sqlstate)
        fate: Exception = RowRefusedError()
        if len(delivery.rows) > 1:
            for row in delivery.rows:
                try:
                    self._insert([row])
                except psycopg.Error as own:
                    fate = DatabaseDownError() if is_ours(own) else fate
        delivery.fate.set_exception(fate)

    def _insert(self, rows: Sequence[Row]) -> list[bool]:
        """Insert and commit in one round trip. A connection that the server dropped is replaced once, where a second
        try cannot store anything twice.
        """
        parameters = {
            "site": [row.site_id for row in rows],
            "source": [row.source_id for row in rows],
            "type": [row.event.type for row in rows],
            "message_id": [row.event.message_id for row in rows],
            "position": [row.event.position for row in rows],
            "received_at": [row.event.received_at for row in rows],
            "occurred_at": [row.event.occurred_at for row in rows],
            "body": [row.event.body for row in rows],
            "status": ["rejected" if row.event.reason else "pending" for row in rows],
            "reason": [row.event.reason for row in rows],
            "warnings": [" ".join(row.event.warnings) for row in rows],
        }
        is_repeatable = all(row.event.message_id is not None and not row.event.reason for row in rows)
        for attempt in range(1, TRIES + 1):
            is_fresh = self._connection is None
            if self._connection is None:
                self._connection = connect()
            try:
                places = {row[0] for row in self._connection.execute(INSERT, parameters).fetchall()}
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                if attempt == TRIES:
                    raise
            except psycopg.OperationalError as error:
                self._disconnect()
                if is_fresh or not is_repeatable or attempt == TRIES or not is_ours(error):
                    raise
            else:
                return [place in places for place in range(1, len(rows) + 1)]
        raise AssertionError

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


@once
def committer() -> Committer:
    """This process's committer, started when the first message comes."""
    return Committer()
