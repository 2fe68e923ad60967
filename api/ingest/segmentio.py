"""`/segmentio`: events of Segment's Kameleoon destination, and raw events as webhooks send them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from api.events.envelope import IncomingEvent, find_message_id, read_event, read_events
from api.events.refusal import Refusal
from api.http.access import AccessCheck
from api.http.bodies import KNOWN_SENDERS, BodyTooLargeError, UndecodableBodyError
from api.http.credentials import SiteAccess, check_authorization, check_secret, encode_api_key, find_site, require_scope
from api.http.endpoint import Request, Response, json_response
from api.http.refused_keys import KeyProblem, record_refused_key
from api.http.threads import LIGHT_BYTES, LIGHT_ROWS, compute_for, look_up
from api.ingest.accept import (
    EVENT_BYTES,
    MAX_EVENTS,
    KeptRefusalError,
    count_bytes,
    make_refused,
    measure_body,
    require_capacity,
    store,
    too_large,
)
from api.models import Scope


async def receive_events(request: Request) -> Response:
    """Accept one event or an array of events. Answer 200 only after the commit.

    One event answers `{"success": true, "messageId": …, "status": "accepted" | "duplicate", "trace": …}`. `trace` is
    the path of its effects in the management API (promise K-82). An array answers `accepted`, `duplicates` and
    `rejected: [{index, code, message}]`. Events that are refused after authentication are kept in the inbox.

    Raises Refusal: 401 unauthorized, 403 insufficient_scope, 403 forbidden_site, 403 integration_off,
    400 invalid_json, 400 invalid_event, 413 too_large, 429 overloaded, over_budget.
    """
    received_at = datetime.now(UTC)
    headers = request.headers
    site = await DESTINATIONS.find((headers.get("authorization", ""), headers.get("x-segment-settings", "")))
    source = site.destination
    require_capacity(site.id, source)
    try:
        raws, is_array = await read_request(request, site)
    except KeptRefusalError as kept:
        event = make_refused(
            kept.body,
            kept.refusal,
            position=0,
            received_at=received_at,
            content_encoding=kept.content_encoding,
        )
        await store(site.id, source, [event], {0: kept.refusal})
        raise kept.refusal from kept
    if len(raws) > LIGHT_ROWS or sum(map(len, raws)) > LIGHT_BYTES:
        events, refusals = await compute_for(site.id, parse_events, raws, received_at=received_at)
    else:
        events, refusals = parse_events(raws, received_at=received_at)
    stored = await store(site.id, source, events, refusals)
    if len(refusals) == len(raws):
        raise refusals[0]
    if is_array:
        return json_response({"success": True, **stored.describe()})
    status = "accepted" if stored.accepted else "duplicate"
    trace = trace_path(site, stored.events[0], number=stored.numbers[0])
    return json_response({"success": True, "messageId": events[0].message_id, "status": status, "trace": trace})


def parse_events(raws: Sequence[bytes], *, received_at: datetime) -> tuple[list[IncomingEvent], dict[int, Refusal]]:
    """Return the events of a request as they are stored, and the refusals of bad ones by their places. Pure."""
    events: list[IncomingEvent] = []
    refusals: dict[int, Refusal] = {}
    for position, raw in enumerate(raws):
        try:
            events.append(read_event(raw, position=position, received_at=received_at))
        except Refusal as refusal:
            refusals[position] = refusal
            message_id = find_message_id(raw)
            events.append(make_refused(raw, refusal, position=position, received_at=received_at, message_id=message_id))
    return events, refusals


def trace_path(site: SiteAccess, stored: IncomingEvent, *, number: int) -> str:
    """Return the path of an event's trace in the management API, by its messageId if it was stored with one.

    An event without a messageId is never a duplicate, and its message has this id.
    """
    if stored.message_id is None:
        return f"/api/messages/{number}/trace"
    return f"/api/trace?site={site.sitecode}&type={stored.type}&messageId={quote(stored.message_id, safe='')}"


async def give_api_key(request: Request) -> Response:
    """Return the API key as plain text: `GET /segmentio/getapikey?id=&secret=` (promise K-36). Raises Refusal."""
    query = request.query()
    credential = await look_up(check_secret, query.get("id", ""), query.get("secret", ""))
    require_scope(credential, Scope.SEND)
    return Response(
        HTTPStatus.OK,
        encode_api_key(query["id"], query["secret"]).encode(),
        (("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")),
        "text/plain; charset=utf-8",
    )


def find_destination(shown: tuple[str, str]) -> SiteAccess:
    """Return the site that these headers name and open: Authorization, x-segment-settings. Raises Refusal (401, 403).

    Two queries, at most every few seconds.
    """
    authorization, sitecode = shown
    bearer = check_authorization(authorization)
    require_scope(bearer, Scope.SEND)
    site = find_site(sitecode) if sitecode else None
    if site is None or site.id not in bearer.site_ids:
        record_refused_key(KeyProblem.SITECODE, bearer.client_id)
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "forbidden_site",
            "The header x-segment-settings must hold the sitecode of a site that this API key opens.",
        )
    return site


DESTINATIONS: Final = AccessCheck(find_destination)


async def read_request(request: Request, site: SiteAccess) -> tuple[list[bytes], bool]:
    """Return the bytes of the events, and True if they came as an array. Raises KeptRefusalError."""
    sources = [site.destination] if site.destination else []
    try:
        body = await request.body(EVENT_BYTES, KNOWN_SENDERS, sender=site.id)
        count_bytes(sources, measure_body(request, body))
    except BodyTooLargeError as error:
        count_bytes(sources, EVENT_BYTES)
        refusal = too_large(f"The body is larger than {EVENT_BYTES:,} bytes.")
        raise KeptRefusalError(refusal, error.start, error.content_encoding) from error
    except UndecodableBodyError as error:
        count_bytes(sources, len(error.body))
        raise KeptRefusalError(error.refusal, error.body, error.content_encoding) from error
    if site.destination is None or not site.destination.is_enabled:
        off = (
            "The Segment destination of this site is switched off. What was sent is kept up to a daily allowance. "
            "Switch it on under Settings, Sources, then retry."
        )
        raise KeptRefusalError(Refusal(HTTPStatus.FORBIDDEN, "integration_off", off), body)
    try:
        raws, is_array = await compute_for(site.id, read_events, body) if len(body) > LIGHT_BYTES else read_events(body)
    except Refusal as refusal:
        raise KeptRefusalError(refusal, body) from refusal
    if len(raws) > MAX_EVENTS:
        raise KeptRefusalError(too_large(f"The array holds more than {MAX_EVENTS:,} events."), body)
    return raws, is_array
