"""`/segmentio`: what Segment's Kameleoon destination sends (wire-kameleoon A), and raw events as webhooks send them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from api.access import SiteAccess, api_key, check_authorization, check_secret, find_site
from api.door import Answer, Refusal, Request, TooLargeError, UnreadableBodyError, json_answer
from api.ingest import inbox, nudge
from api.ingest.inbox import Row
from api.ingest.wire import Incoming, read_event, read_events

BODY_LIMIT: Final = 1_048_576  # promises K-24
EVENT_LIMIT: Final = 4_000


def receive_events(request: Request) -> Answer:
    """Take one event, or an array of them. 200 only after the commit.

    One event answers `{"success": true, "messageId": …, "status": "accepted" | "duplicate"}`; an array answers
    `accepted`, `duplicates` and `rejected: [{index, code, message}]`. What is refused after authentication is kept in
    the inbox. Raises Refusal: 401 unauthorized, 403 forbidden_site, 403 integration_off, 400 invalid_json,
    400 invalid_event, 413 too_large, 429 overloaded.
    """
    received_at = datetime.now(UTC)
    site = find_destination(request)
    if nudge.is_overloaded():
        raise Refusal(
            HTTPStatus.TOO_MANY_REQUESTS,
            "overloaded",
            "Too many messages wait for the digest. Nothing was stored; send the same again later.",
            (("Retry-After", "10"),),
        )
    try:
        raws, is_array = read_request(request, site)
    except KeptRefusalError as kept:
        store(site, [refused(kept.body, kept.refusal.code, position=0, received_at=received_at)])
        raise kept.refusal from kept
    events, refusals = [], {}
    for position, raw in enumerate(raws):
        try:
            events.append(read_event(raw, position=position, received_at=received_at))
        except Refusal as refusal:
            refusals[position] = refusal
            events.append(refused(raw, refusal.code, position=position, received_at=received_at))
    stored = store(site, events)
    if len(refusals) == len(raws):
        raise refusals[0]
    if is_array:
        return describe_array(stored, refusals)
    status = "accepted" if stored[0] else "duplicate"
    return json_answer({"success": True, "messageId": events[0].message_id, "status": status})


def describe_array(stored: list[bool], refusals: dict[int, Refusal]) -> Answer:
    """What became of an array of events."""
    accepted = sum(stored) - len(refusals)  # what is refused is stored too
    rejected = [{"index": index, "code": each.code, "message": each.message} for index, each in refusals.items()]
    return json_answer(
        {
            "success": True,
            "accepted": accepted,
            "duplicates": len(stored) - len(refusals) - accepted,
            "rejected": rejected,
        }
    )


def give_api_key(request: Request) -> Answer:
    """`GET /segmentio/getapikey?id=&secret=`: the API key as plain text (promises K-36). Raises Refusal (401)."""
    query = request.query()
    check_secret(query.get("id", ""), query.get("secret", ""))
    return Answer(
        HTTPStatus.OK,
        api_key(query["id"], query["secret"]).encode(),
        (("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer")),
        "text/plain; charset=utf-8",
    )


def find_destination(request: Request) -> SiteAccess:
    """The site that the headers name and open. Raises Refusal (401, 403)."""
    bearer = check_authorization(request.header("HTTP_AUTHORIZATION"))
    sitecode = request.header("HTTP_X_SEGMENT_SETTINGS")
    site = find_site(sitecode) if sitecode else None
    if site is None or site.id not in bearer.site_ids:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "forbidden_site",
            "The header x-segment-settings must hold the sitecode of a site that this API key opens.",
        )
    return site


@dataclass(eq=False)
class KeptRefusalError(Exception):
    """The request is refused, and what was read of it is kept, so that it can be looked at and replayed."""

    refusal: Refusal
    body: bytes


def read_request(request: Request, site: SiteAccess) -> tuple[list[bytes], bool]:
    """(the events' bytes, whether they came as an array). Raises KeptRefusalError."""
    try:
        body = request.body(BODY_LIMIT)
    except TooLargeError as error:
        raise KeptRefusalError(too_large(f"The body is larger than {BODY_LIMIT:,} bytes."), error.start) from error
    except UnreadableBodyError as error:
        raise KeptRefusalError(Refusal(HTTPStatus.BAD_REQUEST, "invalid_json", str(error)), b"") from error
    if not site.is_destination_enabled:
        off = "The Segment destination of this site is switched off. The event was kept; switch it on in the admin."
        raise KeptRefusalError(Refusal(HTTPStatus.FORBIDDEN, "integration_off", off), body)
    try:
        raws, is_array = read_events(body)
    except Refusal as refusal:
        raise KeptRefusalError(refusal, body) from refusal
    if len(raws) > EVENT_LIMIT:
        raise KeptRefusalError(too_large(f"The array holds more than {EVENT_LIMIT:,} events."), body[:4096])
    return raws, is_array


def refused(body: bytes, reason: str, *, position: int, received_at: datetime) -> Incoming:
    """A message for the inbox that is rejected from the start."""
    return Incoming("", None, position, received_at, received_at, body, reason=reason)


def store(site: SiteAccess, events: list[Incoming]) -> list[bool]:
    """Store events of a site's destination; whether each is new."""
    try:
        return inbox.store([Row(site.id, site.destination_id, event) for event in events])
    except inbox.RowRefusedError as error:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "invalid_event", "An event holds a value that cannot be stored; the rest is kept."
        ) from error


def too_large(what: str) -> Refusal:
    """413."""
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"{what} Send less at a time.")
