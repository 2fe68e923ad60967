"""`/v1/…`: the Segment tracking API, as its SDKs, RudderStack's and plain HTTP senders use it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from api.events.refusal import Refusal
from api.events.types import TYPE_PATHS
from api.http.bodies import KNOWN_SENDERS, STRANGERS, BodyMemory, BodyTooLargeError, UndecodableBodyError
from api.http.credentials import find_source
from api.http.endpoint import Endpoint, Request, Response, json_response
from api.http.public_address import HOST_HEADERS, asked_address
from api.http.refused_keys import KeyProblem, record_refused_key
from api.http.threads import LIGHT_BYTES, LIGHT_ROWS, compute_for, look_up
from api.ingest import accept
from api.ingest.event_batch import BATCH_BYTES, read_batch
from api.ingest.parsed_event import ParsedEvent, parse_batch, parse_event, store_events
from api.ingest.write_keys import SENDERS, Senders, find_senders_in_body, read_request_keys

SUCCESS: Final = Response(HTTPStatus.OK, b'{"success":true}')


async def receive_event(request: Request, *, type_: str) -> Response:
    """Accept one event of the type that the path says. Answer 200 `{"success": true}` only after the commit.

    An event that is refused after authentication is kept in the inbox. Raises Refusal: 401 unauthorized,
    403 source_off, 400 invalid_json, missing_name, missing_group_id, missing_previous_id, no_identity, 413 too_large,
    429 overloaded, over_budget.
    """
    received_at = datetime.now(UTC)
    senders, body = await open_request(request, received_at=received_at, limit=accept.EVENT_BYTES, type_=type_)
    await take_event(senders, body, type_=type_, received_at=received_at)
    return SUCCESS


async def take_event(senders: Senders, body: bytes, *, type_: str, received_at: datetime) -> None:
    """Store one event. Raises Refusal and keeps the refused event if its source is known."""
    if len(body) > LIGHT_BYTES:
        item = await compute_for(senders.share, read_one, senders, body, type_=type_, received_at=received_at)
    else:
        item = read_one(senders, body, type_=type_, received_at=received_at)
    stored = await store_events([item])
    if stored.refusals:
        raise stored.refusals[0]


def read_one(senders: Senders, body: bytes, *, type_: str, received_at: datetime) -> ParsedEvent:
    """Return the event of a request. Raises Refusal (401) if its source is unknown."""
    source = senders.find_source_of(body)
    event, refusal = parse_event(source, body, type_=type_, position=0, received_at=received_at)
    return ParsedEvent(source, event, refusal)


async def receive_batch(request: Request, *, is_import: bool = False) -> Response:
    """Accept a batch: `{"success": true, "accepted": …, "duplicates": …, "rejected": [{index, code, …}]}`.

    Bad events are kept as rejected, except those with an unknown write key, and the good ones are accepted. If all
    are bad, answer 400 with the code of the first one and `rejected`. Raises Refusal as `receive_event` does.
    """
    received_at = datetime.now(UTC)
    senders, body = await open_request(request, received_at=received_at, limit=BATCH_BYTES)
    try:
        if len(body) > LIGHT_BYTES or body.count(b"{") > LIGHT_ROWS:
            items = await compute_for(
                senders.share, read_events, senders, body, received_at=received_at, is_import=is_import
            )
        else:
            items = read_events(senders, body, received_at=received_at, is_import=is_import)
    except Refusal as refusal:
        await keep_refused(senders, refusal, body, received_at=received_at)
        raise
    if not items:
        return json_response({"success": True, "accepted": 0, "duplicates": 0, "rejected": []})
    stored = await store_events(items)
    if len(stored.refusals) < len(items):
        return json_response({"success": True, **stored.describe()})
    first = stored.refusals[0]
    refusal_body = {"success": False, "code": first.code, "message": first.message, **stored.describe()}
    is_off = all(refusal.status == HTTPStatus.FORBIDDEN for refusal in stored.refusals.values())
    return json_response(refusal_body, status=HTTPStatus.FORBIDDEN if is_off else HTTPStatus.BAD_REQUEST)


def read_events(senders: Senders, body: bytes, *, received_at: datetime, is_import: bool) -> list[ParsedEvent]:
    """Return the events of a batch. Raises Refusal (400, 413)."""
    batch = read_batch(body)
    if len(batch.batch) > accept.MAX_EVENTS:
        raise accept.too_large(f"The batch holds more than {accept.MAX_EVENTS:,} events.")
    return parse_batch(senders, batch, received_at=received_at, is_import=is_import)


async def drop_metrics(request: Request) -> Response:
    """Discard the metrics of analytics-next, which it sends to `/v1/m`."""
    await request.drain()
    return SUCCESS


async def give_settings(request: Request, *, write_key: str) -> Response:
    """Return the settings that analytics-next loads first, with this host as the address to send to.

    Raises Refusal (404), on which `load()` rejects.
    """
    source = await look_up(find_source, write_key)
    if source is None:
        record_refused_key(KeyProblem.WRITE_KEY, write_key)
    if source is None or not source.is_enabled:
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_write_key", "No source has this write key, or it is switched off.")
    scheme, host = asked_address(request.header, scheme=request.scope["scheme"])
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
    # The response names the host of the request, which a client can invent, so no cache may share it.
    return json_response(settings, headers=(("Cache-Control", "private, no-store"), ("Vary", HOST_HEADERS)))


async def open_request(
    request: Request, *, received_at: datetime, limit: int, type_: str = ""
) -> tuple[Senders, bytes]:
    """Return the senders of a request, and its body.

    One valid write key is enough. It is taken from the header, the query or the top of the body, in this order.
    Otherwise the events have keys of their own. Raises Refusal and keeps what was read if its source is known.
    """
    keys = read_request_keys(request)
    senders = await SENDERS.find(keys)
    if senders.all:
        require_capacity(senders)
        # A browser's key is public, because it is in its pages, so it does not authenticate the sender of a slow body.
        memory = STRANGERS if senders.only and senders.only.kind == "browser" else KNOWN_SENDERS
        body = await read_body(request, senders, received_at=received_at, limit=limit, type_=type_, memory=memory)
        return senders, body
    body = await read_body(request, senders, received_at=received_at, limit=limit, type_=type_, memory=STRANGERS)
    senders = await find_senders_in_body(body, keys, address=request.address)
    require_capacity(senders)
    accept.count_bytes(senders.all, accept.measure_body(request, body))
    return senders, body


def require_capacity(senders: Senders) -> None:
    """Raise Refusal (429) if one of the senders must send later."""
    for source in senders.all:
        accept.require_capacity(source.site_id, source)


async def read_body(
    request: Request, senders: Senders, *, received_at: datetime, limit: int, type_: str, memory: BodyMemory
) -> bytes:
    """Return the body. Raises Refusal (400, 413) and keeps what was read if the source is known."""
    try:
        share = senders.share if memory is KNOWN_SENDERS else request.address
        body = await request.body(limit, memory, sender=share)
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
    await keep_refused(senders, refusal, body, received_at=received_at, type_=type_, content_encoding=content_encoding)
    raise refusal


async def keep_refused(
    senders: Senders,
    refusal: Refusal,
    body: bytes,
    *,
    received_at: datetime,
    type_: str = "",
    content_encoding: str = "",
) -> None:
    """Keep a request that is refused as a whole, or its beginning if it is too large.

    If it has several sources, each gets a message without the body, because it must not see events of another one.
    """
    for source in senders.all:
        own = body if source is senders.only else b""
        event = accept.make_refused(
            own, refusal, position=0, received_at=received_at, type_=type_, content_encoding=content_encoding
        )
        await accept.store(source.site_id, source, [event], {0: refusal})


def find_endpoint(path: str) -> Endpoint | None:
    """Return the endpoint of a path below `/v1/` that names a write key."""
    parts = path.removesuffix("/").split("/")
    match parts:
        case ["", "v1", "projects", write_key, "settings"]:
            return Endpoint({"GET": partial(give_settings, write_key=write_key)})
    return None


RECEIVERS: Final[Mapping[str, Callable[[Request], Awaitable[Response]]]] = {
    **{f"/v1/{name}": partial(receive_event, type_=type_) for name, type_ in TYPE_PATHS.items()},
    "/v1/batch": receive_batch,
    "/v1/b": receive_batch,
    "/v1/import": partial(receive_batch, is_import=True),
    "/v1/m": drop_metrics,
    "/beacon/v1/batch": receive_batch,  # RudderStack's `useBeacon`
}
# Each path with and without a slash at its end, because a redirected POST loses its event (promise I-26).
ENDPOINTS: Final = {
    path + slash: Endpoint({"POST": receive}) for path, receive in RECEIVERS.items() for slash in ("", "/")
}
