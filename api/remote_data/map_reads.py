"""`/map/map` and `/map/maps`: remote data for Kameleoon's SDKs and web engine."""

import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from psycopg.errors import QueryCanceled

from api.events.refusal import Refusal
from api.http.access import AccessCheck
from api.http.batching import PendingCall, RequestBatcher
from api.http.credentials import SiteAccess, check_authorization, find_site, require_scope, unauthorized
from api.http.database import DatabaseDownError, fetch_all, once
from api.http.endpoint import Request, Response
from api.http.threads import LIGHT_BYTES, compute_for
from api.models import Scope
from cohorts import remote_data
from cohorts.remote_data import LargeOwnKey, LargePerson, Lookup, Reader, Rows, Sought

KEYS_LIMIT: Final = 100
READERS: Final = 2  # threads
MOST_KEYS: Final = 200  # a statement
ANSWER_BYTES: Final = 16_777_216  # of large objects: four of the largest persons
PATIENCE: Final = 5.0  # seconds
KEYS: Final = msgspec.json.Decoder(list[str])
Large = LargePerson | LargeOwnKey


async def get_map(request: Request) -> Response:
    """Return the object under one key, `{}` for an unknown one. One SQL statement."""
    query = request.query()
    key = query.get("key", "")
    if not key.strip():
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "missing_key", "The parameter key is missing. Send one, for example key=common."
        )
    return answer_document(request, (await _read(request, query, [key]))[key])


async def get_maps(request: Request) -> Response:
    """Return the objects under `keys=["k1","k2"]`, 100 at most, as one object by key. One SQL statement."""
    query = request.query()
    try:
        keys = KEYS.decode(query.get("keys", ""))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "invalid_keys", 'The parameter keys must be a JSON array of strings: ["common"].'
        ) from error
    if len(keys) > KEYS_LIMIT:
        raise Refusal(HTTPStatus.BAD_REQUEST, "too_many_keys", f"Ask for {KEYS_LIMIT} keys at most.")
    return answer_document(request, await _read(request, query, keys))


def refuse_quietly(refusal: Refusal) -> Response:
    """Return `{}` with the refusal's status and its reason in a header.

    An SDK takes any JSON body for data (promise K-76).
    """
    return Response(refusal.status, b"{}", (*refusal.headers, refusal.as_header()))


async def _read(request: Request, query: dict[str, str], keys: list[str]) -> dict[str, dict[str, Any]]:
    """Return the parts of the objects that this reader may see. Raises Refusal (401, 403, 404)."""
    site, is_anonymous = await READERS_OF_SITES.find((query.get("siteCode", ""), request.headers.get("authorization")))
    lookups = remote_data.lookups_of(site.id, keys)
    rows = await batcher().call(lookups, timeout=PATIENCE) if lookups else {}
    reader = Reader(site.public_traits if is_anonymous else None, company_is_group=site.company_is_group)
    large = remote_data.find_large(site.id, keys, rows, reader)
    if large:
        rows = {**rows, **await batcher_of_large().call(large, timeout=PATIENCE)}
    if sum(len(text) for lookup in lookups for text in rows[lookup] or ()) > LIGHT_BYTES:
        return await compute_for(site.id, remote_data.documents, site.id, keys, rows, reader)
    return remote_data.documents(site.id, keys, rows, reader)


def check_reader(shown: tuple[str, str | None]) -> tuple[SiteAccess, bool]:
    """Return the site with this sitecode, and True if the reader shows no key. Raises Refusal (401, 403, 404).

    `shown` also has the Authorization header. A reader with an empty one is not anonymous.
    """
    sitecode, authorization = shown
    site = open_site(sitecode, authorization, Scope.READ)
    if authorization is None and site.requires_token:
        raise unauthorized("This site requires an access token to read remote data. Get one at /oauth/token.")
    return site, authorization is None


def open_site(sitecode: str, authorization: str | None, scope: Scope) -> SiteAccess:
    """Return the site with this sitecode, if it is opened by the credential of the Authorization header, if any.

    Raises Refusal (401, 403, 404).
    """
    site = find_site(sitecode)
    if site is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_site", "No site has the sitecode in the parameter siteCode.")
    if authorization is not None:
        bearer = check_authorization(authorization)
        require_scope(bearer, scope)
        if site.id not in bearer.site_ids:
            raise Refusal(HTTPStatus.FORBIDDEN, "forbidden_site", "This credential does not open this site.")
    return site


READERS_OF_SITES: Final = AccessCheck(check_reader)


def _fetch(calls: Sequence[PendingCall[Sequence[Lookup], Rows]]) -> None:
    """Read for all these requests, in one statement for each site. If that takes too long, read for each alone."""
    ids_by_site: dict[int, list[Sought]] = {}
    for site_id, id_ in dict.fromkeys(lookup for call in calls for lookup in call.argument):
        ids_by_site.setdefault(site_id, []).append(id_)
    try:
        rows: dict[Lookup, Sequence[str] | None] = {}
        for site_id, ids in ids_by_site.items():
            found = fetch_all(remote_data.statement_for(ids), remote_data.parameters(site_id, ids))
            rows |= remote_data.rows_by_lookup(site_id, ids, found)
    except DatabaseDownError as error:
        if len(calls) == 1 or not isinstance(error.__cause__, QueryCanceled):
            raise
        for call in (call for call in calls if not call.is_abandoned):
            try:
                _fetch([call])
            except DatabaseDownError as own:
                call.reject(own)
    else:
        for call in calls:
            call.resolve(rows)


def _fetch_large(calls: Sequence[PendingCall[Sequence[Large], Rows]]) -> None:
    """Read large persons and own keys one by one, as long as the request waits and they fit into one answer."""
    for call in calls:
        rows, room = dict[Lookup, list[str]](), ANSWER_BYTES
        for large in call.argument:
            if call.is_abandoned:
                break
            rows[large.lookup] = [text for (text,) in fetch_all(large.statement, large.parameters())]
            room -= sum(map(len, rows[large.lookup]))
            if room < 0:
                call.reject(
                    Refusal(
                        HTTPStatus.BAD_REQUEST,
                        "too_many_keys",
                        "The data under these keys is too large for one answer. Ask for fewer keys at once.",
                    )
                )
                break
        else:
            call.resolve(rows)


@once
def batcher_of_large() -> RequestBatcher[Sequence[Large], Rows]:
    """Return this process's thread for large objects, which must not block other reads."""
    return RequestBatcher(_fetch_large, name="large reads", max_size=1, size=lambda _: 1)


@once
def batcher() -> RequestBatcher[Sequence[Lookup], Rows]:
    """Return this process's threads for reads, started by the first request."""
    return RequestBatcher(_fetch, name="reads", max_size=MOST_KEYS, size=len, threads=READERS)


def answer_document(request: Request, document: dict[str, Any]) -> Response:
    """Return a document with its ETag, or 304 if the reader has it already."""
    body = msgspec.json.encode(document, order="sorted")
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = (("ETag", etag), ("Vary", "Authorization, Origin"), ("Cache-Control", "private, no-cache"))
    known = [tag.strip().removeprefix("W/") for tag in request.header("if-none-match").split(",")]
    if etag in known:
        return Response(HTTPStatus.NOT_MODIFIED, b"", headers)
    return Response(HTTPStatus.OK, body, headers)
