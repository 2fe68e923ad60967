"""Sessions of PostgreSQL that block others, with their client and age."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import connection

IDLE: Final = timedelta(seconds=5)  # no transaction of Goalpost pauses for longer, except for a slow hook


@dataclass(frozen=True, slots=True)
class Holder:
    """A session that blocks others, or is idle in a transaction with locks. Without its query, which contains ids."""

    pid: int  # 0: a prepared transaction
    user: str
    application: str
    address: str
    state: str
    since: timedelta | None  # since its transaction began; None if only pg_monitor may see it
    waiting: int  # sessions that wait for it now, directly or not

    def __str__(self) -> str:
        if not self.pid:
            return "a prepared transaction"
        who = ", ".join(part for part in (self.application, self.address) if part)
        state = "its state is hidden" if self.since is None else f"{self.state} for {self.since.total_seconds():.0f} s"
        return f"session {self.pid} of the user {self.user}" + (f" ({who})" if who else "") + f", {state}"

    @property
    def remedy(self) -> str:
        """Return how an operator ends it."""
        if not self.pid:
            return "look into pg_prepared_xacts, and COMMIT PREPARED or ROLLBACK PREPARED it"
        return f"commit or roll back there, or `SELECT pg_terminate_backend({self.pid})`"


def find_holders() -> list[Holder]:
    """Return sessions that block others, and idle ones in a transaction with locks, the longest first.

    Goalpost's waits are short and repeated, so that at one moment no session may wait. One query. Any user may run it,
    but PostgreSQL shows less of other users' sessions.
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
            [IDLE.total_seconds()],
        )
        return [Holder(*row) for row in cursor.fetchall()]
