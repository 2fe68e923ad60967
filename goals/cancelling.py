"""Cancellations: conversions that their senders took back, recorded by themselves and summed when they are read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection

from goals.matching import EventName
from goals.recording import HitOutcome, RecordedHit, find_goals_of_events
from goals.visit_facts import VisitHolder
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


class Cancelled(NamedTuple):
    """Sum of the cancellations of a goal."""

    number: int
    revenue: Mapping[str, Decimal]  # by currency


def record_cancellations(site_id: int, cancellations: Sequence[NewCancellation], *, template: str) -> list[RecordedHit]:
    """Record cancellations and return the results in the same order. Call it inside a transaction. Two queries, if any.

    The outcome `converted` means that it was recorded.
    """
    if not cancellations:
        return []
    events = list(dict.fromkeys(each.event for each in cancellations))
    goals = find_goals_of_events(site_id, events, template=template)
    by_key = {each.message_key: each for each in reversed(cancellations) if each.event in goals}
    with waits_for(Lock.GOAL):
        inserted = _insert(site_id, [(by_key[key], goals[by_key[key].event].id) for key in sorted(by_key)])
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
    return recorded


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


class CancelledOfTimes(NamedTuple):
    """Sums of the cancellations of a goal since ever, of a month and of a day."""

    ever: Cancelled
    month: Cancelled
    last_day: Cancelled


def read_cancelled(sums: str | None) -> CancelledOfTimes:
    """Return the sums in the column `sums` of totals.sql. Pure."""
    rows: list[list[Any]] = json.loads(sums or "[]")
    return CancelledOfTimes(*(_add_up((row[0], *row[place : place + 2]) for row in rows) for place in (1, 3, 5)))


def _add_up(rows: Iterable[tuple[str | None, int, str | None]]) -> Cancelled:
    """Return the sum of (currency, number, revenue)."""
    listed = list(rows)
    revenue = {currency or "": Decimal(total) for currency, _, total in listed if total is not None}
    return Cancelled(sum(count for _, count, _ in listed), revenue)
