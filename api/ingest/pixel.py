"""`/v1/pixel/…`: one event in the address of an image, for e-mails and pages without scripts."""

import base64
import binascii
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Final

from api.events.refusal import Refusal
from api.events.types import TYPES
from api.http.endpoint import Endpoint, Request, Response
from api.ingest.tracking import require_capacity, take_event
from api.ingest.write_keys import SENDERS, find_senders_in_body, read_request_keys

GIF: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")  # 1×1, transparent
HEADERS: Final = (
    ("Cache-Control", "no-store, no-cache, max-age=0"),  # every view is an event
    ("Cross-Origin-Resource-Policy", "cross-origin"),  # so that isolated pages load it, too
)
ALPHABET: Final = str.maketrans("-_ ", "+/+", "\t\r\n")
# Statuses for clients that can retry or that used a wrong method.
SHOWN_STATUSES: Final = {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


async def receive_pixel(request: Request, *, type_: str) -> Response:
    """Accept the event in the parameter `data` as `tracking.receive_event` does that of a body. Raises Refusal, too."""
    received_at = datetime.now(UTC)
    query = request.query()
    body = read_data(query.get("data", ""))
    shown = read_request_keys(request)
    senders = await SENDERS.find(shown)
    senders = senders if senders.all else await find_senders_in_body(body, shown, address=request.address)
    require_capacity(senders)
    await take_event(senders, body, type_=type_, received_at=received_at)
    return Response(HTTPStatus.OK, GIF, HEADERS, "image/gif")


def read_data(text: str) -> bytes:
    """Return the JSON in base64 or base64url, padded or not, on one line or several.

    A plus that was not escaped arrives as a space. A text that is not base64 is returned as it is, so that it is
    refused as no JSON and kept.
    """
    encoded = text.translate(ALPHABET).rstrip("=")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return text.encode()


def refuse_as_image(refusal: Refusal) -> Response:
    """Return the image with the reason in a header, with status 200 if a retry would not help.

    Segment does so, too: a mail shows a broken image for any other status, and its reader cannot fix the cause.
    """
    if refusal.status not in SHOWN_STATUSES:
        return Response(HTTPStatus.OK, GIF, (*HEADERS, refusal.as_header()), "image/gif")
    return Response(refusal.status, GIF, (*HEADERS, *refusal.headers, refusal.as_header()), "image/gif")


ENDPOINTS: Final = {
    f"/v1/pixel/{type_}{slash}": Endpoint({"GET": partial(receive_pixel, type_=type_)}, refuse=refuse_as_image)
    for type_ in TYPES
    for slash in ("", "/")
}
