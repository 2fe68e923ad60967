"""From the door to the inbox: what every endpoint that takes events does alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec

from api.access import SourceAccess
from api.door import Refusal
from api.ingest import inbox, nudge
from api.ingest.erased import without_erased
from api.ingest.inbox import Row
from api.ingest.reading import UnreadableBodyError, read_body
from api.ingest.wire import Incoming, clean_text
from api.rules.redaction import redact
from api.rules.rule import apply_rules

EVENT_BYTES: Final = 1_048_576  # promises K-24
EVENT_LIMIT: Final = 4_000  # of a request
KEPT_BYTES: Final = 4_096  # of what is too large


@dataclass(eq=False)
class KeptRefusalError(Exception):
    """The request is refused, and what was read of it is kept, so that it can be looked at and replayed."""

    refusal: Refusal
    body: bytes
    content_encoding: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of the events of a request."""

    accepted: int
    duplicates: int
    refusals: Mapping[int, Refusal]  # by the event's place
    events: Sequence[Incoming]  # as they were stored
    numbers: Sequence[int]  # of their messages, 0 of a duplicate

    def describe(self) -> dict[str, Any]:
        """As an array or a batch is answered."""
        rejected = [
            {"index": place, "code": each.code, "message": each.message} for place, each in self.refusals.items()
        ]
        return {"accepted": self.accepted, "duplicates": self.duplicates, "rejected": rejected}


def check_room(site_id: int, source: SourceAccess | None) -> None:
    """Turn senders away while too much of their site, or of all, waits for the digest; last those who never retry.

    Raises Refusal (429).
    """
    overload = nudge.find_overload(site_id, is_last_chance=source is not None and source.never_retries)
    if overload is not None:
        raise Refusal(
            HTTPStatus.TOO_MANY_REQUESTS,
            "overloaded",
            f"{overload.value}. Nothing was stored; send the same again later.",
            (("Retry-After", "10"),),
        )


def store(
    site_id: int, source: SourceAccess | None, events: Sequence[Incoming], refusals: Mapping[int, Refusal]
) -> Stored:
    """Store the events of a request that are all of one site. Raises as `store_rows` does."""
    return store_rows([(site_id, source, event) for event in events], refusals, count=len(events))


def store_rows(
    rows: Sequence[tuple[int, SourceAccess | None, Incoming]], refusals: Mapping[int, Refusal], *, count: int
) -> Stored:
    """Store the events of a request in one commit, without what the rules of their sites keep from being stored.

    Refused events are among them, but for those of no known site, which `count` counts too. Raises DatabaseDownError,
    and Refusal (400) when PostgreSQL cannot hold one of them.
    """
    rows = without_erased(
        [(site_id, source, prepare(source, event) if source else event) for site_id, source, event in rows]
    )
    try:
        numbers = inbox.store([Row(site_id, source.id if source else None, event) for site_id, source, event in rows])
    except inbox.RowRefusedError as error:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "invalid_event", "An event holds a value that cannot be stored; the rest is kept."
        ) from error
    accepted = sum(bool(number) for number, (_, _, event) in zip(numbers, rows, strict=True) if not event.reason)
    duplicates = count - len(refusals) - accepted
    return Stored(accepted, duplicates, refusals, [event for _, _, event in rows], numbers)


def prepare(source: SourceAccess, event: Incoming) -> Incoming:
    """An event as the rules of its source let it be stored."""
    if source.has_own_drops or not source.takes_track:
        event = release_key(source, event)
    return clean(source, event) if source.redactions else event


def release_key(source: SourceAccess, event: Incoming) -> Incoming:
    """An event without its messageId where the digest will ignore it: another source's copy of it must count."""
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


def clean(source: SourceAccess, event: Incoming) -> Incoming:
    """Return an event without the fields that rules drop or hash; without a body if they cannot be told apart."""
    if not event.type or event.content_encoding:  # refused as a whole, or of a type that says where no field is
        return replace(event, body=b"", content_encoding="")
    try:
        fields = redact(
            event.type,
            read_body(event.body, set()),
            source.redactions,
            key=source.redaction_key,
            by_title=source.names_pages_by_title,
        )
    except (UnreadableBodyError, RecursionError):
        return replace(event, body=b"")
    return replace(event, body=msgspec.json.encode(fields))


def refused(
    body: bytes,
    refusal: Refusal,
    *,
    position: int,
    received_at: datetime,
    type_: str = "",
    message_id: str | None = None,
    content_encoding: str = "",
) -> Incoming:
    """Return a message for the inbox that is rejected from the start, with what its sender is told."""
    return Incoming(
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
    """413."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"{what} Send less at a time.")
