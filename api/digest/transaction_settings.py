"""Settings of the digest's transactions: how PostgreSQL plans their statements and how long they wait for locks."""

from django.conf import settings

from api.digest import hooks
from api.digest.held_locks import WAIT
from api.http.database import TIMEOUTS, SessionKind
from sessions import set_for_transaction


def prefer_index_plans(*, lock_timeout: float = WAIT) -> None:
    """Have every statement of this transaction go by keys, and wait for locks no longer than these seconds. One query.

    A batch touches some thousand rows by their keys. Left alone, the planner joins that many by hashing the whole
    table, which costs milliseconds a batch for every 10,000 rows in it.
    """
    set_for_transaction(
        {
            "enable_hashjoin": "off",
            "enable_material": "off",
            "enable_mergejoin": "off",
            "enable_seqscan": "off",
            "lock_timeout": _milliseconds(lock_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(_longest_pause()),
        }
    )


def prefer_hash_joins() -> None:
    """Have the last statements of this transaction read rows by lists of keys, and join them by hashes. One query.

    As long as PostgreSQL takes a new partition for an empty one, it would compare each row with each value.
    """
    set_for_transaction({"enable_hashjoin": "on", "enable_nestloop": "off"})


def limit_lock_waits(seconds: float) -> None:
    """Wait for locks no longer than this in the rest of the transaction. One query."""
    set_for_transaction({"lock_timeout": _milliseconds(seconds)})


def _longest_pause() -> float:
    """Return the seconds that a worker may need between two statements: the hook is called for each event in a row."""
    return TIMEOUTS[SessionKind.WORKER].idle + (hooks.SECONDS * settings.DIGEST_BATCH if settings.HOOKS else 0)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
