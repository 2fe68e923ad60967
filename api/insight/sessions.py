"""Sessions of PostgreSQL that block others, with their client and age."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sessions import find_blocking_sessions

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
    return [Holder(*row) for row in find_blocking_sessions(idle_for=IDLE)]
