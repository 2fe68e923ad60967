"""Check of the queue: every deferred message waits for a queued goal name."""

from collections.abc import Iterator

from api.checks.base import DERIVE_AGAIN, Counts, Difference, fetch_row, of_site, stream


def check_queue(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield deferred messages whose goal name is not in the queue.

    A name without a message is no difference: its message may have failed, and the name leaves when its turn comes.
    """
    counts["names"], counts["ready"], counts["deferred"] = fetch_row(
        f"""
        SELECT count(*), count(*) FILTER (WHERE has_goal),
               (SELECT count(*) FROM api_message m WHERE m.status = 'deferred' AND {of_site("m.site_id")})
          FROM goals_waitingname WHERE {of_site("site_id")}
        """,
        {"site": site_id},
    )
    stranded = stream(
        f"""
        SELECT m.id FROM api_message m
         WHERE m.status = 'deferred' AND {of_site("m.site_id")} AND NOT EXISTS (
               SELECT 1 FROM goals_waitingname w WHERE w.site_id = m.site_id AND w.name = m.waiting_for)
        """,
        {"site": site_id},
    )
    meaning = (
        f"A deferred message waits for a name that is not in the queue, so its turn would never come. {DERIVE_AGAIN}"
    )
    for (id_,) in stranded:
        yield Difference(meaning, f"message {id_}")
