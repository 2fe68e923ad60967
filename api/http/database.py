"""Connections to PostgreSQL: timeouts for each kind of session, and a pool for ingest and remote data."""

import atexit
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import psycopg
from django.db import OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg_pool import ConnectionPool, PoolTimeout

from api.http.secret_key import OtherKeyError, require_same_key
from arrays import dump_arrays_fast
from sessions import SET_FOR_SESSION
from times import read_all_times

POOL_SIZE = 8  # more connections than cores only wait for each other
Made = TypeVar("Made")
POOL_TIMEOUT = 2.0  # seconds that a request waits for a connection


class SessionKind(StrEnum):
    """The purpose of a session, which sets its timeouts and the end of its application_name (`goalpost worker`)."""

    WEB = "web"  # pages and the management API
    INBOX = "inbox"  # stores events
    READS = "reads"  # remote data and lookups
    NOTES = "notes"  # counts that a process writes in the background
    WORKER = "worker"
    CLAIMS = "claims"  # the ids of messages that a worker is processing
    BEAT = "beat"
    LOAD = "load"
    UPKEEP = "upkeep"  # commands that run beside the digest
    COMMAND = "command"  # others, migrations among them


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds after which PostgreSQL ends a wait for a lock, a statement and an idle transaction; 0 is never."""

    lock: float
    statement: float
    idle: float  # in a transaction, so that a frozen process does not hold its locks


TIMEOUTS: Final[Mapping[SessionKind, Timeouts]] = {
    # A proxy gives up a page after a minute.
    SessionKind.WEB: Timeouts(lock=3, statement=30, idle=60),
    # A sender repeats after 503, so the statement must have ended before that response (api.ingest.inbox).
    SessionKind.INBOX: Timeouts(lock=3, statement=4, idle=5),
    SessionKind.READS: Timeouts(lock=1, statement=2, idle=5),
    SessionKind.NOTES: Timeouts(lock=2, statement=10, idle=10),
    # Longer than `deadlock_timeout`, so that a deadlock is reported as one, and than most batches of other workers. A
    # worker's statement has at most 5,000 rows; after ten minutes it would never end.
    SessionKind.WORKER: Timeouts(lock=1.5, statement=600, idle=60),
    SessionKind.CLAIMS: Timeouts(lock=2, statement=10, idle=10),
    SessionKind.BEAT: Timeouts(lock=2, statement=10, idle=10),
    SessionKind.LOAD: Timeouts(lock=10, statement=60, idle=60),
    # A statement may read a whole table. While it waits for a lock, others wait behind it.
    SessionKind.UPKEEP: Timeouts(lock=3, statement=0, idle=600),
    # `CREATE INDEX CONCURRENTLY` waits for every older transaction; cut short it leaves an invalid index.
    SessionKind.COMMAND: Timeouts(lock=0, statement=0, idle=600),
}


def once(make: Callable[[], Made]) -> Callable[[], Made]:
    """Make a value once a process. With functools.cache, concurrent threads could make several."""
    lock = threading.Lock()
    made: list[Made] = []

    def get() -> Made:
        if not made:
            with lock:
                if not made:
                    made.append(make())
        return made[0]

    return get


def connection_parameters() -> dict[str, Any]:
    """Return the parameters of psycopg.connect for the configured database; in tests, for the test database."""
    parameters = connections["default"].get_connection_params()
    for key in ("cursor_factory", "context", "prepare_threshold", "server_side_binding"):
        parameters.pop(key, None)
    return dict(parameters)


# Kinds of long sessions that write values which depend on the secret key.
KEY_CHECKED_KINDS: Final = frozenset(
    {SessionKind.INBOX, SessionKind.WORKER, SessionKind.CLAIMS, SessionKind.LOAD, SessionKind.UPKEEP}
)


def connect(kind: SessionKind = SessionKind.NOTES) -> psycopg.Connection[Any]:
    """Return a new autocommitting connection in UTC that commits durably. Raises psycopg.OperationalError."""
    opened = psycopg.connect(**connection_parameters(), autocommit=True)
    configure(opened, kind)
    return opened


def configure(session: psycopg.Connection[Any], kind: SessionKind, **others: str) -> None:
    """Set timeouts, name and durability of a session, whatever the server's defaults. One query.

    The connection's `options` would not do, because pgbouncer refuses them.
    """
    settings = {
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "DateStyle": "ISO",  # the loaders of times read no other (times.py)
        "application_name": f"{connections['default'].settings_dict['OPTIONS']['application_name']} {kind}",
        # The statement of a process that was killed must not hold its locks for long.
        "client_connection_check_interval": "1s",
        **as_settings(TIMEOUTS[kind]),
        **others,
    }
    read_all_times(session)
    dump_arrays_fast(session)
    session.execute(SET_FOR_SESSION, [list(settings), list(settings.values())])
    if kind in KEY_CHECKED_KINDS:
        require_same_key(session)


def as_settings(timeouts: Timeouts) -> dict[str, str]:
    """Return timeouts as settings of PostgreSQL."""
    return {
        "lock_timeout": f"{timeouts.lock * 1000:.0f}",
        "statement_timeout": f"{timeouts.statement * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{timeouts.idle * 1000:.0f}",
    }


def set_django_session_kind(kind: SessionKind) -> None:
    """Set the kind of Django's connections in this process. Open connections keep their kind."""
    connections["default"].settings_dict["KIND"] = kind


def configure_django(connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Configure a connection that Django opened, as a receiver of `connection_created`."""
    configure(connection.connection, connection.settings_dict.get("KIND", SessionKind.COMMAND))


def configure_open_connection(kind: SessionKind) -> None:
    """Set the kind of Django's open connection, and open it if necessary."""
    connection.ensure_connection()
    configure(connection.connection, kind)


def configure_reader(session: psycopg.Connection[Any]) -> None:
    """Configure a connection for reads by keys, for which one plan fits all values.

    Without `enable_seqscan=off`, a plan made for empty tables would scan them when they are full. Without
    `enable_sort=off`, a plan made for few rows would read those of the whole site and sort them.
    """
    configure(session, SessionKind.READS, plan_cache_mode="force_generic_plan", enable_seqscan="off", enable_sort="off")


def refuse_other_key(**_: Any) -> None:
    """Exit with one line if the database has recorded another secret key. Do nothing if it cannot be reached."""
    try:
        connect(SessionKind.INBOX).close()
    except OtherKeyError as error:
        sys.exit(f"goalpost: {error}")
    except psycopg.Error:
        return


@once
def pool() -> ConnectionPool[Any]:
    """Return the pool of this process, opened with its first use."""
    opened = ConnectionPool(
        # Planning the query of a person's identities takes longer than running it: prepare it at once, plan it once.
        kwargs={**connection_parameters(), "autocommit": True, "prepare_threshold": 0},
        configure=configure_reader,
        min_size=1,
        max_size=POOL_SIZE,
        timeout=POOL_TIMEOUT,
        max_idle=60,
        reconnect_timeout=0,  # no pause between tries, because the next request tries again
        open=True,
        name="reads",
    )
    atexit.register(opened.close)  # its threads must end before the interpreter does
    return opened


def fetch_all(sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of one statement. A stale connection is replaced once.

    Raises DatabaseDownError when the database cannot be reached.
    """
    for attempt in (1, 2):
        try:
            with pool().connection() as connection:
                rows: list[tuple[Any, ...]] = connection.execute(sql, parameters).fetchall()
                return rows
        except PoolTimeout as error:
            raise DatabaseDownError from error
        except psycopg.OperationalError as error:
            if attempt == 2 or isinstance(error, ENDED_BY_LIMITS):  # noqa: PLR2004
                raise DatabaseDownError from error
            pool().check()  # the server restarted: drop every dead connection, not only this one
    raise AssertionError


ENDED_BY_LIMITS: Final = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable)

# SQLSTATE classes of errors in the written values: data, constraints, limits of a row, and P0 of triggers.
VALUE_ERROR_CLASSES: Final = frozenset({"22", "23", "54", "P0"})


def is_server_error(error: BaseException | None) -> bool:
    """Return True if the server is at fault, so that a retry helps, and not the values being written.

    That is any class but those of values: also a schema that is not migrated yet, missing rights and a server that
    became read-only.
    """
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # raised by psycopg itself: a lost connection, or a value that cannot be sent
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate[:2] not in VALUE_ERROR_CLASSES


def is_lock_timeout(error: BaseException | None) -> bool:
    """Return True if Django raised because another session held a lock for longer than `lock_timeout`."""
    return isinstance(error, OperationalError) and isinstance(error.__cause__, psycopg.errors.LockNotAvailable)


class DatabaseDownError(Exception):
    """PostgreSQL cannot be reached or is too slow: answer 503."""
