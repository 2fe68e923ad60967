"""Verdicts: the results of messages, collected from their effects and written to their rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection

from api.digest.derivation import Derivation, GoalHit
from api.digest.duplicate_sources import warn_of_duplicate_sources
from api.digest.selection import ClaimedMessage
from api.events.effects import Effect
from goals.recording import HitOutcome, RecordedHit


@dataclass(slots=True)
class Verdict:
    """Result of a message, written to its row."""

    id: int
    status: str = "done"
    reason: str = ""
    detail: str = ""
    effects: set[str] = field(default_factory=set)
    warnings: set[str] = field(default_factory=set)
    waiting_for: str = ""
    goal_id: int | None = None
    failed_attempts: int = 0
    reading: int | None = None  # the one it was derived under; None if that failed


def note_recorded(verdict: Verdict, recorded: RecordedHit) -> None:
    if recorded.outcome == HitOutcome.CONVERTED:
        verdict.effects |= {Effect.CONVERTED, Effect.GOAL_CREATED} if recorded.is_new_goal else {Effect.CONVERTED}
        verdict.goal_id = recorded.goal_id
        verdict.warnings |= {"archived_goal"} if recorded.is_archived else set()
    elif recorded.outcome == HitOutcome.DEFERRED:
        verdict.status, verdict.reason, verdict.waiting_for = "deferred", "goal_quota", recorded.goal_name
    elif recorded.outcome == HitOutcome.BACKLOG_FULL:
        verdict.status, verdict.reason = "failed", "goal_backlog_full"
    else:
        verdict.reason = "already_converted"


def note_duplicate_sources(site_id: int, hits: Sequence[tuple[Verdict, GoalHit]]) -> None:
    converted = {
        hit.message_key: (verdict, hit.event.name) for verdict, hit in hits if Effect.CONVERTED in verdict.effects
    }
    warnings = warn_of_duplicate_sources(site_id, {key: name for key, (_, name) in converted.items()})
    for key, warning in warnings.items():
        verdict, _ = converted[key]
        verdict.warnings.add("twin")
        verdict.detail = warning


def conclude(verdict: Verdict, effects: Derivation, message: ClaimedMessage) -> None:
    """Add the effects that the message had before it was deferred."""
    verdict.detail = "\n".join(detail for detail in (verdict.detail, effects.detail) if detail)
    verdict.warnings |= message.warnings | set(effects.warnings)
    verdict.effects |= message.effects
    if effects.rejected:
        verdict.status, verdict.reason = "rejected", effects.rejected
    elif effects.failed:
        verdict.status, verdict.reason = "failed", effects.failed
    elif verdict.status == "done" and not verdict.effects:
        verdict.effects, verdict.reason = {Effect.NONE}, verdict.reason or effects.idle_reason


def save_verdicts(verdicts: Sequence[Verdict], *, now: datetime) -> None:
    """Write the results of messages to their rows. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE api_message AS m
               SET status = v.status, reason = v.reason, detail = v.detail, waiting_for = v.waiting_for,
                   effects = string_to_array(v.effects, ' '), warnings = string_to_array(v.warnings, ' '),
                   goal_id = v.goal_id, attempts = m.attempts + v.failed_attempts, digested_at = %s,
                   has_waited = m.has_waited OR v.status = 'deferred',
                   reading = coalesce(v.reading, m.reading)
              FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[],
                          %b::bigint[], %b::int[], %b::smallint[])
                   AS v (id, status, reason, detail, waiting_for, effects, warnings, goal_id, failed_attempts, reading)
             WHERE m.id = v.id
            """,
            [
                now,
                [verdict.id for verdict in verdicts],
                [verdict.status for verdict in verdicts],
                [verdict.reason for verdict in verdicts],
                [verdict.detail for verdict in verdicts],
                [verdict.waiting_for for verdict in verdicts],
                [" ".join(effect for effect in Effect if effect in verdict.effects) for verdict in verdicts],
                [" ".join(sorted(verdict.warnings)) for verdict in verdicts],
                [verdict.goal_id for verdict in verdicts],
                [verdict.failed_attempts for verdict in verdicts],
                [verdict.reading for verdict in verdicts],
            ],
        )
