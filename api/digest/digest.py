"""From pending messages to their effects: a batch of one site, one transaction, everything in it or nothing.

Locks are taken in one order everywhere: messages, identities and groups (sorted), the site's goal names, the figures
of goals (sorted). What needs a lock that another session holds for long is set aside (api.digest.aside).
"""

import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

import psycopg
import structlog
from django.conf import settings
from django.db import connection, transaction

import times
from api.digest import hooks, late, taking
from api.digest.aside import PROBE, WAIT, Need, judge_free, leave_out, needs_of
from api.digest.claims import Claims
from api.digest.duplicate_sources import warn_of_twins
from api.digest.mapping import Effects, GoalHit, Stored, derive
from api.digest.planning import limit_waits, plan_by_keys
from api.digest.site_config import Ways
from api.digest.suppression import suppress
from api.digest.taking import Claimed
from api.events.effects import Effect
from api.http.database import is_ours
from cohorts import people
from cohorts.models import Identity
from goals import recording
from goals.matching import EventName
from goals.recording import FirstVisitor, KeyedBy, Outcome, Recorded
from locks import HeldError, Lock, waits_for

RETRIES: Final = 5  # of a batch that lost a race or a deadlock
SMALLER: Final = 25  # a batch of too many bytes is tried again with so many times fewer messages: 500, 20, 1
DETAIL_LENGTH: Final = 10_000

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Verdict:
    """What a message becomes."""

    id: int
    status: str = "done"
    reason: str = ""
    detail: str = ""
    effects: set[str] = field(default_factory=set)
    warnings: set[str] = field(default_factory=set)
    waiting_for: str = ""
    goal_id: int | None = None
    failed_attempts: int = 0
    reading: int | None = None  # the one it was derived under; none if that failed


def digest_pending(ways: Ways, claims: Claims, *, limit: int, now: datetime) -> int:
    """Digest one batch of a site's pending messages; how many it took, 0 when nothing was free to take.

    Messages that failed before, or were in hand when a worker died, go one at a time.
    """
    taken = _digest_again(ways, claims, now=now)
    taken += _digest(ways, claims, partial(taking.claim_pending, ways.site_id, limit), now=now)
    return taken + _digest(ways, claims, partial(taking.claim_suspect, ways.site_id, now), now=now)


def digest_deferred(ways: Ways, claims: Claims, names: Sequence[str], *, now: datetime) -> int:
    """Digest the first deferred message of each of these goal names, whose turn has come; how many it took."""
    return _digest(ways, claims, partial(taking.claim_deferred, ways.site_id, names), now=now)


def digest_waiting(ways: Ways, claims: Claims, names: Mapping[str, datetime], *, limit: int, now: datetime) -> int:
    """Digest a batch of the deferred messages of goal names that were last digested before the name's time.

    Return how many it took, 0 if none is left.
    """
    return _digest(ways, claims, partial(taking.claim_waiting, ways.site_id, names, limit), now=now)


def _digest_again(ways: Ways, claims: Claims, *, now: datetime) -> int:
    """Digest a message of each lock that was held a while ago; where that works, the others of the lock may go on."""
    due = claims.aside.due(ways.site_id)
    if not due:
        return 0
    tried: set[Need] = set()
    try:
        return _digest(ways, claims, partial(taking.claim_again, ways.site_id, due), now=now, tried=tried)
    finally:
        claims.aside.settle(ways.site_id, due, tried=tried)


def _digest(
    ways: Ways,
    claims: Claims,
    claim: "partial[list[int]]",
    *,
    now: datetime,
    tried: set[Need] | None = None,
) -> int:
    """Digest what `claim` takes, as a batch; where the batch fails, one message after the other in savepoints.

    What needs a lock that is held for long is set aside. `tried` is of a batch that was set aside before, which does
    not wait for long, and gets what it needs.
    """
    site_id, aside = ways.site_id, claims.aside
    also: frozenset[people.IdentityKey] = frozenset()
    most: int | None = None  # messages
    for attempt in range(1, RETRIES + 1):
        ids: list[int] = []
        failures: list[Exception] = []
        try:
            with transaction.atomic():
                plan_by_keys(lock_timeout=WAIT if tried is None else PROBE)
                ids = claim(aside.messages(site_id))
                if not ids:
                    return 0
                ids = ids[:most]
                claims.note(ids)
                batch = taking.load(ids)
                verdicts = _judge_batch(ways, claims, batch, also=also, failures=failures, tried=tried)
                _save(verdicts, now=now)
        except Exception as error:
            claims.forget()  # this worker lives; only a dead one leaves its note
            also |= getattr(error, "also", frozenset())
            if isinstance(error, people.TooManyBytesError):
                most = max(1, len(ids) // SMALLER)
            if attempt == RETRIES or not _is_worth_retrying(error):
                hooks.tell(hooks.batch_failed, site_id=site_id, message_ids=ids, error=error)
                raise
        else:
            claims.forget()
            for failure in failures[:1]:
                hooks.tell(hooks.batch_failed, site_id=site_id, message_ids=ids, error=failure)
            if verdicts:
                hooks.tell(hooks.batch_digested, site_id=site_id, messages=_outcomes(batch, verdicts))
            if tried is not None:  # no more messages wait behind these, and the run has to end
                return len(verdicts)
            # Messages that were set aside just now count, too, because others may wait behind them.
            return len(verdicts) + len(set(aside.messages(site_id)) & set(ids))
    raise AssertionError


def _judge_batch(
    ways: Ways,
    claims: Claims,
    batch: Sequence[Claimed],
    *,
    also: frozenset[people.IdentityKey],
    failures: list[Exception],
    tried: set[Need] | None,
) -> list[Verdict]:
    """Judge the messages of a batch that need no lock which is held for long, and set the others aside."""
    site_id, aside = ways.site_id, claims.aside
    needs = _find_needs(ways, batch, claims) if aside.holds(site_id) or tried is not None else {}
    if tried is not None:
        tried.update(*needs.values(), *([Need(None, each.id)] for each in batch))
    free = leave_out(site_id, batch, needs, aside=aside) if needs else batch
    judge_some = partial(_judge_some, ways, also=also, failures=failures)
    if not free:
        return []
    try:
        with transaction.atomic():
            return judge_some(free)
    except HeldError as error:
        lock = error.lock
    log.warning("batch.held", site=site_id, messages=len(batch), lock=lock)
    limit_waits(PROBE)
    needs = _find_needs(ways, free, claims, lock=lock)
    return judge_free(site_id, free, needs, aside=aside, judge=judge_some)


def _judge_some(
    ways: Ways, batch: Sequence[Claimed], *, also: frozenset[people.IdentityKey], failures: list[Exception]
) -> list[Verdict]:
    """Judge messages together; where that fails, note the failure and judge each alone. Raises HeldError."""
    try:
        with transaction.atomic():
            return judge(ways, batch, also=also)
    except Exception as error:
        if _is_nobodys_fault(error):
            raise  # again, from the claim; or in parts
        log.warning("batch.failed", site=ways.site_id, messages=len(batch), error=type(error).__name__)
        failures.append(error)
        return [_judge_alone(ways, each, also=also) for each in batch]


def _find_needs(
    ways: Ways, batch: Sequence[Claimed], claims: Claims, *, lock: Lock | None = None
) -> dict[int, set[Need]]:
    """Return the locks that each message needs, of those of `lock` all. One query where names of goals are held."""
    derived: dict[int, Effects] = {}
    for message in batch:
        try:
            with transaction.atomic() if settings.HOOKS else nullcontext():  # a hook may run SQL that fails
                derived[message.id] = derive(message.stored, ways.rules_of(message.stored))
        except Exception:  # noqa: BLE001 - it will raise again when it is judged
            derived[message.id] = Effects()
    unknown = set[EventName]()
    if lock == Lock.NEW_GOALS or claims.aside.is_held(ways.site_id, Need(Lock.NEW_GOALS)):
        unknown = {effects.goal.event for effects in derived.values() if effects.goal}
        unknown -= recording.resolve(ways.site_id, list(unknown), template=ways.policy.template).keys()
    return {
        id_: needs_of(effects, makes_goal=effects.goal is not None and effects.goal.event in unknown)
        for id_, effects in derived.items()
    }


def _outcomes(batch: Sequence[Claimed], verdicts: Sequence[Verdict]) -> list[hooks.Outcome]:
    messages = {message.id: message.stored for message in batch}
    return [
        hooks.Outcome(
            verdict.id,
            messages[verdict.id].type,
            messages[verdict.id].message_id,
            verdict.status,
            verdict.reason,
            frozenset(verdict.effects),
            verdict.goal_id,
        )
        for verdict in verdicts
    ]


def _is_nobodys_fault(error: Exception) -> bool:
    """Return whether an error is a lost race, too much at once, or trouble of the database, not of a message.

    A statement that was ended after ten minutes is excluded: it was too much for this batch, or for this message.
    """
    if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
        return False
    return isinstance(error, people.LostRaceError | people.TooManyBytesError) or is_ours(error.__cause__)


def _is_worth_retrying(error: Exception) -> bool:
    """Return whether an error is a lost race, too much at once, a deadlock or a serialization failure."""
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, people.LostRaceError | people.TooManyBytesError) or sqlstate in {"40001", "40P01"}


def _judge_alone(ways: Ways, message: Claimed, *, also: frozenset[people.IdentityKey]) -> Verdict:
    """Digest one message in a savepoint; its failure is its own."""
    try:
        with transaction.atomic():
            return judge(ways, [message], also=also)[0]
    except Exception as error:
        if _is_nobodys_fault(error):
            raise
        attempts = message.attempts + 1
        is_hooks = isinstance(error, hooks.TransactionLostError)
        has_failed = is_hooks or attempts >= settings.DIGEST_ATTEMPTS
        log.exception("message.failed", message=message.stored.id, attempts=attempts, has_failed=has_failed)
        return Verdict(
            message.stored.id,
            status="failed" if has_failed else "pending",
            reason="transform_failed" if is_hooks else "digest_failed",
            detail="".join(traceback.format_exception(error))[-DETAIL_LENGTH:].replace("\0", ""),
            effects=set(message.effects),
            warnings=set(message.warnings),
            failed_attempts=1,
        )


def judge(ways: Ways, batch: Sequence[Claimed], *, also: frozenset[people.IdentityKey] = frozenset()) -> list[Verdict]:
    """Apply what messages mean, and say what becomes of each. Inside a transaction.

    Facts and links first, for the whole batch: whose a conversion is depends on them. Raises LostRaceError, upon which
    the batch is digested again with what the error names in `also`, and HeldError.
    """
    with waits_for(Lock.OTHER):
        return _judge(ways, batch, also)


def _judge(ways: Ways, batch: Sequence[Claimed], also: frozenset[people.IdentityKey]) -> list[Verdict]:
    messages = [message.stored for message in batch]
    _require_times(messages)
    derived = suppress(ways.site_id, messages, [derive(message, ways.rules_of(message)) for message in messages])
    verdicts = [Verdict(message.id, reading=message.reading) for message in messages]
    changes = [(verdict, effects.change) for verdict, effects in zip(verdicts, derived, strict=True) if effects.change]
    outcome = people.apply(ways.site_id, [change for _, change in changes], also=also, most_linked=settings.MOST_LINKED)
    rekeyed = recording.rekey(ways.site_id, late_links(outcome.changed), most=settings.MOST_REKEYED)
    late.postpone(ways.site_id, shares=outcome.postponed, rekeys=rekeyed.postponed)
    for (verdict, _), applied in zip(changes, outcome.applied, strict=True):
        verdict.effects |= {Effect.PROFILE_UPDATED} if applied.has_new_facts else set()
        verdict.effects |= {Effect.LINKED} if applied.has_new_links else set()
        verdict.warnings |= {"visitor_moved"} if applied.has_moved_visitor else set()
        verdict.warnings |= {"username_taken"} if applied.has_taken_username else set()
        verdict.warnings |= applied.beyond_limits
    hits = [(verdict, effects.goal) for verdict, effects in zip(verdicts, derived, strict=True) if effects.goal]
    recorded = recording.record(
        ways.site_id, [goal.keyed(outcome.visitors) for _, goal in hits], policy=ways.policy, moved=rekeyed.moved
    )
    for (verdict, _), what in zip(hits, recorded, strict=True):
        _note_recorded(verdict, what)
    if ways.has_twins:
        with waits_for(Lock.GOAL):
            _note_twins(ways.site_id, hits)
    _check_references()
    for verdict, effects, message in zip(verdicts, derived, batch, strict=True):
        _conclude(verdict, effects, message)
    return verdicts


class UnreadableTimeError(Exception):
    """A row whose time was set by hand to what no event has."""


def _require_times(messages: Sequence[Stored]) -> None:
    """Raise UnreadableTimeError for a message whose time Python cannot hold."""
    if any(message.occurred_at in {times.EARLIEST, times.LATEST} for message in messages):
        raise UnreadableTimeError(
            "The time of this row is infinite, before the year 1 or after 9999; somebody has set it by hand. "
            "Correct `occurred_at` in api_message, then retry."
        )


def _check_references() -> None:
    """Check foreign keys now, so that a goal or site that is held stops this part of a batch and not its commit."""
    with waits_for(Lock.GOAL), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def late_links(changed: people.Visitors) -> list[FirstVisitor]:
    """Return the links by which conversions change hands."""
    rules = {Identity.Kind.USER: KeyedBy.USER_LINK, Identity.Kind.ANONYMOUS: KeyedBy.ANONYMOUS_LINK}
    return [
        *(FirstVisitor(rules[Identity.Kind(kind)], value, code) for (kind, value), code in changed.first.items()),
        *(FirstVisitor(KeyedBy.DEVICE_LINK, user, code) for user, code in changed.device.items()),
    ]


def _note_recorded(verdict: Verdict, recorded: Recorded) -> None:
    if recorded.outcome == Outcome.CONVERTED:
        verdict.effects |= {Effect.CONVERTED, Effect.GOAL_CREATED} if recorded.is_new_goal else {Effect.CONVERTED}
        verdict.goal_id = recorded.goal_id
        verdict.warnings |= {"archived_goal"} if recorded.is_archived else set()
    elif recorded.outcome == Outcome.DEFERRED:
        verdict.status, verdict.reason, verdict.waiting_for = "deferred", "goal_quota", recorded.goal_name
    elif recorded.outcome == Outcome.BACKLOG_FULL:
        verdict.status, verdict.reason = "failed", "goal_backlog_full"
    else:
        verdict.reason = "already_converted"


def _note_twins(site_id: int, hits: Sequence[tuple[Verdict, GoalHit]]) -> None:
    converted = {
        hit.message_key: (verdict, hit.event.name) for verdict, hit in hits if Effect.CONVERTED in verdict.effects
    }
    warnings = warn_of_twins(site_id, {key: name for key, (_, name) in converted.items()})
    for key, warning in warnings.items():
        verdict, _ = converted[key]
        verdict.warnings.add("twin")
        verdict.detail = warning


def _conclude(verdict: Verdict, effects: Effects, message: Claimed) -> None:
    """Join what the message did now with what it did before it was deferred."""
    verdict.detail = "\n".join(each for each in (verdict.detail, effects.detail) if each)
    verdict.warnings |= message.warnings | set(effects.warnings)
    verdict.effects |= message.effects
    if effects.rejected:
        verdict.status, verdict.reason = "rejected", effects.rejected
    elif effects.failed:
        verdict.status, verdict.reason = "failed", effects.failed
    elif verdict.status == "done" and not verdict.effects:
        verdict.effects, verdict.reason = {Effect.NONE}, verdict.reason or effects.idle_reason


def _save(verdicts: Sequence[Verdict], *, now: datetime) -> None:
    """Write what became of messages. One query."""
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
