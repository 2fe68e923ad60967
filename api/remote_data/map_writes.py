"""`POST /map/maps`: remote data under keys of the operator's own."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import msgspec

from api.events.refusal import Refusal
from api.http.access import AccessCheck
from api.http.batching import PendingCall, RequestBatcher
from api.http.bodies import KNOWN_SENDERS, BodyTooLargeError, UndecodableBodyError
from api.http.credentials import SiteAccess, unauthorized
from api.http.database import fetch_all, once
from api.http.endpoint import Request, Response, error_response
from api.http.threads import LIGHT_BYTES, compute_for
from api.models import Scope
from api.remote_data.map_reads import PATIENCE, open_site
from cohorts import own_keys, remote_data

BODY_BYTES: Final = 1_048_576
DEFAULT_HOURS: Final = 2_208
MOST_HOURS: Final = 8_784
MAPS: Final = msgspec.json.Decoder(dict[str, dict[str, Any]])


async def post_maps(request: Request) -> Response:
    """Store `{"<key>": {<field>: <value>}}` for `ttlHours`, and delete the keys with `{}`. One SQL statement.

    204 follows the commit. A refusal has the error body, because no SDK reads this answer as remote data.
    """
    try:
        query = request.query()
        site = await WRITERS_OF_SITES.find((query.get("siteCode", ""), request.headers.get("authorization")))
        hours = read_hours(query.get("ttlHours", str(DEFAULT_HOURS)))
        body = await _read_body(request, site.id)
        documents = await compute_for(site.id, read_maps, body) if len(body) > LIGHT_BYTES else read_maps(body)
        if documents:
            now = datetime.now(UTC)
            expires_at = now + timedelta(hours=hours)
            written = own_keys.write_parameters(site.id, documents, now=now, expires_at=expires_at)
            await batcher().call(written, timeout=PATIENCE)
    except Refusal as refusal:
        return error_response(refusal)
    return Response(HTTPStatus.NO_CONTENT)


def check_writer(shown: tuple[str, str | None]) -> SiteAccess:
    """Return the site with this sitecode, which this credential may manage. Raises Refusal (401, 403, 404)."""
    sitecode, authorization = shown
    if authorization is None:
        raise unauthorized("Writing remote data requires a credential with the scope `manage`, or its access token.")
    return open_site(sitecode, authorization, Scope.MANAGE)


WRITERS_OF_SITES: Final = AccessCheck(check_writer)


def read_hours(text: str) -> int:
    """Return the hours for which objects stay. Raises Refusal (400)."""
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_HOURS)) and 1 <= int(text) <= MOST_HOURS:
        return int(text)
    raise Refusal(
        HTTPStatus.BAD_REQUEST,
        "invalid_request",
        f"The parameter ttlHours must be a whole number from 1 to {MOST_HOURS}. Without it, it is {DEFAULT_HOURS}.",
    )


async def _read_body(request: Request, site_id: int) -> bytes:
    try:
        return await request.body(BODY_BYTES, KNOWN_SENDERS, sender=site_id)
    except BodyTooLargeError as error:
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            "The body is larger than 1 MB. Nothing was stored. Send the keys in several requests.",
        ) from error
    except UndecodableBodyError as error:
        code, message = error.refusal.code, "The body could not be read. Nothing was stored. Send the same again."
        raise Refusal(HTTPStatus.BAD_REQUEST, code, message) from error


def read_maps(body: bytes) -> Mapping[str, str | None]:
    """Return the object under each key as JSON, None for an empty one. Raises Refusal (400). Pure."""
    try:
        maps = MAPS.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "invalid_json",
            f'The body must be JSON like {{"<key>": {{"<field>": <value>}}}}: {error}. Nothing was stored.',
        ) from error
    documents: dict[str, str | None] = {}
    for given, fields in maps.items():
        key = given.strip()  # as a reader's key is (promise K-74)
        if remote_data.is_reserved(key):
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                "reserved_key",
                f"Goalpost fills the key {key!r} from events. Nothing was stored. Choose a key that is not `common` "
                f"and does not begin with {', '.join(remote_data.RESERVED)}.",
            )
        fault = own_keys.find_fault(key, fields)
        if fault:
            raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_request", f"{fault} Nothing was stored.")
        documents[key] = msgspec.json.encode(fields).decode() if fields else None
    return documents


def _write(calls: Sequence[PendingCall[Mapping[str, Any], None]]) -> None:
    """Write for one request after the other. What a request wrote that gave up meanwhile is as if it came again."""
    for call in calls:
        if not call.is_abandoned:
            fetch_all(own_keys.WRITE, call.argument)
            call.resolve(None)


@once
def batcher() -> RequestBatcher[Mapping[str, Any], None]:
    """Return this process's thread for writes, started by the first one. It leaves other connections to readers."""
    return RequestBatcher(_write, name="map writes", max_size=1, size=lambda _: 1)
