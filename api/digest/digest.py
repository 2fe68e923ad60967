"""Digest of one batch: messages of one site become their effects in one transaction, all or nothing.

Locks are taken in one order everywhere: messages, identities and groups (sorted), the site's goal names, the figures
of goals (sorted). Messages that need a lock which another session holds for long are set aside (api.digest.held_locks).
"""

import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from typing import Final

import psycopg
import structlog
from django.conf import settings
from django.db import connection, transaction

import times
from api.digest import hooks, late_links, segments, selection
from api.digest.claims import Claims
from api.digest.derivation import Derivation, StoredMessage
from api.digest.held_locks import PROBE, WAIT, NeededLock, apply_unblocked, find_needed_locks, set_aside_blocked
from api.digest.mapping import derive
from api.digest.message_result import (
    MessageResult,
    conclude,
    note_applied,
    note_cancellations,
    note_duplicate_sources,
    note_recorded,
    note_visits,
    save_results,
)
from api.digest.selection import ClaimedMessage
from api.digest.site_config import SiteConfig
from api.digest.suppression import suppress
from api.digest.touched import TouchedFacts
from api.digest.transaction_settings import limit_lock_waits, prefer_index_plans
from api.http.database import is_server_error
from cohorts import changes, identities, people
from cohorts.models import Identity
from goals import recording, rekeying, waiting
from goals.matching import EventName
from goals.recording import KeyedBy
from goals.rekeying import FirstVisitor
from locks import HeldError, Lock, waits_for

RETRIES: Final = 5  # of a batch that lost a race or a deadlock
SMALLER: Final = 25  # divisor: a batch of too many bytes is tried again with 500, 20 or 1 messages
DETAIL_LENGTH: Final = 10_000

log = structlog.get_logger(__name__)


def digest_pending(
    config: SiteConfig, claims: Claims, *, first: int = 0, has_suspects: bool = True, limit: int, now: datetime
) -> int:
    """Digest one batch of a site's pending messages and return how many it took, 0 if none was free.

    No pending message has an id below `first`. Messages that failed before, or whose worker died, go one at a time; if
    there are none, `has_suspects` may be False.
    """
    taken = _digest_again(config, claims, now=now)
    taken += _digest(config, claims, partial(selection.claim_pending, config.site_id, first, limit), now=now)
    if has_suspects:
        taken += _digest(config, claims, partial(selection.claim_suspect, config.site_id, first, now), now=now)
    return taken


def digest_deferred(config: SiteConfig, claims: Claims, names: Sequence[str], *, now: datetime) -> int:
    """Digest the first deferred message of each of these goal names and return how many it took."""
    first = waiting.find_first_arrival(config.site_id, names)
    return _digest(config, claims, partial(selection.claim_deferred, config.site_id, first, names), now=now)


def digest_waiting(
    config: SiteConfig, claims: Claims, names: Mapping[str, datetime], *, limit: int, now: datetime
) -> int:
    """Digest a batch of the messages that wait for these names and were last digested before the name's time.

    Return how many it took, 0 if none is left.
    """
    first = waiting.find_first_arrival(config.site_id, names)
    return _digest(config, claims, partial(selection.claim_waiting, config.site_id, first, names, limit), now=now)


def _digest_again(config: SiteConfig, claims: Claims, *, now: datetime) -> int:
    """Try one message of each held lock again; if that works, release the other messages of the lock."""
    due = claims.held_locks.take_due(config.site_id)
    if not due:
        return 0
    tried: set[NeededLock] = set()
    try:
        return _digest(config, claims, partial(selection.claim_again, config.site_id, due), now=now, tried=tried)
    finally:
        claims.held_locks.settle(config.site_id, due, tried=tried)


def _digest(
    config: SiteConfig,
    claims: Claims,
    claim: "partial[list[int]]",
    *,
    now: datetime,
    tried: set[NeededLock] | None = None,
) -> int:
    """Digest the messages that `claim` takes as a batch; if it fails, one message after the other in savepoints.

    Messages that need a lock that another session holds for long are set aside. Pass `tried` for messages that were
    set aside: they wait PROBE seconds, and the digest adds the locks that they need to `tried`.
    """
    site_id, held_locks = config.site_id, claims.held_locks
    also: frozenset[changes.IdentityKey] = frozenset()
    most: int | None = None  # messages
    for attempt in range(1, RETRIES + 1):
        ids: list[int] = []
        failures: list[Exception] = []
        try:
            with transaction.atomic():
                prefer_index_plans(lock_timeout=WAIT if tried is None else PROBE)
                ids = claim(held_locks.blocked_messages(site_id))
                if not ids:
                    return 0
                ids = ids[:most]
                claims.note(site_id, ids)
                batch = selection.load(site_id, ids)
                results = _apply_batch(config, claims, batch, also=also, failures=failures, tried=tried)
                save_results(site_id, results, now=now)
        except Exception as error:
            claims.forget()  # only a dead worker leaves its note
            also |= getattr(error, "also", frozenset())
            if isinstance(error, identities.TooManyBytesError):
                most = max(1, len(ids) // SMALLER)
            if attempt == RETRIES or not _is_worth_retrying(error):
                hooks.send_signal(hooks.batch_failed, site_id=site_id, message_ids=ids, error=error)
                raise
        else:
            claims.forget()
            for failure in failures[:1]:
                hooks.send_signal(hooks.batch_failed, site_id=site_id, message_ids=ids, error=failure)
            if results and hooks.batch_digested.receivers:
                hooks.send_signal(hooks.batch_digested, site_id=site_id, messages=_outcomes(batch, results))
            if tried is not None:  # no messages wait behind these, and the run has to end
                return len(results)
            # Messages that were set aside now count too, because others may wait behind them.
            return len(results) + len(set(held_locks.blocked_messages(site_id)) & set(ids))
    raise AssertionError


def _apply_batch(
    config: SiteConfig,
    claims: Claims,
    batch: Sequence[ClaimedMessage],
    *,
    also: frozenset[changes.IdentityKey],
    failures: list[Exception],
    tried: set[NeededLock] | None,
) -> list[MessageResult]:
    """Digest the messages of a batch whose locks are free, and set the others aside."""
    site_id, held_locks = config.site_id, claims.held_locks
    needs = _find_needs(config, batch, claims) if held_locks.has_any(site_id) or tried is not None else {}
    if tried is not None:
        tried.update(*needs.values(), *([NeededLock(None, message.id)] for message in batch))
    free = set_aside_blocked(site_id, batch, needs, held_locks=held_locks) if needs else batch
    apply_some = partial(_apply_some, config, also=also, failures=failures)
    if not free:
        return []
    try:
        with transaction.atomic():
            return apply_some(free)
    except HeldError as error:
        lock = error.lock
    log.warning("batch.held", site=site_id, messages=len(batch), lock=lock)
    limit_lock_waits(PROBE)
    needs = _find_needs(config, free, claims, lock=lock)
    return apply_unblocked(site_id, free, needs, held_locks=held_locks, apply=apply_some)


def _apply_some(
    config: SiteConfig,
    batch: Sequence[ClaimedMessage],
    *,
    also: frozenset[changes.IdentityKey],
    failures: list[Exception],
) -> list[MessageResult]:
    """Digest messages together; if that fails, note the failure and digest each alone. Raises HeldError."""
    try:
        with transaction.atomic():
            return apply_messages(config, batch, also=also)
    except Exception as error:
        if _is_transient(error):
            raise  # the batch is tried again from the claim, or in parts
        log.warning("batch.failed", site=config.site_id, messages=len(batch), error=type(error).__name__)
        failures.append(error)
        return [_apply_alone(config, message, also=also) for message in batch]


def _find_needs(
    config: SiteConfig, batch: Sequence[ClaimedMessage], claims: Claims, *, lock: Lock | None = None
) -> dict[int, set[NeededLock]]:
    """Return the locks that each message needs. One query if goal names are held, or if `lock` is of these."""
    derived: dict[int, Derivation] = {}
    for message in batch:
        try:
            with transaction.atomic() if settings.HOOKS else nullcontext():  # a hook may run SQL that fails
                derived[message.id] = derive(message.stored, config.for_message(message.stored))
        except Exception:  # noqa: BLE001 - it will raise again when it is digested
            derived[message.id] = Derivation()
    unknown = set[EventName]()
    if lock == Lock.NEW_GOALS or claims.held_locks.is_held(config.site_id, NeededLock(Lock.NEW_GOALS)):
        goals = (effects.goal for effects in derived.values() if effects.goal)
        unknown = {goal.event for goal in goals if not goal.event.is_goal_id}
        unknown -= recording.find_goals_of_events(config.site_id, list(unknown), template=config.policy.template).keys()
    return {
        id_: find_needed_locks(effects, makes_goal=effects.goal is not None and effects.goal.event in unknown)
        for id_, effects in derived.items()
    }


def _outcomes(batch: Sequence[ClaimedMessage], results: Sequence[MessageResult]) -> list[hooks.MessageOutcome]:
    messages = {message.id: message.stored for message in batch}
    return [
        hooks.MessageOutcome(
            result.id,
            messages[result.id].type,
            messages[result.id].message_id,
            result.status,
            result.reason,
            frozenset(result.effects),
            result.goal_id,
        )
        for result in results
    ]


def _is_transient(error: Exception) -> bool:
    """Return True for a lost race, too many bytes at once or a database error: no message caused it.

    A statement that was ended after ten minutes is excluded, because the batch or the message was too large for it.
    """
    if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
        return False
    return isinstance(error, identities.LostRaceError | identities.TooManyBytesError) or is_server_error(
        error.__cause__
    )


def _is_worth_retrying(error: Exception) -> bool:
    """Return True for a lost race, too many bytes at once, a deadlock or a serialization failure."""
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    return isinstance(error, identities.LostRaceError | identities.TooManyBytesError) or sqlstate in {"40001", "40P01"}


def _apply_alone(config: SiteConfig, message: ClaimedMessage, *, also: frozenset[changes.IdentityKey]) -> MessageResult:
    """Digest one message in a savepoint, so that its failure leaves the others alone."""
    try:
        with transaction.atomic():
            return apply_messages(config, [message], also=also)[0]
    except Exception as error:
        if _is_transient(error):
            raise
        attempts = message.attempts + 1
        is_hooks = isinstance(error, hooks.TransactionLostError)
        has_failed = is_hooks or attempts >= settings.DIGEST_ATTEMPTS
        log.exception("message.failed", message=message.stored.id, attempts=attempts, has_failed=has_failed)
        return MessageResult(
            message.stored.id,
            status="failed" if has_failed else "pending",
            reason="transform_failed" if is_hooks else "digest_failed",
            detail="".join(traceback.format_exception(error))[-DETAIL_LENGTH:].replace("\0", ""),
            effects=set(message.effects),
            warnings=set(message.warnings),
            failed_attempts=1,
        )


def apply_messages(
    config: SiteConfig, batch: Sequence[ClaimedMessage], *, also: frozenset[changes.IdentityKey] = frozenset()
) -> list[MessageResult]:
    """Apply the meaning of messages and return the result of each. Call it inside a transaction.

    Facts and links of the whole batch come first, because the visitor of a conversion depends on them. Raises
    HeldError, and LostRaceError: then digest the batch again with the identities of the error in `also`.
    """
    with waits_for(Lock.OTHER):
        return _apply(config, batch, also)


def _apply(
    config: SiteConfig, batch: Sequence[ClaimedMessage], also: frozenset[changes.IdentityKey]
) -> list[MessageResult]:
    messages = [message.stored for message in batch]
    _require_times(messages)
    derived = suppress(config.site_id, messages, [derive(message, config.for_message(message)) for message in messages])
    results = [MessageResult(message.id, reading=message.reading) for message in messages]
    changes = [(result, effects.change) for result, effects in zip(results, derived, strict=True) if effects.change]
    said = [change for _, change in changes]
    outcome = people.apply(config.site_id, said, also=also, most_linked=settings.MOST_LINKED)
    rekeyed = rekeying.rekey(config.site_id, list_first_visitors(outcome.changed), most=settings.MOST_REKEYED)
    late_links.postpone(config.site_id, shares=outcome.postponed, rekeys=rekeyed.postponed)
    for (result, _), applied in zip(changes, outcome.applied, strict=True):
        note_applied(result, applied)
    note_visits(config.site_id, zip(results, derived, strict=True), outcome.visitors)
    cancelled = note_cancellations(config, zip(results, derived, strict=True))
    hits = [(result, effects.goal) for result, effects in zip(results, derived, strict=True) if effects.goal]
    keyed = [goal.keyed(outcome.visitors) for _, goal in hits]
    recorded = recording.record(config.site_id, keyed, policy=config.policy, moved=rekeyed.moved, cancelled=cancelled)
    for (result, _), recorded_hit in zip(hits, recorded, strict=True):
        note_recorded(result, recorded_hit)
    unseen = [
        effects.change
        for result, effects in zip(results, derived, strict=True)
        if effects.change and (effects.goal or effects.cancellation) and result.status in ("rejected", "failed")
    ]
    people.note_seen(config.site_id, unseen, outcome.known)
    if config.has_several_sources:
        with waits_for(Lock.GOAL):
            note_duplicate_sources(config.site_id, hits)
    if site_segments := segments.read_segments(config.site_id):
        touched = TouchedFacts(said, outcome, keyed, recorded, rekeyed.moved)
        segments.follow(config, site_segments, touched, now=datetime.now(UTC))
    _check_references()
    for result, effects, message in zip(results, derived, batch, strict=True):
        conclude(result, effects, message)
    return results


class UnreadableTimeError(Exception):
    """A row whose time was set by hand to a time that no event can have."""


def _require_times(messages: Sequence[StoredMessage]) -> None:
    """Raise UnreadableTimeError for a message whose time Python cannot hold."""
    if any(message.occurred_at in {times.EARLIEST, times.LATEST} for message in messages):
        raise UnreadableTimeError(
            "The time of this row is infinite, before the year 1 or after 9999, so it was set by hand. "
            "Correct `occurred_at` in api_message, then retry."
        )


def _check_references() -> None:
    """Check foreign keys now, so that a locked goal or site stops this part of a batch and not its commit."""
    with waits_for(Lock.GOAL), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def list_first_visitors(changed: changes.Visitors) -> list[FirstVisitor]:
    """Return the changed first visitors, by which conversions are re-keyed."""
    rules = {Identity.Kind.USER: KeyedBy.USER_LINK, Identity.Kind.ANONYMOUS: KeyedBy.ANONYMOUS_LINK}
    return [
        *(FirstVisitor(rules[Identity.Kind(kind)], value, code) for (kind, value), code in changed.first.items()),
        *(FirstVisitor(KeyedBy.DEVICE_LINK, user, code) for user, code in changed.device.items()),
    ]
