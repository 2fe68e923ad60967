"""Results of messages, collected from their effects and written to their rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from django.db import connection

from api.digest.derivation import Derivation, GoalHit, find_linked_code
from api.digest.duplicate_sources import warn_of_duplicate_sources
from api.digest.selection import ClaimedMessage
from api.digest.site_config import SiteConfig
from api.digest.transaction_settings import prefer_hash_joins
from api.events.effects import Effect
from api.models.message_rows import free_keys
from cohorts.changes import Visitors
from cohorts.people import ChangeOutcome
from goals.cancelling import record_cancellations
from goals.experiments.catalogue import note_variations
from goals.models import Conversion
from goals.recording import HitOutcome, RecordedHit
from goals.visit_facts import ExposureKey, ExposureLink, NewExposure, record_exposures, record_facts
from goals.visitor_totals import CountedConversion

EFFECTS: Final = tuple(Effect)


@dataclass(slots=True)
class MessageResult:
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


def note_applied(result: MessageResult, applied: ChangeOutcome) -> None:
    if applied.has_new_facts:
        result.effects.add(Effect.PROFILE_UPDATED)
    if applied.has_new_links:
        result.effects.add(Effect.LINKED)
    if applied.has_moved_visitor:
        result.warnings.add("visitor_moved")
    if applied.has_taken_username:
        result.warnings.add("username_taken")
    result.warnings |= applied.beyond_limits


def note_recorded(result: MessageResult, recorded: RecordedHit) -> None:
    if recorded.outcome == HitOutcome.CONVERTED:
        result.effects |= {Effect.CONVERTED, Effect.GOAL_CREATED} if recorded.is_new_goal else {Effect.CONVERTED}
        result.goal_id = recorded.goal_id
        result.warnings |= {"archived_goal"} if recorded.is_archived else set()
    elif recorded.outcome == HitOutcome.DEFERRED:
        result.status, result.reason, result.waiting_for = "deferred", "goal_quota", recorded.goal_name
    elif recorded.outcome == HitOutcome.BACKLOG_FULL:
        result.status, result.reason = "failed", "goal_backlog_full"
    elif recorded.outcome == HitOutcome.UNKNOWN_GOAL:
        result.status, result.reason = "rejected", "unknown_goal"
    else:
        result.reason = "already_converted"


def note_cancellations(
    config: SiteConfig, derived: Iterable[tuple[MessageResult, Derivation]]
) -> list[CountedConversion]:
    """Record the cancellations of a batch, note what became of each, and return the new ones, which totals lack.

    Two queries, if there are any.
    """
    said = [(result, effects.cancellation) for result, effects in derived if effects.cancellation]
    recorded, counted = record_cancellations(
        config.site_id, [cancellation for _, cancellation in said], template=config.policy.template
    )
    for (result, _), outcome in zip(said, recorded, strict=True):
        note_recorded(result, outcome)
        if Effect.CONVERTED in result.effects:
            result.effects = (result.effects - {Effect.CONVERTED}) | {Effect.CANCELLED}
    return counted


def note_visits(site_id: int, derived: Iterable[tuple[MessageResult, Derivation]], visitors: Visitors) -> None:
    """Record the facts of visits and the exposures of a batch, and note what was new.

    A query for facts and two for exposures, if there are any. Four more if exposures make an experiment or a variation.
    """
    said = [(result, effects) for result, effects in derived if effects.visit_fact or effects.exposure]
    new_facts = record_facts(site_id, [effects.visit_fact for _, effects in said if effects.visit_fact])
    exposures = [effects.exposure for _, effects in said if effects.exposure]
    new_exposures = record_exposures(site_id, exposures, find_exposure_links(exposures, visitors))
    without_room = note_variations(site_id, [exposure.said for exposure in exposures])
    for result, effects in said:
        fact, exposure = effects.visit_fact, effects.exposure
        if exposure is not None and exposure.said.numbers in without_room:
            result.warnings.add("many_experiments")
        is_new = (fact is not None and fact.message_id in new_facts) or (
            exposure is not None and exposure.key in new_exposures
        )
        result.effects |= {Effect.RECORDED} if is_new else set()
        new_exposures -= {exposure.key} if exposure is not None else set()  # only the first line of a batch is new


def find_exposure_links(exposures: Iterable[NewExposure], visitors: Visitors) -> dict[ExposureKey, ExposureLink]:
    """Return the visitor codes that links give to exposures without one, and the rules of the links. Pure."""
    links: dict[ExposureKey, ExposureLink] = {}
    for exposure in exposures:
        code, is_user = exposure.holder
        if is_user or exposure.anonymous_id:
            rule, linked = find_linked_code(
                visitors, user=code if is_user else None, anonymous=exposure.anonymous_id or None
            )
            if rule in Conversion.LINKED:
                links[exposure.key] = (linked, int(rule))
    return links


def note_duplicate_sources(site_id: int, hits: Sequence[tuple[MessageResult, GoalHit]]) -> None:
    converted = {
        hit.message_key: (result, hit.event.name) for result, hit in hits if Effect.CONVERTED in result.effects
    }
    warnings = warn_of_duplicate_sources(site_id, {key: name for key, (_, name) in converted.items()})
    for key, warning in warnings.items():
        result, _ = converted[key]
        result.warnings.add("twin")
        result.detail = warning


def conclude(result: MessageResult, effects: Derivation, message: ClaimedMessage) -> None:
    """Add the effects that the message had before it was deferred."""
    result.detail = "\n".join(detail for detail in (result.detail, effects.detail) if detail)
    result.warnings |= message.warnings | set(effects.warnings)
    result.effects |= message.effects
    if effects.rejected:
        result.status, result.reason = "rejected", effects.rejected
    elif effects.failed:
        result.status, result.reason = "failed", effects.failed
    elif result.status == "done" and not result.effects:
        result.effects, result.reason = {Effect.NONE}, result.reason or effects.idle_reason


def save_results(site_id: int, results: Sequence[MessageResult], *, now: datetime) -> None:
    """Write the results of a site's messages to their rows. Two queries, three if any was rejected."""
    if rejected := [result.id for result in results if result.status == "rejected"]:
        free_keys(site_id, rejected)  # a resend of a rejected event gets a new chance
    if not results:
        return
    prefer_hash_joins()
    ids = [result.id for result in results]
    outcomes: dict[tuple[Any, ...], int] = {}
    numbers = [outcomes.setdefault(_outcome_of(result), len(outcomes)) for result in results]
    columns = zip(*outcomes, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE api_message AS m
               SET status = v.status, reason = v.reason, detail = v.detail, waiting_for = v.waiting_for,
                   effects = string_to_array(v.effects, ' '), warnings = string_to_array(v.warnings, ' '),
                   goal_id = r.goal_id, attempts = m.attempts + v.failed_attempts, digested_at = %s,
                   has_waited = m.has_waited OR v.status = 'deferred',
                   reading = coalesce(v.reading, m.reading)
              FROM unnest(%b::bigint[], %b::bigint[], %b::int[]) AS r (id, goal_id, outcome),
                   unnest(%b::int[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::int[],
                          %b::smallint[])
                   AS v (outcome, status, reason, detail, waiting_for, effects, warnings, failed_attempts, reading)
             WHERE r.outcome = v.outcome
               AND m.site_id = %s AND m.id = r.id AND m.id = ANY(%b::bigint[]) AND m.id BETWEEN %s AND %s
            """,
            [
                now,
                ids,
                [result.goal_id for result in results],
                numbers,
                list(range(len(outcomes))),
                *map(list, columns),
                site_id,
                ids,
                min(ids),
                max(ids),
            ],
        )


def _outcome_of(result: MessageResult) -> tuple[Any, ...]:
    """Return the columns that few results of a batch differ in."""
    return (
        result.status,
        result.reason,
        result.detail,
        result.waiting_for,
        " ".join([effect for effect in EFFECTS if effect in result.effects]),
        " ".join(sorted(result.warnings)),
        result.failed_attempts,
        result.reading,
    )
