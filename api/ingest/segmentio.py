"""`/segmentio`: what Segment's Kameleoon destination speaks (wire-kameleoon A), and raw Segment events from webhooks."""

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
        body = request.body(BODY_LIMIT)
    except TooLargeError as error:
        keep_refused(site, error.start, "too_large", received_at=received_at)
        raise too_large(f"The body is larger than {BODY_LIMIT:,} bytes.") from error
    except UnreadableBodyError as error:
        keep_refused(site, b"", "invalid_json", received_at=received_at)
        raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_json", str(error)) from error
    if not site.is_destination_enabled:
        keep_refused(site, body, "integration_off", received_at=received_at)
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "integration_off",
            "The Segment destination of this site is switched off. The event was kept; switch it on in the admin.",
        )
    try:
        raws = read_events(body)
    except Refusal as refusal:
        keep_refused(site, body, refusal.code, received_at=received_at)
        raise
    if len(raws) > EVENT_LIMIT:
        keep_refused(site, body[:4096], "too_large", received_at=received_at)
        raise too_large(f"The array holds more than {EVENT_LIMIT:,} events.")
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
    if len(raws) == 1 and not body.lstrip().startswith(b"["):
        return json_answer(
            {"success": True, "messageId": events[0].message_id, "status": "accepted" if stored[0] else "duplicate"}
        )
    accepted = sum(stored) - len(refusals)
    return json_answer(
        {
            "success": True,
            "accepted": accepted,
            "duplicates": len(raws) - len(refusals) - accepted,
            "rejected": [
                {"index": index, "code": refusal.code, "message": refusal.message}
                for index, refusal in refusals.items()
            ],
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


def keep_refused(site: SiteAccess, body: bytes, reason: str, *, received_at: datetime) -> None:
    """Keep what is refused, so that it can be looked at and replayed."""
    store(site, [refused(body, reason, position=0, received_at=received_at)])


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
