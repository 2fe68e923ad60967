"""Health checks: the process runs, and it can accept events."""

import threading
import time
from functools import cache
from typing import Final

import psycopg
from django.db.migrations.loader import MigrationLoader
from psycopg.errors import UndefinedTable
from psycopg_pool import PoolTimeout

from api.events.refusal import Refusal
from api.http.database import once, pool
from api.http.endpoint import Request, Response, database_unavailable, json_response
from api.http.heartbeats import MAX_AGE
from api.http.secret_key import OtherKeyError, require_same_key
from api.http.threads import look_up

CHECK_INTERVAL: Final = 1.0  # seconds between two checks of a process, because clients may ask as often as they like
MAX_CHECK_AGE: Final = 10.0  # seconds after which the last check is out of date: one takes 4 at most
# Writes a row and rolls it back. It fills the free part of a page (the table's fill factor), so that the file has to
# grow. The commit waits for the disk. Costs 1 kB of write-ahead log.
PROBE_WRITE: Final = """
BEGIN; SAVEPOINT probe;
INSERT INTO api_probe (filler) VALUES (repeat('x', 500));
ROLLBACK TO SAVEPOINT probe; COMMIT
"""
# Errors of a PostgreSQL that runs and cannot store.
REFUSALS: Final[dict[type[Exception], Refusal]] = {
    psycopg.errors.DiskFull: Refusal(
        503,
        "disk_full",
        "The disk of the database is full: make room. Until then senders must send their events again.",
        (("Retry-After", "5"),),
    ),
    psycopg.errors.ReadOnlySqlTransaction: Refusal(
        503,
        "read_only",
        "The database takes no writes: make it writable, or correct DATABASE_URL. Until then senders must send again.",
        (("Retry-After", "5"),),
    ),
}

OTHER_KEY: Final = (
    "This process has another GOALPOST_SECRET_KEY than its database. Until it has the right one, senders must send "
    "their events again. `manage.py doctor` says more."
)


async def answer_live(_: Request) -> Response:
    """Return 200, because the process answers."""
    return json_response({"status": "ok"})


async def answer_ready(_: Request) -> Response:
    """Return 200 if this process could accept events a second ago. Raises Refusal (503) otherwise.

    Without a worker or beat events are still accepted, so the answer is 200, and load balancers keep the web servers.
    The status is then `degraded`, and `missing` names them.
    """
    return await look_up(readiness().look)


class Readiness:
    """The last check of this process, shared by all requests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._result: Response | Refusal | None = None
        self._checked_at = 0.0

    def look(self) -> Response:
        """Return the last result, or raise it. At most one request at a time waits for the database."""
        age = time.monotonic() - self._checked_at
        if (self._result is None or age > CHECK_INTERVAL) and self._lock.acquire(blocking=False):
            try:
                self._result = check_readiness()
            finally:
                self._checked_at = time.monotonic()
                self._lock.release()
        elif self._result is None or age > MAX_CHECK_AGE:
            raise database_unavailable()
        if isinstance(self._result, Refusal):
            raise self._result
        return self._result

    def forget(self) -> None:
        """Let the next request check again."""
        self._result = None


@once
def readiness() -> Readiness:
    return Readiness()


def check_readiness() -> Response | Refusal:
    """Return the result of `/health/ready`. Four statements."""
    try:
        try:
            return check_database()
        except psycopg.OperationalError:
            pool().check()  # the server restarted: a dropped session says nothing about it
            return check_database()
    except OtherKeyError:  # its text is for operators, because it names fingerprints and a file
        return Refusal(503, "other_secret_key", OTHER_KEY, (("Retry-After", "60"),))
    except (psycopg.Error, PoolTimeout) as error:
        return REFUSALS.get(type(error)) or database_unavailable()


def check_database() -> Response | Refusal:
    """Check that the database can store events, and that worker and beat run. Raises psycopg.Error, PoolTimeout."""
    with pool().connection() as session:
        if missing := list_missing_migrations(session):
            text = f"Run `python manage.py prepare`; missing: {', '.join(missing)}."
            return Refusal(503, "not_migrated", text, (("Retry-After", "5"),))
        require_same_key(session)
        probe_write(session)
        absent = list_absent_roles(session)
    return json_response({"status": "degraded", "missing": absent} if absent else {"status": "ok"})


def list_missing_migrations(session: "psycopg.Connection[tuple[object, ...]]") -> list[str]:
    """Return the last migrations of this code's apps that the database does not have. One query."""
    try:
        applied = set(session.execute("SELECT app, name FROM django_migrations").fetchall())
    except UndefinedTable:  # an empty database
        applied = set()
    return [f"{app}.{name}" for app, name in sorted(list_latest_migrations() - applied)]


def probe_write(session: "psycopg.Connection[tuple[object, ...]]") -> None:
    """Write a row durably, as an event would be, and roll it back. Raises psycopg.Error."""
    try:
        session.execute(PROBE_WRITE, prepare=False)
    except psycopg.Error:
        if not session.broken:
            session.rollback()
        raise


def list_absent_roles(session: "psycopg.Connection[tuple[object, ...]]") -> list[str]:
    """Return the roles without a heartbeat for half a minute. One query."""
    rows = session.execute(
        """
        SELECT role FROM unnest('{beat,worker}'::text[]) AS wanted (role)
         WHERE NOT EXISTS (SELECT FROM api_heartbeat h WHERE h.role = wanted.role
                              AND h.at BETWEEN clock_timestamp() - %(late)s AND clock_timestamp() + %(late)s)
        """,
        {"late": MAX_AGE},
    )
    return [str(role) for (role,) in rows]


@cache
def list_latest_migrations() -> frozenset[tuple[str, str]]:
    """Return the last migration of each app, read from the code once a process."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())
