"""The hot paths' own way to PostgreSQL: a small pool of autocommitting connections in each web process."""

import atexit
from collections.abc import Mapping
from functools import cache
from typing import Any

import psycopg
from django.db import connections
from psycopg_pool import ConnectionPool, PoolTimeout

POOL_SIZE = 8  # more connections than cores only wait for each other
WAIT = 2.0  # seconds until a request without a connection is told to come again


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

    Without the second setting a plan made while the tables were new would scan them when they are not.
    """
    configure(connection)
    connection.execute("SET plan_cache_mode = force_generic_plan")
    connection.execute("SET enable_seqscan = off")


@cache
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
            if attempt == 2:  # noqa: PLR2004
                raise DatabaseDownError from error
            pool().check()  # the server was restarted: drop every dead connection, not only this one
    raise AssertionError


def is_ours(error: BaseException | None) -> bool:
    """Whether a database error is trouble of ours, over in a while, and not the fault of what was being written.

    By SQLSTATE class: connections, resources, operator's intervention; and transactions that have to be repeated.
    psycopg calls limits of the program (class 54, a row too large for an index) operational as well; they are not.
    """
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate[:2] in {"08", "40", "53", "55", "57"}


class DatabaseDownError(Exception):
    """PostgreSQL cannot be reached: 503, come again."""
