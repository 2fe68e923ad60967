"""Recording of hits as conversions: the lookup of their goals, and the creation of goals within their quota."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec
from django.db import connection

from goals import quota, totals, waiting
from goals.matching import BY_ID, EventName, KnownGoal, list_lookup_names, match_goal
from goals.models import Conversion, Goal, GoalTag, Tag
from goals.naming import name_goal
from goals.visitor_totals import CountedConversion
from locks import Lock, waits_for

KeyedBy = Conversion.KeyedBy
ID_DIGITS: Final = 18  # of a goal's id; all of them fit into a bigint


class Hit(msgspec.Struct, frozen=True):
    """One event that hits a goal, with the visitor it counts for already resolved."""

    event: EventName
    message_key: str
    occurred_at: datetime
    visitor_code: str
    keyed_by: int
    user_id: str | None
    anonymous_id: str | None
    revenue: Decimal | None
    currency: str | None
    value: Decimal | None
    properties: str  # JSON
    arrival: int  # the number of its message; a waiting name has the place of its earliest message
    source_id: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of a site for the goals that events create."""

    template: str
    tag: str
    windows: tuple[quota.Window, ...]
    max_waiting_names: int


class HitOutcome(StrEnum):
    CONVERTED = "converted"
    ALREADY_CONVERTED = "already_converted"
    DEFERRED = "deferred"
    BACKLOG_FULL = "backlog_full"
    UNKNOWN_GOAL = "unknown_goal"  # the event names a goal by an id that no live goal has


class RecordedHit(msgspec.Struct, frozen=True):
    """Result of a hit: its goal, or the name that waits for quota."""

    outcome: HitOutcome
    goal_id: int | None = None
    goal_name: str = ""
    is_new_goal: bool = False
    is_archived: bool = False
    earlier: int = 0  # conversions that the visitor had on the goal, at least, before those of the transaction


def record(
    site_id: int,
    hits: Sequence[Hit],
    *,
    policy: Policy,
    moved: Sequence[totals.MovedConversion] = (),
    cancelled: Sequence[CountedConversion] = (),
) -> list[RecordedHit]:
    """Record hits of one site and return their results in the same order. Call it inside a transaction.

    Unknown names become goals while the quota lasts (promises K-03, K-26, K-27); the rest is deferred, first come,
    first created (K-31). The totals follow, also those of what `rekeying.rekey` moved and
    `cancelling.record_cancellations` recorded before. Two queries if every name is known, some eight more if one is
    not, and those of `totals.count_conversions`. Raises HeldError if another session holds a row for longer than
    `lock_timeout`.
    """
    if not hits:
        with waits_for(Lock.FIGURES):
            totals.count_conversions(site_id, [], moved, cancelled)
        return []
    events = list(dict.fromkeys(hit.event for hit in hits))
    goals = find_goals_of_events(site_id, events, template=policy.template)
    unknown = [hit for hit in hits if hit.event not in goals and not hit.event.is_goal_id]
    with waits_for(Lock.NEW_GOALS):
        creation = _create_goals(site_id, unknown, policy=policy) if unknown else _CreationResult({}, set(), {})
    goals |= creation.goals
    with waits_for(Lock.GOAL):
        inserted = _insert_conversions(site_id, [(hit, goals[hit.event].id) for hit in hits if hit.event in goals])
    with waits_for(Lock.FIGURES):
        earlier = totals.count_conversions(site_id, list(inserted.values()), moved, cancelled)
    recorded = []
    for hit in hits:
        goal = goals.get(hit.event)
        if goal is None:
            refused = creation.refused.get(hit.event)
            recorded.append(RecordedHit(HitOutcome.UNKNOWN_GOAL) if refused is None else refused)
            continue
        converted = hit.message_key in inserted
        recorded.append(
            RecordedHit(
                HitOutcome.CONVERTED if converted else HitOutcome.ALREADY_CONVERTED,
                goal_id=goal.id,
                goal_name=goal.name,
                is_new_goal=converted and goal.id in creation.new_goal_ids,
                is_archived=goal.is_archived,
                earlier=earlier.get((goal.id, hit.visitor_code), 0),
            )
        )
        if converted:
            creation.new_goal_ids.discard(goal.id)  # only the first hit created it
    return recorded


def find_goals_of_events(site_id: int, events: Sequence[EventName], *, template: str) -> dict[EventName, KnownGoal]:
    """Return the goals of the events that have one at present. One query."""
    bindings, goals = find_candidates(site_id, events, template=template)
    matches = {event: match_goal(event, bindings=bindings, goals=goals, template=template) for event in events}
    return {event: goal for event, goal in matches.items() if goal is not None}


def find_candidates(
    site_id: int, events: Sequence[EventName], *, template: str
) -> tuple[dict[EventName, KnownGoal], dict[str, KnownGoal]]:
    """Return the goals that these events are bound to, and the goals that they may match by name. One query.

    An event that names the id of a goal is bound to it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT NULL, NULL, g.id, g.name, g.is_named_by_event,
                   CASE WHEN target.id IS NULL THEN g.archived_at ELSE target.archived_at END IS NOT NULL
              FROM goals_goal g
              LEFT JOIN goals_goal target ON target.site_id = %(site)s AND target.id = g.counts_for_id
             WHERE g.site_id = %(site)s AND g.deleted_at IS NULL AND g.name = ANY(%(names)b::text[])
             UNION ALL
            SELECT b.event_type, b.event_name, g.id, g.name, g.is_named_by_event,
                   CASE WHEN target.id IS NULL THEN g.archived_at ELSE target.archived_at END IS NOT NULL
              FROM unnest(%(types)b::text[], %(event_names)b::text[]) AS e (type, name)
              JOIN goals_goalbinding b
                ON b.site_id = %(site)s AND b.event_type = e.type AND b.event_name = e.name
              JOIN goals_goal g ON g.site_id = %(site)s AND g.id = b.goal_id AND g.deleted_at IS NULL
              LEFT JOIN goals_goal target ON target.site_id = %(site)s AND target.id = g.counts_for_id
             UNION ALL
            SELECT %(by_id)s, g.id::text, g.id, g.name, g.is_named_by_event,
                   CASE WHEN target.id IS NULL THEN g.archived_at ELSE target.archived_at END IS NOT NULL
              FROM goals_goal g
              LEFT JOIN goals_goal target ON target.site_id = %(site)s AND target.id = g.counts_for_id
             WHERE g.site_id = %(site)s AND g.id = ANY(%(ids)b::bigint[]) AND g.deleted_at IS NULL
            """,
            {
                "site": site_id,
                "by_id": BY_ID,
                "ids": [int(event.name) for event in events if event.is_goal_id and len(event.name) <= ID_DIGITS],
                "names": list_lookup_names(events, template=template),
                "types": [event.type for event in events],
                "event_names": [event.name for event in events],
            },
        )
        rows = cursor.fetchall()
    bindings = {EventName(row[0], row[1]): KnownGoal(*row[2:]) for row in rows if row[0] is not None}
    goals = {row[3]: KnownGoal(*row[2:]) for row in rows if row[0] is None}
    return bindings, goals


@dataclass(frozen=True, slots=True)
class _CreationResult:
    goals: dict[EventName, KnownGoal]
    new_goal_ids: set[int]
    refused: dict[EventName, RecordedHit]


def _create_goals(site_id: int, hits: Sequence[Hit], *, policy: Policy) -> _CreationResult:
    """Create goals for unknown events, as many as the quota and the queue allow."""
    now = quota.lock_names(site_id)
    arrivals: dict[EventName, int] = {}
    for hit in hits:
        arrivals[hit.event] = min(hit.arrival, arrivals.get(hit.event, hit.arrival))
    events = list(arrivals)
    goals = find_goals_of_events(site_id, events, template=policy.template)  # another worker may have created some
    names = {
        event: name_goal(event.type, event.name, template=policy.template) for event in events if event not in goals
    }
    if not names:
        return _CreationResult(goals, set(), {})
    free = quota.count_free(site_id, policy.windows, now=now)
    queue = waiting.load_queue(site_id, names=names.values(), places=free)
    comers = [waiting.Newcomer(name, event, arrivals[event]) for event, name in names.items()]
    turns = dict(queue.head)
    for comer in comers:
        turns[comer.name] = min(comer.arrival, turns.get(comer.name, comer.arrival))
    may_create = set(sorted(turns, key=lambda name: turns[name])[:free])  # stable: in a tie the queue comes first
    created = [name for name in dict.fromkeys(names.values()) if name in may_create]
    new = insert_goals(site_id, created, tag=policy.tag, origin=Goal.Origin.EVENT)
    quota.consume(site_id, len(new), now=now)
    waiting.mark_created(site_id, new.keys() & queue.waiting)
    refused = [comer for comer in comers if comer.name not in new]
    waits = waiting.join_queue(site_id, refused, queue, most=policy.max_waiting_names)
    return _CreationResult(
        goals | {event: new[name] for event, name in names.items() if name in new},
        {goal.id for goal in new.values()},
        {
            comer.event: RecordedHit(
                HitOutcome.DEFERRED if comer.name in waits else HitOutcome.BACKLOG_FULL, goal_name=comer.name
            )
            for comer in refused
        },
    )


def insert_goals(site_id: int, names: Sequence[str], *, tag: str, origin: Goal.Origin) -> dict[str, KnownGoal]:
    """Insert tagged goals that are named by events. Under the site's name lock, so no name can exist."""
    if not names:
        return {}
    goals = Goal.objects.bulk_create(
        Goal(site_id=site_id, name=name, origin=origin, is_named_by_event=True) for name in names
    )
    tag = tag.strip()
    if tag:
        tagged, _ = Tag.objects.get_or_create(site_id=site_id, name=tag)
        GoalTag.objects.bulk_create(GoalTag(site_id=site_id, goal=goal, tag=tagged) for goal in goals)
    return {goal.name: KnownGoal(goal.pk, goal.name, is_named_by_event=True, is_archived=False) for goal in goals}


def _insert_conversions(site_id: int, goal_hits: Sequence[tuple[Hit, int]]) -> dict[str, CountedConversion]:
    """Insert conversions, sorted by message key, and return the new ones by that key. One query.

    Two workers insert one key at a time only if its message was pruned and sent again. Without ON CONFLICT,
    PostgreSQL would write the messageId to its log.
    """
    by_key = {hit.message_key: (hit, goal_id) for hit, goal_id in reversed(goal_hits)}
    if not by_key:
        return {}
    goal_hits = [by_key[key] for key in sorted(by_key)]
    hits = [hit for hit, _ in goal_hits]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_conversion (site_id, goal_id, message_key, occurred_at, visitor_code, keyed_by, user_id,
                                          anonymous_id, revenue, currency, value, properties, source_id)
            SELECT %(site)s, n.*
              FROM unnest(%(goals)b::bigint[], %(keys)b::text[], %(times)b::timestamptz[], %(codes)b::text[],
                          %(keyed_by)b::smallint[], %(users)b::text[], %(devices)b::text[], %(revenue)b::numeric[],
                          %(currencies)b::text[], %(values)b::numeric[], %(properties)b::jsonb[], %(sources)b::bigint[])
                   AS n
            ON CONFLICT (site_id, message_key) DO NOTHING
            RETURNING message_key
            """,
            {
                "site": site_id,
                "goals": [goal_id for _, goal_id in goal_hits],
                "keys": [hit.message_key for hit in hits],
                "times": [hit.occurred_at for hit in hits],
                "codes": [hit.visitor_code for hit in hits],
                "keyed_by": [hit.keyed_by for hit in hits],
                "users": [hit.user_id for hit in hits],
                "devices": [hit.anonymous_id for hit in hits],
                "revenue": [hit.revenue for hit in hits],
                "currencies": [hit.currency for hit in hits],
                "values": [hit.value for hit in hits],
                "properties": [hit.properties for hit in hits],
                "sources": [hit.source_id for hit in hits],
            },
        )
        inserted = {key for (key,) in cursor.fetchall()}
    return {
        hit.message_key: CountedConversion((goal_id, hit.visitor_code), hit.occurred_at, hit.revenue, hit.currency)
        for hit, goal_id in goal_hits
        if hit.message_key in inserted
    }
