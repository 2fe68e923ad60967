"""Durable storage of messages: concurrent requests of a process share one commit, and those of a site one insert.

A request is answered only after the commit. If the response gets lost, the repeated event is a duplicate.

An event with a response of 503 is not stored later. PostgreSQL ends the statement before the request gives up, and a
request waits for the end of its running statement. One gap is left, if the connection is lost or the disk hangs during
the commit. Then the outcome is unknown, and a sender without messageIds may store its event twice.
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
from api.models.message_rows import key_of

MAX_ROWS: Final = 2_000  # of a commit; others wait for the next one
ROW_BYTES: Final = 8_192  # a larger body counts as several rows, so that a statement ends well within its time
PATIENCE: Final = 8.0  # seconds that a request waits for its commit: Segment hangs up after 10
MAX_SECONDS: Final = (
    TIMEOUTS[SessionKind.INBOX].statement + 0.5
)  # seconds that a statement takes at most, with its result
MAX_TRIES: Final = 3  # of a batch after a deadlock or a serialization failure

log = structlog.get_logger(__name__)

# Ids are drawn in order of arrival. Keys are inserted in their order, so that overlapping batches cannot deadlock.
# Duplicates return no row. All rows are of one site.
INSERT: Final = f"""
WITH arrived AS MATERIALIZED (
    SELECT nextval((SELECT pg_get_serial_sequence('api_message', 'id'))::regclass) AS id, row.*,
           CASE WHEN status = 'rejected' THEN refusal_key ELSE {key_of("type", "message_id")} END AS key
      FROM unnest(%(source)b::bigint[], %(type)b::text[], %(message_id)b::text[],
                  %(position)b::int[], %(received_at)b::timestamptz[], %(occurred_at)b::timestamptz[],
                  %(body)b::bytea[], %(content_encoding)b::text[], %(status)b::text[], %(reason)b::text[],
                  %(detail)b::text[], %(warnings)b::text[], %(refusal_key)b::uuid[])
           WITH ORDINALITY AS row (source_id, type, message_id, position, received_at, occurred_at,
                                   body, content_encoding, status, reason, detail, warnings, refusal_key,
                                   place)
), first AS (
    INSERT INTO api_messagekey (site_id, key, id)
    SELECT %(site)b::bigint, key, id FROM arrived WHERE key IS NOT NULL ORDER BY key, id
    ON CONFLICT DO NOTHING
    RETURNING id
), fresh AS MATERIALIZED (
    SELECT * FROM arrived WHERE key IS NULL OR id IN (SELECT id FROM first)
), messages AS (
    INSERT INTO api_message (id, site_id, source_id, type, message_id, position, received_at, occurred_at, size,
                             status, reason, detail, warnings, refusal_key, effects, attempts, waiting_for)
    SELECT id, %(site)b::bigint, source_id, type, message_id, position, received_at, occurred_at, octet_length(body),
           status, reason, detail, string_to_array(warnings, ' '), refusal_key, '{{}}', 0, ''
      FROM fresh ORDER BY id
), bodies AS (
    INSERT INTO api_messagebody (site_id, id, body, content_encoding)
    SELECT %(site)b::bigint, id, body, content_encoding FROM fresh ORDER BY id
)
SELECT place, id FROM fresh
"""


PendingRows = PendingCall[Sequence[NewMessage], list[int]]  # the rows of one request; the id of each, or 0


async def store(rows: Sequence[NewMessage]) -> list[int]:
    """Store messages durably and return the id of each, 0 for a duplicate. One commit, shared by requests.

    Raises DatabaseDownError if they may not be stored, RowRefusedError for a row that PostgreSQL cannot hold.
    """
    return await committer().call(rows, timeout=PATIENCE)


def store_alone(rows: Sequence[NewMessage]) -> list[int]:
    """Store messages of a page, outside the event loop, with a connection and a commit of their own.

    Returns and raises as `store` does.
    """
    committer = Committer()
    try:
        numbers = committer.insert(rows, until=time.monotonic() + PATIENCE)
    except psycopg.Error as error:
        raise (DatabaseDownError if is_server_error(error) else RowRefusedError) from error
    finally:
        committer.disconnect()
    nudge.nudge()
    return numbers


def insert(connection: psycopg.Connection[Any], rows: Sequence[NewMessage], *, until: float | None = None) -> list[int]:
    """Insert messages and return the id of each, 0 for a duplicate.

    One statement for each site. The caller commits the statement of one site; those of several sites share a commit.
    Raises DatabaseDownError if a statement might end after `until`.
    """
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.site_id, []).append(place)
    if len(places) == 1:
        return insert_of_site(connection, rows[0].site_id, rows)
    numbers = [0] * len(rows)
    with connection.transaction():
        for site_id, of_site in sorted(places.items()):  # in one order, so that batches cannot deadlock
            if until is not None:
                _require_time(until)
            stored = insert_of_site(connection, site_id, [rows[place] for place in of_site])
            for place, number in zip(of_site, stored, strict=True):
                numbers[place] = number
    return numbers


def insert_of_site(connection: psycopg.Connection[Any], site_id: int, rows: Sequence[NewMessage]) -> list[int]:
    """Insert messages of one site in one statement and return the id of each, 0 for a duplicate."""
    parameters = {
        "site": site_id,
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
    """Raised if PostgreSQL cannot hold a row of the request; its other rows are stored."""


class Committer:
    """Stores the messages of all requests of a process on one connection."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection[Any] | None = None

    def commit(self, calls: Sequence[PendingRows]) -> None:
        """Store all rows in one commit, and resolve the call of each request."""
        try:
            self._commit(calls)
        except Exception:
            self.disconnect()
            raise
        nudge.nudge()

    def _commit(self, calls: Sequence[PendingRows]) -> None:
        until = min(call.deadline for call in calls)
        try:
            stored = self.insert([row for call in calls for row in call.argument], until=until)
        except psycopg.Error as error:
            if is_server_error(error):
                log.warning("inbox.unavailable", error=type(error).__name__)
                raise DatabaseDownError from error
            if len(calls) > 1:  # one bad row must not refuse other requests
                for call in calls:
                    self._commit([call])
            else:
                self._commit_singly(calls[0], error)
        else:
            start = 0
            for call in calls:
                call.resolve(stored[start : start + len(call.argument)])
                start += len(call.argument)

    def _commit_singly(self, call: PendingRows, error: psycopg.Error) -> None:
        """Store what can be stored of one request, in one commit."""
        log.error("inbox.row_refused", error=type(error).__name__, sqlstate=error.sqlstate)
        call.reject(RowRefusedError())
        if len(call.argument) == 1 or self._connection is None:
            return
        try:
            with self._connection.transaction():
                for row in call.argument:
                    _require_time(call.deadline)
                    try:
                        with self._connection.transaction():
                            insert(self._connection, [row])
                    except psycopg.Error as own:
                        if is_server_error(own):
                            raise
        except (psycopg.Error, DatabaseDownError):
            call.reject(DatabaseDownError())
            raise

    def insert(self, rows: Sequence[NewMessage], *, until: float) -> list[int]:
        """Insert and commit in one round trip. Raises DatabaseDownError if there is too little time until `until`.

        A connection that the server dropped is replaced once, if a second try cannot store a row twice.
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
                numbers = insert(self._connection, rows, until=until)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                if attempt == MAX_TRIES:
                    raise
            except psycopg.OperationalError as error:
                self.disconnect()
                is_over = isinstance(error, ENDED_BY_LIMITS) or not is_server_error(error)
                if is_fresh or is_over or not is_repeatable or attempt == MAX_TRIES:
                    raise
            else:
                nudge.nudger().uncounted.add(source_counts.count_messages(rows, map(bool, numbers)))
                return numbers
        raise AssertionError

    def disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def _require_time(until: float) -> None:
    """Raise DatabaseDownError if a statement that begins now might end after `until`."""
    if time.monotonic() + MAX_SECONDS > until:
        raise DatabaseDownError


@once
def committer() -> RequestBatcher[Sequence[NewMessage], list[int]]:
    """Return the committer of this process, started with the first message."""
    return RequestBatcher(
        Committer().commit, name="inbox", max_size=MAX_ROWS, size=measure_rows, max_seconds=MAX_SECONDS
    )


def measure_rows(rows: Sequence[NewMessage]) -> int:
    """Return the share of a commit that these rows take, in rows of ROW_BYTES."""
    return sum(1 + len(row.event.body) // ROW_BYTES for row in rows)
