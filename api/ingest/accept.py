"""Acceptance of events: limits, rules, storage and counts, shared by all endpoints that receive events."""

import math
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from api.events.body import UnreadableBodyError, read_body
from api.events.envelope import IncomingEvent, clean_text
from api.events.refusal import Refusal
from api.http.budgets import NO_RETRY_FACTOR, ExhaustedBudget, budget_counter
from api.http.credentials import SourceAccess
from api.http.database import DatabaseDownError
from api.http.endpoint import Request
from api.http.threads import LIGHT_BYTES, LIGHT_ROWS, compute_for, compute_to_the_end, look_up
from api.ingest import inbox, nudge, source_counts
from api.ingest.erased import strip_erased
from api.ingest.new_message import NewMessage
from api.ingest.refusals import make_refusal_key
from api.ingest.refusals import refusal_counter as kept_refusals
from api.rules.actions import apply_rules
from api.rules.redaction import redact

EVENT_BYTES: Final = 1_048_576  # promise K-24
MAX_EVENTS: Final = 4_000  # of a request
KEPT_BYTES: Final = 4_096  # of a body that is too large
# Seconds of CPU time for the rules of a request. 4,000 ordinary events with fifty rules take half a second.
MAX_LENGTH_DIGITS: Final = 18  # of a length; Python does not convert thousands of digits
RULE_SECONDS: Final = 2.0
Row = tuple[int, SourceAccess | None, IncomingEvent]  # of the site with this id
MAX_WAIT: Final = 3_600  # seconds that a sender over its budget must wait at most


@dataclass(eq=False)
class KeptRefusalError(Exception):
    """Raised for a refused request, so that its body is kept and can be retried."""

    refusal: Refusal
    body: bytes
    content_encoding: str = ""


class StoreResult(msgspec.Struct, frozen=True):
    """The outcome of the events of a request."""

    accepted: int
    duplicates: int
    refusals: Mapping[int, Refusal]  # by the place of the event
    events: Sequence[IncomingEvent]  # as they were stored
    numbers: Sequence[int]  # ids of their messages, 0 for a duplicate

    def describe(self) -> dict[str, Any]:
        """Return the counts and the refused events for the response to an array or a batch."""
        rejected = [
            {"index": place, "code": refusal.code, "message": refusal.message}
            for place, refusal in self.refusals.items()
        ]
        return {"accepted": self.accepted, "duplicates": self.duplicates, "rejected": rejected}


def require_capacity(site_id: int, source: SourceAccess | None) -> None:
    """Raise Refusal (429) if too many events of the site or of all are pending, or the source's budget is used up.

    Sources that never retry get twice the limits.
    """
    overload = nudge.find_overload(site_id, is_last_chance=source is not None and source.never_retries)
    if overload is not None:
        raise Refusal(
            HTTPStatus.TOO_MANY_REQUESTS,
            "overloaded",
            f"{overload.value}. Nothing was stored; send the same again later.",
            (("Retry-After", "10"),),
        )
    if source is not None:
        over = budget_counter().find_exhausted(
            source.id, source.budget, times=NO_RETRY_FACTOR if source.never_retries else 1
        )
        if over is not None:
            raise over_budget(over)


def over_budget(over: ExhaustedBudget) -> Refusal:
    """Return 429 for a source with a used-up budget, until its minute or its day ends.

    The sender retries after an hour, because an owner may have raised the budget of the day.
    """
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "over_budget",
        f"This source has used up its budget of {over.limit:,} {over.unit} a {over.span}. Nothing was stored; send "
        "the same again later. An owner of the site can raise the budget on the page of its sources.",
        (("Retry-After", str(min(math.ceil(over.seconds), MAX_WAIT))),),
    )


def count_bytes(sources: Collection[SourceAccess], size: int) -> None:
    """Count the bytes of a body against the budgets of its sources, in equal parts."""
    for source in sources:
        budget_counter().count(source.site_id, source.id, size=size // len(sources))


def measure_body(request: Request, body: bytes) -> int:
    """Return the bytes of a complete body: inflated, or as received if that is more.

    A readable Content-Length is true, because the body is complete. Otherwise only the inflated size counts.
    """
    declared = request.header("content-length")
    is_number = declared.isascii() and declared.isdigit() and len(declared) <= MAX_LENGTH_DIGITS
    return max(len(body), int(declared) if is_number else 0)


async def store(
    site_id: int, source: SourceAccess | None, events: Sequence[IncomingEvent], refusals: Mapping[int, Refusal]
) -> StoreResult:
    """Store the events of a request for one site. Raises as `store_rows` does."""
    return await store_rows([(site_id, source, event) for event in events], refusals, count=len(events))


async def store_rows(rows: Sequence[Row], refusals: Mapping[int, Refusal], *, count: int) -> StoreResult:
    """Store the events of a request in one commit, without what the rules of their sites keep from being stored.

    Refused events are among them, but for those of no known site, which `count` includes. Raises DatabaseDownError,
    and Refusal (400) when PostgreSQL cannot hold one of them.
    """
    light = is_light(rows)
    rows = apply_ingest_rules(rows) if light else await compute_for(rows[0][0], apply_ingest_rules, rows)
    if any(event.reason for _, _, event in rows):  # the ids of erased people are compared in the database
        rows = await look_up(strip_erased_or_undo, rows)
    kept = make_rows(rows)
    try:
        stored = await inbox.store(list(kept.values())) if kept else []
    except (inbox.RowRefusedError, DatabaseDownError) as error:
        raise undo_counts_after(error, rows, kept) from error
    if light:
        return finish(rows, kept, stored, refusals, count=count)
    return await compute_to_the_end(rows[0][0], finish, rows, kept, stored, refusals, count=count)


def store_now(rows: Sequence[Row], refusals: Mapping[int, Refusal]) -> StoreResult:
    """Store the events of a page as `store_rows` does, outside the event loop and in a commit of their own."""
    rows = strip_erased_or_undo(apply_ingest_rules(rows))
    kept = make_rows(rows)
    try:
        stored = inbox.store_alone(list(kept.values())) if kept else []
    except (inbox.RowRefusedError, DatabaseDownError) as error:
        raise undo_counts_after(error, rows, kept) from error
    return finish(rows, kept, stored, refusals, count=len(rows))


def undo_counts_after(error: Exception, rows: Sequence[Row], kept: Mapping[int, NewMessage]) -> Exception:
    """Return the exception for the request whose rows were not stored, and keep the budgets right."""
    if isinstance(error, inbox.RowRefusedError):
        count_events(rows)
        return Refusal(
            HTTPStatus.BAD_REQUEST, "invalid_event", "An event holds a value that cannot be stored; the rest is kept."
        )
    undo_counts(kept.values())
    return DatabaseDownError()


def finish(
    rows: Sequence[Row],
    kept: Mapping[int, NewMessage],
    stored: Sequence[int],
    refusals: Mapping[int, Refusal],
    *,
    count: int,
) -> StoreResult:
    """Count stored rows and return the outcome. `stored` has the id of each kept row, 0 for a duplicate."""
    numbers = dict(zip(kept, stored, strict=True))
    count_rows(rows, kept, numbers)
    accepted = sum(bool(numbers[place]) for place, (_, _, event) in enumerate(rows) if not event.reason)
    duplicates = count - len(refusals) - accepted
    events = [event for _, _, event in rows]
    return StoreResult(accepted, duplicates, refusals, events, [numbers.get(place, 0) for place in range(len(rows))])


def is_light(rows: Sequence[Row]) -> bool:
    """Return True if the event loop itself may work on the rows, because they take little time."""
    size = work = 0
    for _, source, event in rows:
        size += len(event.body)
        work += 1 + (len(source.rules) if source else 0)
    return size <= LIGHT_BYTES and work <= LIGHT_ROWS


def strip_erased_or_undo(rows: Sequence[Row]) -> Sequence[Row]:
    """Return the rows as `strip_erased` does. If it fails, their bytes count against no budget."""
    try:
        return strip_erased(rows)
    except DatabaseDownError:
        for _, source, event in rows:
            count_bytes([source] if source else [], -len(event.body))
        raise


def make_rows(rows: Sequence[Row]) -> dict[int, NewMessage]:
    """Return the rows for the inbox by their places."""
    return {place: row for place, row in enumerate(map(make_row, rows)) if row is not None}


def apply_ingest_rules(
    rows: Sequence[Row],
) -> list[Row]:
    """Return the events of a request as the rules of their sources allow them to be stored.

    Raises Refusal (429) if that takes longer than RULE_SECONDS, because a value that a rule removes must not be stored.
    """
    if not any(source.rules or not source.takes_track for _, source, _ in rows if source):
        return list(rows)
    prepared = []
    begun = time.thread_time()
    for site_id, source, event in rows:
        prepared.append((site_id, source, apply_source_rules(source, event) if source else event))
        has_more = len(prepared) < len(rows) and source is not None and bool(source.rules)
        if has_more and time.thread_time() - begun > RULE_SECONDS:
            count_events(rows)
            raise slow_rules(len(prepared))
    return prepared


def slow_rules(events: int) -> Refusal:
    """Return 429 for a request for which the site's rules take too long."""
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "overloaded",
        f"The rules of this site took {RULE_SECONDS:g} seconds for {events:,} events of this request. Nothing was "
        "stored; send fewer events at a time, and have an owner of the site take away rules that compare names with "
        "patterns.",
        (("Retry-After", "60"),),
    )


def count_events(rows: Iterable[Row]) -> None:
    """Count the events of a request against the budgets of their sources."""
    counts: dict[tuple[int, int], int] = {}
    for site_id, source, _ in rows:
        if source is not None:
            counts[site_id, source.id] = counts.get((site_id, source.id), 0) + 1
    for (site_id, source_id), events in counts.items():
        budget_counter().count(site_id, source_id, events=events)


def make_row(row: Row) -> NewMessage | None:
    """Return a row for the inbox, or None for a refused event that is only counted (api.ingest.refusals)."""
    site_id, source, event = row
    if source is not None and event.reason:
        room = nudge.nudger().backlog.room(site_id)
        if not kept_refusals().take(site_id, source.id, event.reason, len(event.body), room=room):
            return None
        event = replace(event, refusal_key=make_refusal_key(source.id, event, secret=source.redaction_key))
    return NewMessage(site_id, source.id if source else None, event)


def undo_counts(rows: Iterable[NewMessage]) -> None:
    """Undo the counts of rows that could not be stored because of a server error."""
    for row in rows:
        if row.source_id is not None:
            budget_counter().count(row.site_id, row.source_id, size=-len(row.event.body))
            if row.event.reason:
                kept_refusals().give_back(row.site_id, row.source_id, row.event.reason, len(row.event.body))


def count_rows(
    rows: Sequence[Row],
    kept: Mapping[int, NewMessage],
    numbers: Mapping[int, int],
) -> None:
    """Count the events of a request against the budgets of their sources, and the outcomes of refused ones."""
    count_events(rows)
    for place, row in kept.items():
        if not numbers[place] and row.source_id is not None and row.event.refusal_key is not None:
            event = row.event
            kept_refusals().note_copy(row.site_id, row.source_id, event.reason, len(event.body), row.event.refusal_key)
    lost = [
        NewMessage(site_id, source.id if source else None, event)
        for place, (site_id, source, event) in enumerate(rows)
        if place not in kept
    ]
    if lost:
        nudge.nudger().uncounted.add(source_counts.count_messages(lost, [False] * len(lost)))


def apply_source_rules(source: SourceAccess, event: IncomingEvent) -> IncomingEvent:
    """Return an event as the rules of its source allow it to be stored."""
    if source.has_own_drops or not source.takes_track:
        event = drop_ignored_message_id(source, event)
    return redact_event(source, event) if source.redactions else event


def drop_ignored_message_id(source: SourceAccess, event: IncomingEvent) -> IncomingEvent:
    """Remove the messageId of an event that the digest will ignore, so that the copy of another source counts."""
    if event.reason or event.message_id is None:
        return event
    is_ignored = event.type == "track" and not source.takes_track
    if not is_ignored:
        try:
            ruled = apply_rules(
                event.type, read_body(event.body, set()), source.rules, by_title=source.names_pages_by_title
            )
        except (UnreadableBodyError, RecursionError):
            return event
        is_ignored = ruled.is_dropped or (ruled.type == "track" and not source.takes_track)
    return replace(event, message_id=None) if is_ignored else event


def redact_event(source: SourceAccess, event: IncomingEvent) -> IncomingEvent:
    """Return an event without the fields that rules drop or hash; without a body if the fields cannot be read."""
    if not event.type or event.content_encoding:  # refused as a whole, or without a type that locates the fields
        return replace(event, body=b"", content_encoding="")
    warnings = set(event.warnings)  # the stored event hides what was read differently from what was sent
    try:
        fields = redact(
            event.type,
            read_body(event.body, warnings),
            source.redactions,
            key=source.redaction_key,
            by_title=source.names_pages_by_title,
        )
    except (UnreadableBodyError, RecursionError):
        return replace(event, body=b"")
    return replace(event, body=msgspec.json.encode(fields), warnings=tuple(sorted(warnings)))


def make_refused(
    body: bytes,
    refusal: Refusal,
    *,
    position: int,
    received_at: datetime,
    type_: str = "",
    message_id: str | None = None,
    content_encoding: str = "",
) -> IncomingEvent:
    """Return a rejected message for the inbox, with the message to its sender."""
    return IncomingEvent(
        type_,
        message_id,
        position,
        received_at,
        received_at,
        body[:KEPT_BYTES] if refusal.code == "too_large" else body,
        reason=refusal.code,
        detail=clean_text(refusal.message),
        content_encoding=clean_text(content_encoding)[:40] if body else "",
    )


def too_large(what: str) -> Refusal:
    """Return 413 with the limit that was exceeded."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"{what} Send less at a time.")
