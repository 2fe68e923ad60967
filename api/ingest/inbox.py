"""Accepting a message durably: concurrent requests of a process share one insert and one commit.

An answer is given only after the commit. What was committed but not answered is a duplicate when it comes again.

An event that was answered 503 is not stored afterwards. PostgreSQL ends the statement before the request gives up, and
a request whose statement runs waits for its end. One gap is left: the connection is lost, or the disk hangs, exactly
during the commit. Then the outcome is unknown, and a sender without messageIds may store its event twice.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

import psycopg
import structlog

from api.http.batching import PendingCall, RequestBatcher
from api.http.database import ENDED_BY_LIMITS, TIMEOUTS, DatabaseDownError, SessionKind, connect, is_server_error, once
from api.ingest import nudge, source_counts
from api.ingest.new_message import NewMessage

MAX_ROWS: Final = 2_000  # a commit; more wait for the next
ROW_BYTES: Final = 8_192  # a larger body counts as several rows, so that a statement ends well within its time
PATIENCE: Final = 8.0  # seconds a request waits for its commit: Segment hangs up after 10
MAX_SECONDS: Final = TIMEOUTS[SessionKind.INBOX].statement + 0.5  # seconds a statement takes at most, with its answer
MAX_TRIES: Final = 3  # of a batch that lost a deadlock or a serialization

log = structlog.get_logger(__name__)

# The ids are drawn in order of arrival; the rows are inserted in the order of their keys, so that two overlapping
# batches cannot deadlock. Rows that were there already give no line.
INSERT: Final = """
WITH arrived AS MATERIALIZED (
    SELECT nextval((SELECT pg_get_serial_sequence('api_message', 'id'))::regclass) AS id, row.*
      FROM unnest(%(site)b::bigint[], %(source)b::bigint[], %(type)b::text[], %(message_id)b::text[],
                  %(position)b::int[], %(received_at)b::timestamptz[], %(occurred_at)b::timestamptz[],
                  %(body)b::bytea[], %(content_encoding)b::text[], %(status)b::text[], %(reason)b::text[],
                  %(detail)b::text[], %(warnings)b::text[], %(refusal_key)b::uuid[])
           WITH ORDINALITY AS row (site_id, source_id, type, message_id, position, received_at, occurred_at,
                                   body, content_encoding, status, reason, detail, warnings, refusal_key,
                                   place)
), stored AS (
    INSERT INTO api_message (id, site_id, source_id, type, message_id, position, received_at, occurred_at, body,
                             content_encoding, status, reason, detail, warnings, refusal_key, effects, attempts,
                             waiting_for)
    SELECT id, site_id, source_id, type, message_id, position, received_at, occurred_at, body,
           content_encoding, status, reason, detail, string_to_array(warnings, ' '), refusal_key, '{}', 0, ''
      FROM arrived
     ORDER BY site_id, type, message_id, refusal_key, id
    ON CONFLICT DO NOTHING
    RETURNING id
)
SELECT arrived.place, id FROM stored JOIN arrived USING (id)
"""


PendingRows = PendingCall[Sequence[NewMessage], list[int]]  # the rows of one request; for each, its new number, or 0


def store(rows: Sequence[NewMessage]) -> list[int]:
    """Store messages durably and return the number of each, 0 of a duplicate. One commit, shared by requests.

    Raises DatabaseDownError when it cannot be said that they are stored, RowRefusedError for a row that PostgreSQL
    cannot hold.
    """
    return committer().call(rows, timeout=PATIENCE)


def insert(connection: psycopg.Connection[Any], rows: Sequence[NewMessage]) -> list[int]:
    """Insert messages in one statement and return the number of each, 0 of a duplicate. The caller commits."""
    parameters = {
        "site": [row.site_id for row in rows],
        "source": [row.source_id for row in rows],
        "type": [row.event.type for row in rows],
        "message_id": [row.event.message_id for row in rows],
        "position": [row.event.position for row in rows],
        "received_at": [row.event.received_at for row in rows],
        "occurred_at": [row.event.occurred_at for row in rows],
        "body": [row.event.body for row in rows],
        "content_encoding": [row.event.content_encoding for row in rows],
        "status": ["rejected" if row.event.reason else "pending" for row in rows],
        "reason": [row.event.reason for row in rows],
        "detail": [row.event.detail for row in rows],
        "warnings": [" ".join(row.event.warnings) for row in rows],
        "refusal_key": [row.event.refusal_key for row in rows],
    }
    numbers = dict(connection.execute(INSERT, parameters).fetchall())
    return [numbers.get(place, 0) for place in range(1, len(rows) + 1)]


class RowRefusedError(Exception):
    """PostgreSQL cannot hold a row of this request; its neighbours are stored."""


class Committer:
    """What stores for all requests of a process, on one connection."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection[Any] | None = None

    def commit(self, deliveries: Sequence[PendingRows]) -> None:
        """Store all rows in one commit, and tell each request what became of its own."""
        try:
            self._commit(deliveries)
        except Exception:
            self._disconnect()
            raise
        nudge.nudge()

    def _commit(self, deliveries: Sequence[PendingRows]) -> None:
        until = min(delivery.deadline for delivery in deliveries)
        try:
            stored = self._insert([row for delivery in deliveries for row in delivery.argument], until=until)
        except psycopg.Error as error:
            if is_server_error(error):
                log.warning("inbox.unavailable", error=type(error).__name__)
                raise DatabaseDownError from error
            if len(deliveries) > 1:  # one bad row must not refuse its neighbours' requests
                for delivery in deliveries:
                    self._commit([delivery])
            else:
                self._commit_singly(deliveries[0], error)
        else:
            start = 0
            for delivery in deliveries:
                delivery.resolve(stored[start : start + len(delivery.argument)])
                start += len(delivery.argument)

    def _commit_singly(self, delivery: PendingRows, error: psycopg.Error) -> None:
        """Store what can be stored of one request, in one commit."""
        log.error("inbox.row_refused", error=type(error).__name__, sqlstate=error.sqlstate)
        delivery.reject(RowRefusedError())
        if len(delivery.argument) == 1 or self._connection is None:
            return
        try:
            with self._connection.transaction():
                for row in delivery.argument:
                    _require_time(delivery.deadline)
                    try:
                        with self._connection.transaction():
                            insert(self._connection, [row])
                    except psycopg.Error as own:
                        if is_server_error(own):
                            raise
        except (psycopg.Error, DatabaseDownError):
            delivery.reject(DatabaseDownError())
            raise

    def _insert(self, rows: Sequence[NewMessage], *, until: float) -> list[int]:
        """Insert and commit in one round trip. A connection that the server dropped is replaced once, where a second
        try cannot store anything twice.

        Raises DatabaseDownError when there is too little time until `until`.
        """
        is_repeatable = all(
            row.event.refusal_key is not None if row.event.reason else row.event.message_id is not None for row in rows
        )
        for attempt in range(1, MAX_TRIES + 1):
            is_fresh = self._connection is None
            if self._connection is None:
                self._connection = connect(SessionKind.INBOX)
            _require_time(until)
            try:
                numbers = insert(self._connection, rows)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                if attempt == MAX_TRIES:
                    raise
            except psycopg.OperationalError as error:
                self._disconnect()
                is_over = isinstance(error, ENDED_BY_LIMITS) or not is_server_error(error)
                if is_fresh or is_over or not is_repeatable or attempt == MAX_TRIES:
                    raise
            else:
                nudge.nudger().uncounted.add(source_counts.count_messages(rows, map(bool, numbers)))
                return numbers
        raise AssertionError

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def _require_time(until: float) -> None:
    """Raise DatabaseDownError when a statement that begins now might end after `until`."""
    if time.monotonic() + MAX_SECONDS > until:
        raise DatabaseDownError


@once
def committer() -> RequestBatcher[Sequence[NewMessage], list[int]]:
    """This process's committer, started when the first message comes."""
    return RequestBatcher(
        Committer().commit, name="inbox", max_size=MAX_ROWS, size=measure_rows, max_seconds=MAX_SECONDS
    )


def measure_rows(rows: Sequence[NewMessage]) -> int:
    """Return how much of a commit these rows take, in rows of ROW_BYTES."""
    return sum(1 + len(row.event.body) // ROW_BYTES for row in rows)
