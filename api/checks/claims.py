"""Check of workers' claims: messages of dead workers are recovered."""

from collections.abc import Iterator

from api.checks.base import Counts, Difference, stream


def check_claims(_: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield claims of workers that died more than 5 minutes ago. Of all sites, because a claim belongs to none."""
    rows = stream(
        """
        SELECT c.worker, cardinality(c.message_ids),
               c.claimed_at < clock_timestamp() - interval '5 minutes' AND NOT EXISTS (
                   SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                    WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND d.datname = current_database()
                      AND (l.classid::bigint << 32 | l.objid::bigint) = c.worker)
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
