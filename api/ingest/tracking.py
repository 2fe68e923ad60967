"""`/v1/…`: the Segment tracking API, as its SDKs, RudderStack's and plain HTTP senders use it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final

import msgspec

from api.events.body import explain_bad_id, read_group_id, read_id, read_name
from api.events.clock import parse_time
from api.events.envelope import (
    MISSING,
    Envelope,
    IncomingEvent,
    invalid_json,
    is_present,
    make_incoming_event,
    parse_envelope,
    read_fields,
    read_message_id,
    read_scalar,
    read_type,
)
from api.events.refusal import Refusal
from api.events.splitting import split_array, split_object
from api.http.credentials import SourceAccess, find_source
from api.http.endpoint import (
    BodyTooLargeError,
    Endpoint,
    Request,
    Response,
    UndecodableBodyError,
    json_response,
    limit_unauthenticated_reads,
)
from api.http.public_address import HOST_HEADERS, asked_address
from api.http.refused_keys import KeyProblem, record_refused_key
from api.ingest import accept
from api.ingest.write_keys import Senders, find_senders_in_body, find_senders_of_request, read_request_keys

BATCH_BYTES: Final = 4 * 1_048_576
MERGED_BYTES: Final = 4 * BATCH_BYTES  # of the events with their batch's context
SUCCESS: Final = Response(HTTPStatus.OK, b'{"success":true}')
# analytics-next posts to the first letter of the type.
TYPE_PATHS: Final = {
    **{type_: type_ for type_ in ("track", "identify", "group", "page", "screen", "alias")},
    **{type_[0]: type_ for type_ in ("track", "identify", "group", "page", "screen", "alias")},
}


class EventBatch(msgspec.Struct, rename="camel"):
    """A batch: its events as they are, and what holds for all of them."""

    batch: list[msgspec.Raw]
    context: msgspec.Raw = MISSING
    integrations: msgspec.Raw = MISSING
    sent_at: msgspec.Raw = MISSING
    write_key: msgspec.Raw = MISSING


BATCHES: Final = msgspec.json.Decoder(EventBatch)


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """An event of a request, whose it is (None: nobody's who is known, so it is not stored), and why it is refused."""

    source: SourceAccess | None
    event: IncomingEvent
    refusal: Refusal | None = None


def receive_event(request: Request, *, type_: str) -> Response:
    """Take one event, whose type the path says. 200 `{"success": true}`, only after the commit.

    What is refused after authentication is kept in the inbox. Raises Refusal: 401 unauthorized, 403 source_off,
    400 invalid_json, missing_name, missing_group_id, missing_previous_id, no_identity, 413 too_large, 429 overloaded,
    over_budget.
    """
    received_at = datetime.now(UTC)
    senders, body = open_request(request, received_at=received_at, limit=accept.EVENT_BYTES, type_=type_)
    take_event(senders, body, type_=type_, received_at=received_at)
    return SUCCESS


def take_event(senders: Senders, body: bytes, *, type_: str, received_at: datetime) -> None:
    """Store one event. Raises Refusal, the event being kept as refused if its source is known."""
    source = senders.sender_of(body)
    event, refusal = read_item(source, body, type_=type_, position=0, received_at=received_at)
    stored = store([ParsedEvent(source, event, refusal)])
    if stored.refusals:
        raise stored.refusals[0]


def receive_batch(request: Request, *, is_import: bool = False) -> Response:
    """Take a batch. 200 `{"success": true, "accepted": …, "duplicates": …, "rejected": [{index, code, message}]}`.

    Good events are kept beside bad ones, which are kept as rejected, but for those whose write key is unknown. Where
    there is no good one, 400 with the first one's code, and `rejected`. Raises Refusal as `receive_event` does.
    """
    received_at = datetime.now(UTC)
    senders, body = open_request(request, received_at=received_at, limit=BATCH_BYTES)
    try:
        batch = read_batch(body)
        if len(batch.batch) > accept.MAX_EVENTS:
            raise accept.too_large(f"The batch holds more than {accept.MAX_EVENTS:,} events.")
        items = read_items(senders, batch, received_at=received_at, is_import=is_import)
    except Refusal as refusal:
        keep_refused(senders, refusal, body, received_at=received_at)
        raise
    if not items:
        return json_response({"success": True, "accepted": 0, "duplicates": 0, "rejected": []})
    stored = store(items)
    if len(stored.refusals) < len(items):
        return json_response({"success": True, **stored.describe()})
    first = stored.refusals[0]
    refusal_body = {"success": False, "code": first.code, "message": first.message, **stored.describe()}
    is_off = all(each.status == HTTPStatus.FORBIDDEN for each in stored.refusals.values())
    return json_response(refusal_body, status=HTTPStatus.FORBIDDEN if is_off else HTTPStatus.BAD_REQUEST)


def drop_metrics(request: Request) -> Response:
    """`/v1/m`: analytics-next's figures about itself. Nobody here reads them."""
    request.drain()
    return SUCCESS


def give_settings(request: Request, *, write_key: str) -> Response:
    """`/v1/projects/<writeKey>/settings`: what analytics-next loads first, with this host as the place to send to.

    Raises Refusal (404), upon which `load()` rejects.
    """
    source = find_source(write_key)
    if source is None:
        record_refused_key(KeyProblem.WRITE_KEY, write_key)
    if source is None or not source.is_enabled:
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_write_key", "No source has this write key, or it is switched off.")
    scheme, host = asked_address(request.environ)
    segment: dict[str, Any] = {
        "apiKey": write_key,
        "apiHost": f"{host}/v1",
        "protocol": scheme,
        "unbundledIntegrations": [],
        "addBundledMetadata": True,
        "maybeBundledConfigIds": {},
    }
    settings = {
        "integrations": {"Segment.io": segment},  # a second one would make it load Segment's own code
        "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
        "middlewareSettings": {},
        "enabledMiddleware": {},
        "metrics": {"sampleRate": 0},  # absent, it would send its metrics to Segment
        "legacyVideoPluginsEnabled": False,
        "remotePlugins": [],
    }
    # It names the host that was asked for, which anybody may make up: no cache may give it to others.
    return json_response(settings, headers=(("Cache-Control", "private, no-store"), ("Vary", HOST_HEADERS)))


def open_request(request: Request, *, received_at: datetime, limit: int, type_: str = "") -> tuple[Senders, bytes]:
    """Return whose the request is, and its body.

    One valid write key is enough: that of the header, else of the query, else of the body's top; otherwise the events
    have keys of their own. Raises Refusal, what was read being kept if its source is known.
    """
    shown = read_request_keys(request)
    senders = find_senders_of_request(shown)
    if senders.all:
        require_capacity(senders)
        # A browser's key stands in its pages: whoever shows one is a stranger as far as patience goes.
        with limit_unauthenticated_reads() if senders.only and senders.only.kind == "browser" else nullcontext():
            return senders, read_body(request, senders, received_at=received_at, limit=limit, type_=type_)
    with limit_unauthenticated_reads():
        body = read_body(request, senders, received_at=received_at, limit=limit, type_=type_)
    senders = find_senders_in_body(body, shown)
    require_capacity(senders)
    accept.count_bytes(senders.all, accept.measure_body(request, body))
    return senders, body


def require_capacity(senders: Senders) -> None:
    """Turn the request away if one of its senders must come again later. Raises Refusal (429)."""
    for source in senders.all:
        accept.require_capacity(source.site_id, source)


def read_body(request: Request, senders: Senders, *, received_at: datetime, limit: int, type_: str) -> bytes:
    """The body. Raises Refusal (400, 413), what was read being kept where the source is known."""
    try:
        body = request.body(limit)
    except BodyTooLargeError as error:
        accept.count_bytes(senders.all, limit)
        refusal = accept.too_large(f"The body is larger than {limit:,} bytes.")
        body, content_encoding = error.start, error.content_encoding
    except UndecodableBodyError as error:
        accept.count_bytes(senders.all, len(error.body))
        refusal, body, content_encoding = error.refusal, error.body, error.content_encoding
    else:
        accept.count_bytes(senders.all, accept.measure_body(request, body))
        return body
    keep_refused(senders, refusal, body, received_at=received_at, type_=type_, content_encoding=content_encoding)
    raise refusal


def keep_refused(
    senders: Senders,
    refusal: Refusal,
    body: bytes,
    *,
    received_at: datetime,
    type_: str = "",
    content_encoding: str = "",
) -> None:
    """Keep what is refused as a whole, of what is too large the beginning.

    If it holds events of several sources, each has a message without the body: it may not see the others' events.
    """
    for source in senders.all:
        own = body if source is senders.only else b""
        event = accept.make_refused(
            own, refusal, position=0, received_at=received_at, type_=type_, content_encoding=content_encoding
        )
        accept.store(source.site_id, source, [event], {0: refusal})


def store(items: Sequence[ParsedEvent]) -> accept.StoreResult:
    """Store the events of a request in one commit; those of a source that is switched off as refused."""
    refusals: dict[int, Refusal] = {}
    rows = []
    for place, item in enumerate(items):
        event, refusal = item.event, item.refusal
        if item.source is not None:
            if not item.source.is_enabled:
                event, refusal = replace(event, reason="source_off"), source_off()
            rows.append((item.source.site_id, item.source, event))
        if refusal is not None:
            refusals[place] = refusal
    return accept.store_rows(rows, refusals, count=len(items))


def source_off() -> Refusal:
    """403 for what comes through a source that is switched off."""
    off = "This source is switched off. What was sent is kept up to a daily allowance; switch it on, then replay."
    return Refusal(HTTPStatus.FORBIDDEN, "source_off", off)


def read_batch(body: bytes) -> EventBatch:
    """Return a batch, its events not looked into. Raises Refusal (400, `invalid_json`).

    An event that is no JSON does not spoil its neighbours: `read_item` refuses it by itself.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look inside the values it skips
        return BATCHES.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_json('it is no object whose `batch` is an array, {"batch": [{"type": "track", …}]}') from error
    except (ValueError, RecursionError):
        try:
            return split_batch(body)
        except (ValueError, RecursionError) as error:
            raise invalid_json(str(error)) from error


def split_batch(body: bytes) -> EventBatch:
    """Return a batch that msgspec cannot read in full. Raises ValueError if what holds for all events is no JSON."""
    fields = split_object(body)
    if "batch" not in fields:
        raise ValueError("it has no `batch`")
    items = split_array(fields.pop("batch"))
    batch = EventBatch([msgspec.Raw(item) for item in items])
    for name, attribute in (("context", "context"), ("integrations", "integrations"), ("sentAt", "sent_at")):
        raw = fields.get(name, b"")
        if raw.startswith(b"{"):  # nothing else can hold what its events would lack
            raw.decode()
            read_fields(raw)
        setattr(batch, attribute, msgspec.Raw(raw))
    return batch


def read_items(senders: Senders, batch: EventBatch, *, received_at: datetime, is_import: bool) -> list[ParsedEvent]:
    """The events of a batch, with its `context` and `integrations` beneath their own, and why each is refused.

    Raises Refusal (413) when all that is more than a few requests' bytes: a context may be large, and events many.
    """
    sent_at = parse_time(read_scalar(batch.sent_at))  # once, for all of them
    beneath = fields_beneath(batch)
    items, size, own_size = [], 0, 0
    for position, raw in enumerate(map(bytes, batch.batch)):
        try:
            source = senders.sender_of(raw)
        except Refusal as refusal:
            event = accept.make_refused(raw, refusal, position=position, received_at=received_at)
            items.append(ParsedEvent(None, event, refusal))
            continue
        whole = merge(raw, beneath) if beneath else raw
        size, own_size = size + len(whole), own_size + len(raw)
        check_merged(size)
        reader = replace(source, kind="import") if is_import else source
        event, reason = read_item(reader, whole, position=position, received_at=received_at, batch_sent_at=sent_at)
        items.append(ParsedEvent(source, event, reason))
    accept.count_bytes(senders.all, max(0, size - own_size))
    return items


def check_merged(size: int) -> None:
    """Raise Refusal (413) when a batch's events are too many bytes with its context beneath each."""
    if size > MERGED_BYTES:
        raise accept.too_large("The batch's context is too large to be given to each of its events.")


def merge_all(batch: EventBatch) -> list[bytes]:
    """Return the events of a batch, each with the batch's objects beneath its own. Raises Refusal (413)."""
    beneath = fields_beneath(batch)
    events, size = [], 0
    for raw in map(bytes, batch.batch):
        events.append(merge(raw, beneath) if beneath else raw)
        size += len(events[-1])
        check_merged(size)
    return events


def fields_beneath(batch: EventBatch) -> dict[str, dict[str, msgspec.Raw]]:
    """Return the objects of a batch that its events have beneath their own."""
    return {
        name: fields
        for name, value in (("context", batch.context), ("integrations", batch.integrations))
        if (fields := read_object_fields(value))
    }


def merge(raw: bytes, beneath: Mapping[str, Mapping[str, msgspec.Raw]]) -> bytes:
    """An event with objects of its batch beneath its own."""
    try:
        event = read_fields(raw)
    except (ValueError, RecursionError):
        return raw  # what is wrong with it is said by whoever reads it
    for name, fields in beneath.items():
        own = event.get(name, MISSING)
        both = {**fields, **read_object_fields(own)} if is_present(own) else fields
        event[name] = msgspec.Raw(msgspec.json.encode(both))
    return msgspec.json.encode(event)


def read_object_fields(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The fields of what is an object; none of anything else."""
    if bytes(raw)[:1] != b"{":
        return {}
    try:
        return read_fields(bytes(raw))
    except (ValueError, RecursionError):
        return {}


def read_item(
    source: SourceAccess,
    raw: bytes,
    *,
    position: int,
    received_at: datetime,
    type_: str = "",
    batch_sent_at: datetime | None = None,
) -> tuple[IncomingEvent, Refusal | None]:
    """(an event as it goes into the inbox, why it is refused). Its type is its own where the path says none."""
    try:
        if len(raw) > accept.EVENT_BYTES:
            raise accept.too_large(f"Event {position} is larger than {accept.EVENT_BYTES:,} bytes.")
        envelope = parse_envelope(raw, position=position)
    except Refusal as refusal:
        event = accept.make_refused(raw, refusal, position=position, received_at=received_at, type_=type_)
        return event, refusal
    try:
        type_ = type_ or read_type(envelope)
        check_complete(type_, envelope)
    except Refusal as refusal:
        message_id, _ = read_message_id(read_scalar(envelope.message_id))
        event = accept.make_refused(
            raw, refusal, position=position, received_at=received_at, type_=type_, message_id=message_id
        )
        return event, refusal
    sent_at = None
    if source.corrects_clocks:
        sent_at = parse_time(read_scalar(envelope.sent_at)) or batch_sent_at
    return (
        make_incoming_event(envelope, raw, type_=type_, sent_at=sent_at, position=position, received_at=received_at),
        None,
    )


def check_complete(type_: str, envelope: Envelope) -> None:
    """Refuse an event that could mean nothing, naming the field that is missing (promises I-05, I-18, I-28).

    Raises Refusal (400).
    """
    odd: set[str] = set()
    user = read_id(read_scalar(envelope.user_id), odd)
    group = read_group_id(read_scalar(envelope.group_id), odd) if type_ == "group" else None
    # A group may be told of without anybody in it (analytics-elixir and others sync accounts so).
    if group is None and user is None and read_id(read_scalar(envelope.anonymous_id), odd) is None:
        wrong = lacking(userId=envelope.user_id, anonymousId=envelope.anonymous_id)
        raise missing("no_identity", f"{wrong}Send `userId` or `anonymousId`, and no placeholder such as `null`.")
    if type_ == "track" and not any(read_name(read_scalar(each), odd) for each in (envelope.event, envelope.name)):
        raise missing("missing_name", "Send `event`, the name of what was done.")
    if type_ == "group" and group is None:
        raise missing("missing_group_id", f"{lacking(groupId=envelope.group_id)}Send `groupId`, the id of the group.")
    if type_ == "alias" and (user is None or read_id(read_scalar(envelope.previous_id), odd) is None):
        wrong = lacking(previousId=envelope.previous_id, userId=envelope.user_id)
        raise missing(
            "missing_previous_id", f"{wrong}Send `previousId`, the id so far, and `userId`, the one from now on."
        )


def lacking(**fields: msgspec.Raw) -> str:
    """Return a sentence for each of these fields that is there and is no id, each with a space after it."""
    wrong = ((name, explain_bad_id(read_scalar(raw))) for name, raw in fields.items())
    return "".join(f"`{name}` {why}. " for name, why in wrong if why)


def missing(code: str, message: str) -> Refusal:
    """400 for an event that lacks a field."""
    return Refusal(HTTPStatus.BAD_REQUEST, code, message)


def find_endpoint(path: str) -> Endpoint | None:
    """Return the endpoint of a path below `/v1/` that names a write key."""
    parts = path.removesuffix("/").split("/")
    match parts:
        case ["", "v1", "projects", write_key, "settings"]:
            return Endpoint({"GET": partial(give_settings, write_key=write_key)})
    return None


RECEIVERS: Final[Mapping[str, Callable[[Request], Response]]] = {
    **{f"/v1/{name}": partial(receive_event, type_=type_) for name, type_ in TYPE_PATHS.items()},
    "/v1/batch": receive_batch,
    "/v1/b": receive_batch,
    "/v1/import": partial(receive_batch, is_import=True),
    "/v1/m": drop_metrics,
    "/beacon/v1/batch": receive_batch,  # RudderStack's `useBeacon`
}
# Each with and without a slash at its end: a redirected POST is an event lost (promises I-26).
ENDPOINTS: Final = {
    path + slash: Endpoint({"POST": receive}) for path, receive in RECEIVERS.items() for slash in ("", "/")
}
