"""Cancellations: conversions that their senders took back, recorded by themselves.

`goals.totals` counts them, and subtracts their revenue on the day of the cancellation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import connection

from goals.matching import EventName
from goals.recording import HitOutcome, RecordedHit, find_goals_of_events
from goals.visit_facts import VisitHolder
from goals.visitor_totals import CountedConversion
from locks import Lock, waits_for


@dataclass(frozen=True, slots=True)
class NewCancellation:
    """A cancellation that one message says."""

    event: EventName  # the id of its goal
    holder: VisitHolder
    message_key: str
    occurred_at: datetime
    revenue: Decimal | None
    currency: str | None
    properties: str  # JSON


def record_cancellations(
    site_id: int, cancellations: Sequence[NewCancellation], *, template: str
) -> tuple[list[RecordedHit], list[CountedConversion]]:
    """Record cancellations and return the results in the same order, and the new ones with the revenue that they take.

    The outcome `converted` means that it was recorded. Call it inside a transaction, and then `recording.record`, which
    counts the new ones. Two queries, if there are any cancellations.
    """
    if not cancellations:
        return [], []
    events = list(dict.fromkeys(each.event for each in cancellations))
    goals = find_goals_of_events(site_id, events, template=template)
    by_key = {each.message_key: each for each in reversed(cancellations) if each.event in goals}
    with waits_for(Lock.GOAL):
        inserted = _insert(site_id, [(by_key[key], goals[by_key[key].event].id) for key in sorted(by_key)])
    counted = [
        CountedConversion(
            (goals[new.event].id, new.holder.visitor_code),
            new.occurred_at,
            None if new.revenue is None else -new.revenue,
            new.currency,
        )
        for new in map(by_key.__getitem__, inserted)
    ]
    recorded = []
    for each in cancellations:
        goal = goals.get(each.event)
        if goal is None:
            recorded.append(RecordedHit(HitOutcome.UNKNOWN_GOAL))
            continue
        is_new = each.message_key in inserted
        inserted.discard(each.message_key)
        outcome = HitOutcome.CONVERTED if is_new else HitOutcome.ALREADY_CONVERTED
        recorded.append(RecordedHit(outcome, goal.id, goal.name, is_archived=goal.is_archived))
    return recorded, counted


def _insert(site_id: int, rows: Sequence[tuple[NewCancellation, int]]) -> set[str]:
    """Insert cancellations in the order of their keys, and return the keys of the new ones. One query, if any."""
    if not rows:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_cancellation (site_id, goal_id, visitor_code, is_user, occurred_at, revenue, currency,
                                            properties, message_key)
            SELECT %(site)s, n.*
              FROM unnest(%(goals)b::bigint[], %(codes)b::text[], %(users)b::bool[], %(times)b::timestamptz[],
                          %(revenue)b::numeric[], %(currencies)b::text[], %(properties)b::jsonb[], %(keys)b::text[])
                   AS n
            ON CONFLICT (site_id, message_key) DO NOTHING
            RETURNING message_key
            """,
            {
                "site": site_id,
                "goals": [goal_id for _, goal_id in rows],
                "codes": [each.holder.visitor_code for each, _ in rows],
                "users": [each.holder.is_user for each, _ in rows],
                "times": [each.occurred_at for each, _ in rows],
                "revenue": [each.revenue for each, _ in rows],
                "currencies": [each.currency for each, _ in rows],
                "properties": [each.properties for each, _ in rows],
                "keys": [each.message_key for each, _ in rows],
            },
        )
        return {key for (key,) in cursor.fetchall()}
