"""Check of the inbox: status, reason, effects and site of every message fit together."""

from collections.abc import Iterator
from typing import Final

from api.checks.base import DERIVE_AGAIN, Counts, Difference, of_site, stream
from api.events.effects import Effect
from api.events.reasons import WARNINGS, codes_of
from api.models import Message

REASONS_OF: Final = {
    Message.Status.PENDING: {"", "digest_failed"},
    Message.Status.DEFERRED: {"goal_quota"},
    Message.Status.DONE: codes_of("done") | {""},
    Message.Status.REJECTED: codes_of("rejected"),
    Message.Status.FAILED: codes_of("failed"),
}


def check_inbox(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield messages whose status, reason, effects and site do not fit together."""
    statuses = stream(
        f"SELECT m.status, count(*) FROM api_message m WHERE {of_site('m.site_id')} GROUP BY m.status",
        {"site": site_id},
    )
    for status, count in statuses:
        counts["messages"] += count
        counts[status] += count
    misfits = stream(
        f"""
        SELECT m.id, m.status, m.reason, array_to_string(m.effects, ' ') FROM api_message m
         WHERE {of_site("m.site_id")} AND (
               NOT m.status || ':' || m.reason = ANY(%(reasons)s)
            OR NOT m.effects <@ %(effects)s::varchar[] OR NOT m.warnings <@ %(warnings)s::varchar[]
            OR (m.status = 'done' AND (m.effects = '{{}}' OR m.digested_at IS NULL))
            OR (m.status = 'deferred' AND m.waiting_for = '')
            OR (m.status <> 'done' AND m.effects && '{{converted,cancelled,nothing}}')
            OR (m.effects @> '{{nothing}}' AND cardinality(m.effects) > 1)
            OR (NOT m.effects @> '{{converted}}' AND m.effects @> '{{goal_created}}')
            OR (NOT m.effects && '{{converted,cancelled}}' AND m.goal_id IS NOT NULL)
            OR NOT EXISTS (SELECT 1 FROM api_site s WHERE s.id = m.site_id))
        """,
        {
            "site": site_id,
            "reasons": [f"{status}:{reason}" for status, reasons in REASONS_OF.items() for reason in reasons],
            "effects": [effect.value for effect in Effect],
            "warnings": list(WARNINGS),
        },
    )
    meaning = (
        "Status, reason, effects or site of a message contradict each other: the digest writes no such row. "
        f"{DERIVE_AGAIN}"
    )
    for id_, status, reason, effects in misfits:
        yield Difference(meaning, f"message {id_}: {status}, reason {reason or 'none'}, effects {effects or 'none'}")
