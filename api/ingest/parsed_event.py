"""Events of the tracking API, parsed and stored: a refused event is kept beside the accepted ones of its request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus

from msgspec import structs

from api.events.clock import parse_time
from api.events.envelope import (
    IncomingEvent,
    make_incoming_event,
    parse_envelope,
    read_message_id,
    read_scalar,
    read_type,
)
from api.events.refusal import Refusal
from api.events.validation import require_fields
from api.http.credentials import SourceAccess
from api.ingest import accept
from api.ingest.event_batch import BatchMerger, EventBatch
from api.ingest.write_keys import Senders


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """An event of a request with its source, and its refusal if it has one.

    Without a source, because its write key is unknown, the event is not stored.
    """

    source: SourceAccess | None
    event: IncomingEvent
    refusal: Refusal | None = None


def parse_event(
    source: SourceAccess,
    raw: bytes,
    *,
    position: int,
    received_at: datetime,
    type_: str = "",
    batch_sent_at: datetime | None = None,
) -> tuple[IncomingEvent, Refusal | None]:
    """Return the event as the inbox stores it, and its refusal. Without `type_` the event says its type itself."""
    message_id: str | None = None
    try:
        if len(raw) > accept.EVENT_BYTES:
            raise accept.too_large(f"Event {position} is larger than {accept.EVENT_BYTES:,} bytes.")
        envelope = parse_envelope(raw, position=position)
        message_id, _ = read_message_id(read_scalar(envelope.message_id))
        type_ = type_ or read_type(envelope)
        require_fields(type_, envelope)
    except Refusal as refusal:
        event = accept.make_refused(
            raw, refusal, position=position, received_at=received_at, type_=type_, message_id=message_id
        )
        return event, refusal
    sent_at = None
    if source.corrects_clocks:
        sent_at = parse_time(read_scalar(envelope.sent_at)) or batch_sent_at
    event = make_incoming_event(envelope, raw, type_=type_, sent_at=sent_at, position=position, received_at=received_at)
    return event, None


def parse_batch(senders: Senders, batch: EventBatch, *, received_at: datetime, is_import: bool) -> list[ParsedEvent]:
    """Return the events of a batch, the batch's `context` and `integrations` below their own. Raises Refusal (413)."""
    sent_at = parse_time(read_scalar(batch.sent_at))  # once, for all of them
    merger = BatchMerger(batch)
    parsed, added_size = [], 0
    for position, raw in enumerate(map(bytes, batch.batch)):
        try:
            source = senders.find_source_of(raw)
        except Refusal as refusal:
            event = accept.make_refused(raw, refusal, position=position, received_at=received_at)
            parsed.append(ParsedEvent(None, event, refusal))
            continue
        merged = merger.merge(raw)
        added_size += len(merged) - len(raw)
        reader = replace(source, kind="import") if is_import else source
        incoming, reason = parse_event(
            reader, merged, position=position, received_at=received_at, batch_sent_at=sent_at
        )
        parsed.append(ParsedEvent(source, incoming, reason))
    accept.count_bytes(senders.all, max(0, added_size))
    return parsed


async def store_events(parsed: Sequence[ParsedEvent]) -> accept.StoreResult:
    """Store the events of a request in one commit; those of a source that is switched off are refused."""
    rows, refusals = list_rows(parsed)
    return await accept.store_rows(rows, refusals, count=len(parsed))


def list_rows(parsed: Sequence[ParsedEvent]) -> tuple[list[accept.Row], dict[int, Refusal]]:
    """Return the events that are stored, those of unknown sources left out, and all refusals by their places. Pure."""
    refusals: dict[int, Refusal] = {}
    rows: list[accept.Row] = []
    for place, item in enumerate(parsed):
        event, refusal = item.event, item.refusal
        if item.source is not None:
            if not item.source.is_enabled:
                event, refusal = structs.replace(event, reason="source_off"), _source_off()
            rows.append((item.source.site_id, item.source, event))
        if refusal is not None:
            refusals[place] = refusal
    return rows, refusals


def _source_off() -> Refusal:
    message = "This source is switched off. Its events are kept up to a daily allowance; switch it on, then retry them."
    return Refusal(HTTPStatus.FORBIDDEN, "source_off", message)
