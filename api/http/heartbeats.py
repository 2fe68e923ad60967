"""Heartbeats of beat and worker, and a watch over the database's clock.

Beat and each worker write one small row every few seconds. `/health/ready` and `manage.py doctor` read from it which of
them is absent or frozen. All times are the database's, so that no host's clock can make a dead process look alive.

The same row tells whether the database's clock runs steadily. Deletion by age waits for an hour after a jump, because
a clock that is a month ahead would make every row old.
"""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, Final

import psycopg
import structlog
from django.db import connection

from api.http.database import SessionKind, connect
from api.models import Heartbeat
from sessions import IS_CONNECTED, THIS_SESSION

Role = Heartbeat.Role
INTERVAL_SECONDS: Final = 5.0  # seconds
MAX_AGE: Final = timedelta(seconds=30)  # a run of the digest takes 5 s, and one of its batches may take longer
JUMP_SECONDS: Final = 5.0  # seconds of deviation from the expected time: NTP corrects more at once
MAX_PAUSE: Final = timedelta(minutes=1)  # without a heartbeat, after which a jump cannot be excluded
STEADY_AFTER: Final = timedelta(hours=1)  # before rows are deleted by age

log = structlog.get_logger(__name__)


class RoleState(StrEnum):
    """The state of worker or beat."""

    ALIVE = "alive"
    FROZEN = "frozen"  # no heartbeat, though its database session is open
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class LastHeartbeat:
    """The last heartbeat of a role on a host."""

    role: str
    host: str
    process: int
    age: timedelta
    is_connected: bool  # the session that wrote it is open
    clock_ahead: float  # seconds


@dataclass(frozen=True, slots=True)
class ClockJump:
    """The last jump of the database's clock, and its age by that clock."""

    seconds: float
    age: timedelta


class HeartbeatWriter:
    """Writes the heartbeat of this process, at most every few seconds.

    Its own session stays open as long as the process lives, because Celery closes Django's after each task.
    """

    def __init__(self, role: str) -> None:
        self._role = role
        self._session: psycopg.Connection[Any] | None = None
        self._last: tuple[datetime, float] | None = None  # the database's time, and `uptime` then
        self._tried_at = -INTERVAL_SECONDS

    def beat(self) -> None:
        """Write a heartbeat if one is due. One query, and another one at the first. Never raises psycopg.Error."""
        if (
            uptime() - self._tried_at < INTERVAL_SECONDS
        ):  # also after a failure, because the process has other work to do
            return
        self._tried_at = uptime()
        try:
            if self._session is None:
                self._session = connect(SessionKind.NOTES)
                delete_ended_sessions(self._role, self._session)
            # Measure from start to start, because the database reads its clock first: a commit that waits for the disk
            # is no jump of the clock.
            begun = uptime()
            expected = None
            if self._last is not None and begun - self._last[1] < MAX_PAUSE.total_seconds():
                expected = self._last[0] + timedelta(seconds=begun - self._last[1])
            self._last = (write_heartbeat(self._role, expected=expected, session=self._session), begun)
        except psycopg.Error as error:
            log.warning("heartbeat.failed", role=str(self._role), error=type(error).__name__)
            self.stop()

    def stop(self) -> None:
        """Close the session; the next beat opens another."""
        if self._session is not None:
            self._session.close()
            self._session = None


@cache
def heartbeat_writer(role: str) -> HeartbeatWriter:
    """Return the writer of this process."""
    return HeartbeatWriter(role)


def uptime() -> float:
    """Return seconds of a clock that cannot be set and, on Linux, also runs while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def write_heartbeat(role: str, *, expected: datetime | None, session: Any = connection) -> datetime:
    """Write a heartbeat and return the database's time.

    `expected` is that time as this process computes it. Without it, only a clock that was set back is detected.
    """
    with session.cursor() as cursor:
        cursor.execute(
            f"""
            WITH moment AS MATERIALIZED (
                SELECT now,
                       extract(epoch FROM now - coalesce(%(expected)s::timestamptz, greatest(now, k.seen_at))) AS jump
                  FROM (SELECT clock_timestamp() AS now) AS clock LEFT JOIN api_databaseclock k ON true
            ), clock AS (
                INSERT INTO api_databaseclock AS known (id, seen_at, steady_since, jumped_at, jumped_by)
                SELECT 1, now, now, CASE WHEN abs(jump) > %(jump)s THEN now END, jump FROM moment
                ON CONFLICT (id) DO UPDATE SET
                    seen_at = excluded.seen_at,
                    steady_since = CASE
                        WHEN excluded.jumped_at IS NULL
                         AND extract(epoch FROM excluded.seen_at - known.seen_at) < %(pause)s
                        THEN known.steady_since ELSE excluded.seen_at END,
                    jumped_at = coalesce(excluded.jumped_at, known.jumped_at),
                    jumped_by = CASE WHEN excluded.jumped_at IS NULL THEN known.jumped_by ELSE excluded.jumped_by END
            )
            INSERT INTO api_heartbeat AS known (role, host, process, at, backend, backend_started_at, clock_ahead)
            SELECT %(role)s, %(host)s, %(process)s, now, pid, backend_start,
                   extract(epoch FROM %(ours)s::timestamptz - now)
              FROM moment, {THIS_SESSION} AS this
            ON CONFLICT (role, host) DO UPDATE SET
                process = excluded.process, at = excluded.at, backend = excluded.backend,
                backend_started_at = excluded.backend_started_at, clock_ahead = excluded.clock_ahead
            RETURNING at
            """,
            {
                "role": str(role),
                "host": socket.gethostname()[:255],
                "process": os.getpid(),
                "ours": datetime.now(UTC),
                "expected": expected,
                "jump": JUMP_SECONDS,
                "pause": MAX_PAUSE.total_seconds(),
            },
        )
        at: datetime = cursor.fetchone()[0]
        return at


def delete_ended_sessions(role: str, session: Any = connection) -> None:
    """Delete the rows of a role with ended sessions, of hosts and containers that are gone. One query."""
    with session.cursor() as cursor:
        cursor.execute(f"DELETE FROM api_heartbeat AS h WHERE role = %s AND NOT {IS_CONNECTED}", [str(role)])


def load_heartbeats() -> list[LastHeartbeat]:
    """Return the last heartbeat of every role on every host, the newest first. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT role, host, process, clock_timestamp() - at, {IS_CONNECTED}, clock_ahead"
            " FROM api_heartbeat AS h ORDER BY at DESC"
        )
        return [LastHeartbeat(*row) for row in cursor.fetchall()]


def role_state(heartbeats: Sequence[LastHeartbeat]) -> RoleState:
    """Return the state of a role by its last heartbeats on all hosts. Pure.

    A heartbeat from the future is too old: the clock was set back since, and a live process has written again.
    """
    if any(abs(heartbeat.age) <= MAX_AGE for heartbeat in heartbeats):
        return RoleState.ALIVE
    return RoleState.FROZEN if any(heartbeat.is_connected for heartbeat in heartbeats) else RoleState.ABSENT


def load_last_jump() -> ClockJump | None:
    """Return the last jump of the database's clock, if any. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT jumped_by, abs(extract(epoch FROM clock_timestamp() - jumped_at)) FROM api_databaseclock"
            " WHERE jumped_at IS NOT NULL"
        )
        row = cursor.fetchone()
        return ClockJump(float(row[0]), timedelta(seconds=float(row[1]))) if row else None


def read_steady_time() -> datetime | None:
    """Return the database's time if its clock has run steadily for an hour, otherwise None. One query.

    All deletions by age use this time.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT clock_timestamp() FROM api_databaseclock
             WHERE clock_timestamp() - steady_since > %(steady)s * interval '1 second'
               AND abs(extract(epoch FROM clock_timestamp() - seen_at)) < %(pause)s
            """,
            {"steady": STEADY_AFTER.total_seconds(), "pause": MAX_PAUSE.total_seconds()},
        )
        row = cursor.fetchone()
        return row[0] if row else None
