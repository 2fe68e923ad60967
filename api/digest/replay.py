"""Retries of rejected and failed messages, with a forecast before.

Bounded, and safe to repeat, because retried messages are pending and not chosen again. A rejected message stays as it
is if another one was accepted with its key meanwhile: it would be a duplicate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

import structlog
from django.db import OperationalError, connection, transaction

from api.digest.derivation import StoredMessage
from api.digest.forecast import MOST_BYTES, Forecast, forecast_messages
from api.events.encodings import decode
from api.events.envelope import (
    IncomingEvent,
    make_incoming_event,
    parse_envelope,
    read_events,
    read_scalar,
    read_type,
)
from api.events.reasons import REASONS, REPLAYABLE, UNSAFE_TO_DERIVE
from api.events.refusal import Refusal
from api.events.types import ALL_TYPES
from api.http.bodies import unreadable_encoding
from api.http.chunks import iter_chunks
from api.http.credentials import SourceAccess, find_sources_of
from api.ingest.accept import EVENT_BYTES, make_refused, redact_event, too_large
from api.ingest.event_batch import BATCH_BYTES, merge_all, read_batch
from api.ingest.inbox import insert
from api.ingest.new_message import NewMessage
from api.models import Message, Site
from api.models.message_rows import free_keys, key_of, load_bodies, take_key

MOST_MESSAGES: Final = 10_000  # messages at a time
FORECAST_MESSAGES: Final = 500  # of them, which a page's forecast reads
TRIES: Final = 3  # if senders store the same keys in another order at the same moment

log = structlog.get_logger(__name__)


class BusyKeysError(Exception):
    """Raised if senders store the same events at the same moment, again and again."""


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """Forecast of a retry."""

    messages: int
    has_more: bool  # than are retried at a time
    duplicates: int  # a later copy of them was accepted, so they stay; counted up to MOST_MESSAGES
    forecast: Forecast | None  # None if it is unsafe to derive these messages
    looked_at: int  # the number of newest messages that the forecast read


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """Result of a retry."""

    messages: int
    unreadable: int  # these have another reason now


@dataclass(frozen=True, slots=True)
class _KeptMessage:
    """A rejected or failed message, as it is stored."""

    id: int
    type: str
    message_id: str | None
    position: int
    received_at: datetime
    occurred_at: datetime
    body: bytes
    source_id: int | None
    is_rejected_on_arrival: bool  # before its time, or even its type, was read
    content_encoding: str = ""

    def read(self) -> list[IncomingEvent]:
        """Return its events: one, or those of a whole rejected request. Unreadable ones bear their reason.

        Raises Refusal if every event is unreadable.
        """
        if not self.is_rejected_on_arrival:
            return [
                IncomingEvent(self.type, self.message_id, self.position, self.received_at, self.occurred_at, self.body)
            ]
        raws, sent_at = self._split()
        events: list[IncomingEvent] = []
        refusals: list[Refusal] = []
        for place, raw in enumerate(raws, start=self.position):
            try:
                if len(raw) > EVENT_BYTES:
                    raise too_large(f"Event {place} is larger than {EVENT_BYTES:,} bytes.")
                envelope = parse_envelope(raw, position=place)
                event = make_incoming_event(
                    envelope,
                    raw,
                    type_=self.type or read_type(envelope),
                    sent_at=read_scalar(envelope.sent_at) or sent_at,
                    position=place,
                    received_at=self.received_at,
                )
            except Refusal as refusal:
                refusals.append(refusal)
                event = make_refused(raw, refusal, position=place, received_at=self.received_at)
            events.append(event)
        if refusals and len(refusals) == len(events):
            raise refusals[0]
        return events

    def _split(self) -> tuple[list[bytes], Any]:
        """Return the bytes of each event, and the `sentAt` of their batch. Raises Refusal."""
        body = decode(self.body, self.content_encoding, most=BATCH_BYTES)
        if body is None and self.content_encoding:
            raise unreadable_encoding(f"Content-Encoding {self.content_encoding!r} cannot be taken off.")
        body = body or self.body
        if self.type:
            return [body], None
        if body.lstrip().startswith(b"{") and b'"batch"' in body:
            batch = read_batch(body)
            return merge_all(batch), read_scalar(batch.sent_at)
        return read_events(body)[0], None


def plan_replay(site: Site, reason: str, *, is_worker: bool = False) -> ReplayPlan:
    """Return what a retry of the newest MOST_MESSAGES with this reason would do. Nothing is written.

    It reads the newest FORECAST_MESSAGES of them, MOST_BYTES at most, with eight queries at most. With `is_worker` it
    reads as many as MOST_BYTES allow, with one more query for each 500. It then reads messages that may end the
    process, too.
    """
    chosen = _choose(site.pk, reason)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT count(*) FROM (SELECT 1 FROM api_message m WHERE {MATCHING} AND {IS_TAKEN} LIMIT %(most)s) AS taken
            """,
            _parameters(site.pk, reason),
        )
        duplicates = cursor.fetchone()[0]
    foreseen = None
    looked_at = _within(MOST_BYTES, chosen[: MOST_MESSAGES if is_worker else FORECAST_MESSAGES])
    # In a web server nothing ends what killed a worker, or a hook that hangs.
    if is_worker or reason not in UNSAFE_TO_DERIVE:
        foreseen = forecast_messages(site, _foresee(site.pk, looked_at))
    return ReplayPlan(len(chosen[:MOST_MESSAGES]), len(chosen) > MOST_MESSAGES, duplicates, foreseen, len(looked_at))


def _within(most: int, chosen: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """Return the first messages whose bodies fit into these bytes together, at least one."""
    so_far = accumulate(size for _, size in chosen)
    return chosen[: max(1, sum(size <= most for size in so_far))]


def replay(site_id: int, reason: str, *, who: str) -> ReplayResult:
    """Make the newest MOST_MESSAGES with this reason pending again, as if they had never been tried.

    Raises ValueError if a retry cannot change the reason, BusyKeysError if senders go on sending the same events.
    """
    if reason not in REPLAYABLE:
        raise ValueError(f"{reason} cannot be retried")
    for attempt in range(1, TRIES + 1):
        try:
            with transaction.atomic():
                done = _replay(site_id, reason)
            break
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) != "40P01":
                raise
            if attempt == TRIES:
                raise BusyKeysError from error
    log.info("inbox.replayed", site=site_id, reason=reason, messages=done.messages, who=who)
    return done


def _replay(site_id: int, reason: str) -> ReplayResult:
    messages = unreadable = 0
    sources = find_sources_of(site_id)
    seen: set[tuple[str, str]] = set()
    for kept in _load(site_id, _choose(site_id, reason, lock="FOR UPDATE OF m SKIP LOCKED")[:MOST_MESSAGES]):
        try:
            events = [_redacted(event, sources.get(kept.source_id or 0)) for event in kept.read()]
            first, *others = sorted(events, key=lambda event: bool(event.reason))
        except (Refusal, ValueError) as refusal:
            code = refusal.code if isinstance(refusal, Refusal) else "invalid_event"  # an empty array
            Message.objects.filter(site_id=site_id, pk=kept.id).update(
                reason=code, detail=str(getattr(refusal, "message", ""))
            )
            unreadable += 1
            continue
        if first.message_id is not None and (first.type, first.message_id) in seen:
            continue  # a duplicate of one that is retried
        if first.message_id is not None:
            seen.add((first.type, first.message_id))
        messages += _put_back(site_id, kept, first)
        messages += _add(site_id, kept, others)
    return ReplayResult(messages, unreadable)


def _redacted(event: IncomingEvent, source: SourceAccess | None) -> IncomingEvent:
    """Apply today's redactions to an event, as if it were new."""
    return redact_event(source, event) if source is not None and source.redactions else event


def _put_back(site_id: int, kept: _KeptMessage, event: IncomingEvent) -> int:
    """Make a message pending, unless its key is taken, and return how many rows that changed."""
    if event.message_id is None:
        free_keys(site_id, [kept.id])
    elif not take_key(site_id, kept.id, event.type, event.message_id):
        return 0
    parameters: dict[str, Any] = {
        "id": kept.id,
        "site": site_id,
        "type": event.type,
        "message_id": event.message_id,
        "at": event.occurred_at,
        "body": event.body,
        "is_read": kept.is_rejected_on_arrival,
        "warnings": list(event.warnings),
    }
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE api_message SET status = 'pending', reason = '', detail = '', waiting_for = '', attempts = 0,
                   digested_at = NULL, has_waited = true, reading = NULL, refusal_key = NULL,
                   type = %(type)s, message_id = %(message_id)s, occurred_at = %(at)s,
                   size = octet_length(%(body)s::bytea),
                   warnings = CASE WHEN %(is_read)s THEN %(warnings)s::text[] ELSE warnings END
             WHERE site_id = %(site)s AND id = %(id)s
            """,
            parameters,
        )
        changed = int(cursor.rowcount)
        if changed and (event.body != kept.body or kept.content_encoding):
            cursor.execute(
                """
                UPDATE api_messagebody SET body = %(body)s, content_encoding = ''
                 WHERE site_id = %(site)s AND id = %(id)s
                """,
                parameters,
            )
        return changed


def _add(site_id: int, kept: _KeptMessage, events: Sequence[IncomingEvent]) -> int:
    """Store the other events of a rejected request, and return how many of them are pending."""
    if not events:
        return 0
    connection.ensure_connection()
    numbers = insert(connection.connection, [NewMessage(site_id, kept.source_id, event) for event in events])
    Message.objects.filter(site_id=site_id, pk__in=[number for number in numbers if number]).update(has_waited=True)
    return sum(bool(number) and not event.reason for number, event in zip(numbers, events, strict=True))


def _foresee(site_id: int, chosen: Sequence[tuple[int, int]]) -> Iterator[StoredMessage]:
    """Yield the messages as the digest would find them."""
    for kept in _load(site_id, chosen):
        try:
            events = [event for event in kept.read() if not event.reason]
        except Refusal:
            continue
        for event in events:
            yield StoredMessage(
                kept.id, event.type, event.message_id, event.position, event.occurred_at, event.body, kept.source_id
            )


# Conditions: a message has this reason; another one was accepted with its key.
MATCHING: Final = "m.site_id = %(site)s AND m.status = %(status)s AND m.reason = %(reason)s AND m.type = ANY(%(types)s)"
IS_TAKEN: Final = f"""
    m.status = 'rejected' AND m.message_id IS NOT NULL AND EXISTS (
        SELECT 1 FROM api_messagekey k
         WHERE k.site_id = %(site)s AND k.key = {key_of("m.type", "m.message_id")} AND k.id <> m.id
    )
"""


def _parameters(site_id: int, reason: str) -> dict[str, Any]:
    return {
        "site": site_id,
        "status": REASONS[reason].status,
        "reason": reason,
        "types": [*ALL_TYPES, *([""] if REASONS[reason].is_of_request else [])],
        "most": MOST_MESSAGES,
    }


def _choose(site_id: int, reason: str, *, lock: str = "") -> list[tuple[int, int]]:
    """Return id and body size of the newest messages to retry: MOST_MESSAGES, one more if there are more. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT m.id, m.size FROM api_message m
             WHERE {MATCHING} AND NOT ({IS_TAKEN}) ORDER BY m.id DESC LIMIT %(most)s + 1 {lock}
            """,
            _parameters(site_id, reason),
        )
        return list(cursor.fetchall())


def _load(site_id: int, chosen: Sequence[tuple[int, int]]) -> Iterator[_KeptMessage]:
    """Yield the messages in the order of their arrival, a chunk in memory at a time. Two queries a chunk."""
    for chunk in iter_chunks(sorted(chosen)):
        bodies = load_bodies(site_id, chunk)
        for row in Message.objects.filter(site_id=site_id, pk__in=chunk).order_by("pk"):
            is_rejected_on_arrival = (
                row.status == Message.Status.REJECTED
                and row.digested_at is None
                and not (row.reason == "source_off" and row.type)  # its time was read before it was rejected
            )
            yield _KeptMessage(
                row.pk,
                row.type,
                row.message_id,
                row.position,
                row.received_at,
                row.occurred_at,
                bodies[row.pk].body,
                row.source_id,
                is_rejected_on_arrival,
                bodies[row.pk].content_encoding,
            )
