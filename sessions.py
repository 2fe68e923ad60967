"""Sessions of PostgreSQL: settings, advisory locks, and what a session may know of the others.

These belong to a server and not to rows. If several servers share the sites one day, a setting must be passed on.
A lock or a list of sessions is that of one server. So only this module uses them, and `tests/test_sessions.py` refuses
them elsewhere.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Final

from django.db import connection
from psycopg import sql

# Settings

# For psycopg: the names and the values of settings, for the rest of the session.
SET_FOR_SESSION: Final = """
    SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)
"""


def set_for_transaction(settings: Mapping[str, str], *, session: Any = connection) -> None:
    """Set these until the end of the transaction. One query.

    SET LOCAL, because a distributed PostgreSQL passes it on to its servers, but not `set_config()`.
    """
    statements = [
        sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), sql.Literal(value)).as_string(None)
        for name, value in settings.items()
    ]
    with session.cursor() as cursor:
        cursor.execute("; ".join(statements))


# Advisory locks


class LockSpace(IntEnum):
    """A kind of advisory lock. The numbers are arbitrary, so that no other program in the database has the same."""

    GOAL_NAMES = 0x474F414C  # of a site: its names, its tag, its queue
    GOAL_TOTALS = 0x474F4150  # a part of the totals of days and goals
    FIRST_SITE = 0x474F626F  # two processes that start at once make one first site
    SECRET_KEY = 0x474F6B65  # two processes that start at once record one key
    PARTITIONS = 0x474F6461  # two workers change the partitions of the inbox one after the other


def lock_until_commit(space: LockSpace, number: int = 0) -> None:
    """Wait for an advisory lock, and hold it until the end of the transaction. One query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [space.value, number])


def lock_lowest_free(space: LockSpace, *, count: int) -> int:
    """Hold the lowest of `count` advisory locks that no other session has until the end of the transaction.

    Return its number. Wait for lock 0 if all are taken. One query, in that case two.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT number FROM generate_series(0, %s) AS number WHERE pg_try_advisory_xact_lock(%s, number) LIMIT 1",
            [count - 1, space.value],
        )
        row = cursor.fetchone()
    if row is None:
        lock_until_commit(space)
    return row[0] if row else 0


# A digest worker holds the lock of its number while it lives (api.digest.claims). For psycopg.
HOLD_WORKER_NUMBER: Final = "SELECT pg_advisory_lock(%s)"
# Conditions on a note `c` of a worker. The second one holds its lock until the end of the transaction.
IS_WORKER_ALIVE: Final = """EXISTS (
    SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
     WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND d.datname = current_database()
       AND (l.classid::bigint << 32 | l.objid::bigint) = c.worker)"""
IS_WORKER_DEAD: Final = "pg_try_advisory_xact_lock(c.worker)"
# A note of before ended with the server, as its batch did.
SERVER_START: Final = "pg_postmaster_start_time()"

# Other sessions

# The process id and the start of this session, as a relation.
THIS_SESSION: Final = "(SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())"
# A heartbeat `h` was written by a session that is still open.
IS_CONNECTED: Final = """EXISTS (
    SELECT FROM pg_stat_activity a WHERE a.pid = h.backend AND a.backend_start = h.backend_started_at)"""


def is_older_writer_at_work(since: datetime) -> bool:
    """Return True if a transaction that writes began before this time. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (
                SELECT 1 FROM pg_stat_activity
                 WHERE datname = current_database() AND backend_xid IS NOT NULL AND xact_start < %s)
            """,
            [since],
        )
        return bool(cursor.fetchone()[0])


def read_next_transaction() -> int:
    """Return a number that is above those of all transactions that have begun to write. One query.

    It takes a number for itself. `pg_snapshot_xmax` is above those that have ended only. Call it outside a transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        return int(cursor.fetchone()[0])


def read_oldest_transaction() -> int:
    """Return a number below which all transactions that write in this database have ended. One query.

    `pg_snapshot_xmin` would also wait for transactions of other databases of the server. The activity shows the lower
    32 bits of a number. One that began after the snapshot is more than 31 bits away and is left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(min(next.number - distance), next.number)
              FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS number) AS next
              LEFT JOIN LATERAL (
                    SELECT (next.number - a.backend_xid::text::bigint) & 4294967295 AS distance
                      FROM pg_stat_activity a
                     WHERE a.datname = current_database() AND a.backend_xid IS NOT NULL
              ) AS running ON distance < 2147483648
             GROUP BY next.number
            """
        )
        return int(cursor.fetchone()[0])


def find_blocking_sessions(*, idle_for: timedelta) -> list[tuple[Any, ...]]:
    """Return sessions that block others, and sessions that idle in a transaction with locks, the longest first.

    A row has process id, user, application, address, state, age of the transaction and number of waiting sessions. One
    query. Any user may run it, but PostgreSQL shows less of other users' sessions.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE waits AS MATERIALIZED (
                SELECT w.pid, holder.pid AS for_pid
                  FROM pg_stat_activity w, unnest(pg_blocking_pids(w.pid)) AS holder (pid)
                 WHERE w.datname = current_database()
            ), behind (first, pid) AS (
                SELECT for_pid, pid FROM waits
                 UNION
                SELECT behind.first, waits.pid FROM behind JOIN waits ON waits.for_pid = behind.pid
            ), holds AS MATERIALIZED (
                SELECT DISTINCT l.pid FROM pg_locks l
                  JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
                 WHERE l.granted AND (l.locktype = 'relation' AND l.mode <> 'AccessShareLock' AND l.relation >= 16384
                                      OR l.locktype = 'advisory' AND l.objsubid = 2)
            ), holders AS (
                SELECT for_pid AS pid FROM waits
                 UNION
                SELECT pid FROM holds JOIN pg_stat_activity USING (pid) WHERE state LIKE 'idle in transaction%%'
            )
            SELECT h.pid, coalesce(a.usename, ''), coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''),
                   coalesce(a.state, ''), clock_timestamp() - a.xact_start,
                   (SELECT count(*) FROM behind b WHERE b.first = h.pid)
              FROM holders h LEFT JOIN pg_stat_activity a USING (pid)
             WHERE h.pid NOT IN (SELECT pid FROM waits) AND h.pid <> pg_backend_pid()
               AND (a.xact_start IS NULL OR a.xact_start < clock_timestamp() - %s * interval '1 second')
             ORDER BY a.xact_start NULLS LAST
            """,
            [idle_for.total_seconds()],
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
