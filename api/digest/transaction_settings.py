"""Settings of the digest's transactions: how PostgreSQL plans their statements and how long they wait for locks."""

from django.conf import settings
from django.db import connection

from api.digest import hooks
from api.digest.held_locks import WAIT
from api.http.database import TIMEOUTS, SessionKind


def prefer_index_plans(*, lock_timeout: float = WAIT) -> None:
    """Have every statement of this transaction go by keys, and wait for locks no longer than these seconds. One query.

    A batch touches some thousand rows by their keys. Left alone, the planner joins that many by hashing the whole
    table, which costs milliseconds a batch for every 10,000 rows in it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT set_config(name, 'off', true)
              FROM unnest('{enable_hashjoin,enable_mergejoin,enable_seqscan}'::text[]) AS way (name)
             UNION ALL SELECT set_config('lock_timeout', %s, true)
             UNION ALL SELECT set_config('idle_in_transaction_session_timeout', %s, true)
            """,
            [_milliseconds(lock_timeout), _milliseconds(_longest_pause())],
        )


def limit_lock_waits(seconds: float) -> None:
    """Wait for locks no longer than this in the rest of the transaction. One query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [_milliseconds(seconds)])


def _longest_pause() -> float:
    """Return the seconds that a worker may need between two statements: the hook is called for each event in a row."""
    return TIMEOUTS[SessionKind.WORKER].idle + (hooks.SECONDS * settings.DIGEST_BATCH if settings.HOOKS else 0)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
