"""The hot paths' own way to PostgreSQL: a small pool of autocommitting connections in each web process."""

import atexit
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import psycopg
from django.db import connections
from psycopg_pool import ConnectionPool, PoolTimeout

POOL_SIZE = 8  # more connections than cores only wait for each other
Made = TypeVar("Made")
WAIT = 2.0  # seconds until a request without a connection is told to come again


def once(make: Callable[[], Made]) -> Callable[[], Made]:
    """What `make` makes, made once a process: functools.cache would let threads that come together make several."""
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
    """What psycopg.connect takes to reach the configured database (under test: the test database)."""
    parameters = connections["default"].get_connection_params()
    for key in ("cursor_factory", "context", "prepare_threshold", "server_side_binding"):
        parameters.pop(key, None)
    return dict(parameters)


def connect() -> psycopg.Connection[Any]:
    """A new autocommitting connection, in UTC, that commits durably. Raises psycopg.OperationalError."""
    connection = psycopg.connect(**connection_parameters(), autocommit=True)
    configure(connection)
    return connection


def configure(connection: psycopg.Connection[Any]) -> None:
    """Make a connection ours: whatever the server's defaults, accepted means durable."""
    connection.execute("SET synchronous_commit = on")
    connection.execute("SET TimeZone = 'UTC'")


def configure_reader(connection: psycopg.Connection[Any]) -> None:
    """Make a connection a reader's: every read goes by keys, so one plan fits all values.

    Without the second setting a plan made while the tables were new would scan them when they are not. A read that
    takes longer than the third allows would hold up the others.
    """
    configure(connection)
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute("SET enable_seqscan = off")
    connection.execute("SET statement_timeout = '2s'")


@once
def pool() -> ConnectionPool[Any]:
    """The pool of this process, opened when first needed."""
    opened = ConnectionPool(
        # Planning the walk over a person's identities takes longer than the walk: prepare it at once, plan it once.
        kwargs={**connection_parameters(), "autocommit": True, "prepare_threshold": 0},
        configure=configure_reader,
        min_size=1,
        max_size=POOL_SIZE,
        timeout=WAIT,
        max_idle=60,
        reconnect_timeout=0,  # no waiting between tries: the next request tries again
        open=True,
        name="reads",
    )
    atexit.register(opened.close)  # its threads must end before the interpreter does
    return opened


def fetch_all(sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of one statement. A connection that went stale is replaced once.

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
            if attempt == 2 or isinstance(error, psycopg.errors.QueryCanceled):  # noqa: PLR2004
                raise DatabaseDownError from error
            pool().check()  # the server was restarted: drop every dead connection, not only this one
    raise AssertionError


# SQLSTATE classes that are about the values being written: data, constraints, limits of a row; P0 is a trigger's word.
VALUE_CLASSES: Final = frozenset({"22", "23", "54", "P0"})


def is_ours(error: BaseException | None) -> bool:
    """Whether a database error is trouble of ours, to be over some time, and not the fault of what was being written.

    Everything is ours but the classes about values: also a schema that is not migrated yet, missing rights, a server
    that has become read-only.
    """
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # the client's own: a lost connection is ours, a value that cannot be sent is not
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate[:2] not in VALUE_CLASSES


class DatabaseDownError(Exception):
    """PostgreSQL cannot be reached: 503, come again."""
