"""Check of workers' claims: messages of dead workers are recovered."""

from collections.abc import Iterator

from api.checks.base import Counts, Difference, stream
from sessions import IS_WORKER_ALIVE


def check_claims(_: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield claims of workers that died more than 5 minutes ago. Of all sites, because a claim belongs to none."""
    rows = stream(
        f"""
        SELECT c.worker, cardinality(c.message_ids),
               c.claimed_at < clock_timestamp() - interval '5 minutes' AND NOT {IS_WORKER_ALIVE}
          FROM api_claim c ORDER BY c.claimed_at
        """,
        {},
    )
    meaning = (
        "A worker died more than 5 minutes ago, and its messages were not recovered. Start a worker and beat: they "
        "recover such messages every second."
    )
    for worker, messages, is_left in rows:
        counts["claims"] += 1
        if is_left:
            yield Difference(meaning, f"claim of worker {worker}, {messages} messages")
