"""`/map/map` and `/map/maps`: remote data as Kameleoon's SDKs and web engine read it."""

import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from psycopg.errors import QueryCanceled

from api.events.refusal import Refusal
from api.http.batching import PendingCall, RequestBatcher
from api.http.credentials import check_authorization, find_site, require_scope, unauthorized
from api.http.database import DatabaseDownError, fetch_all, once
from api.http.endpoint import Request, Response
from api.models import Scope
from cohorts import remote_data
from cohorts.remote_data import Found, LargePerson, Wanted

KEYS_LIMIT: Final = 100
READERS: Final = 2  # threads
MOST_KEYS: Final = 200  # a statement
ANSWER_BYTES: Final = 16_777_216  # of large persons: four of the largest
PATIENCE: Final = 5.0  # seconds
KEYS: Final = msgspec.json.Decoder(list[str])


def get_map(request: Request) -> Response:
    """The object under one key; `{}` for an unknown one. One SQL statement."""
    query = request.query()
    key = query.get("key", "")
    if not key.strip():
        raise Refusal(HTTPStatus.BAD_REQUEST, "missing_key", "Give the parameter key, for example key=common.")
    return _answer(request, _read(request, query, [key])[key])


def get_maps(request: Request) -> Response:
    """The objects under several keys, `keys=["k1","k2"]`, 100 at most, as one object by key. One SQL statement."""
    query = request.query()
    try:
        keys = KEYS.decode(query.get("keys", ""))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "invalid_keys", 'The parameter keys must be a JSON array of strings: ["common"].'
        ) from error
    if len(keys) > KEYS_LIMIT:
        raise Refusal(HTTPStatus.BAD_REQUEST, "too_many_keys", f"Ask for {KEYS_LIMIT} keys at most.")
    return _answer(request, _read(request, query, keys))


def refuse_quietly(refusal: Refusal) -> Response:
    """`{}` with the right status and the reason in a header: an SDK takes any JSON body for data (promises K-76)."""
    return Response(refusal.status, b"{}", (*refusal.headers, refusal.as_header()))


def _read(request: Request, query: dict[str, str], keys: list[str]) -> dict[str, dict[str, Any]]:
    """The objects under these keys, as far as this reader may see them. Raises Refusal (401, 403, 404)."""
    site = find_site(query.get("siteCode", ""))
    if site is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_site", "The parameter siteCode names no site here.")
    authorization = request.header("HTTP_AUTHORIZATION")
    # Empty but there: the server blanks a value with a byte beyond ASCII. Whoever shows a key is no anonymous reader.
    shows_key = "HTTP_AUTHORIZATION" in request.environ
    if shows_key:
        bearer = check_authorization(authorization)
        require_scope(bearer, Scope.READ)
        if site.id not in bearer.site_ids:
            raise Refusal(HTTPStatus.FORBIDDEN, "forbidden_site", "This credential does not open this site.")
    elif site.requires_token:
        raise unauthorized("This site serves remote data with an access token only. Fetch one at /oauth/token.")
    wanted = remote_data.wanted(site.id, keys)
    found = reader().call(wanted, timeout=PATIENCE) if wanted else {}
    public_traits = None if shows_key else site.public_traits
    large = remote_data.large_persons(
        site.id, keys, found, public_traits=public_traits, company_is_group=site.company_is_group
    )
    if large:
        found = {**found, **reader_of_large().call(large, timeout=PATIENCE)}
    return remote_data.documents(
        site.id, keys, found, public_traits=public_traits, company_is_group=site.company_is_group
    )


def _fetch(calls: Sequence[PendingCall[Sequence[Wanted], Found]]) -> None:
    """Read for all these requests in one statement; where that takes too long, for each alone."""
    wanted = list(dict.fromkeys(each for call in calls for each in call.argument))
    try:
        found = remote_data.find(wanted, fetch_all(remote_data.STATEMENT, remote_data.parameters(wanted)))
    except DatabaseDownError as error:
        if len(calls) == 1 or not isinstance(error.__cause__, QueryCanceled):
            raise
        for call in (each for each in calls if each.extend_deadline(0)):  # the others have left meanwhile
            try:
                _fetch([call])
            except DatabaseDownError as own:
                call.reject(own)
    else:
        for call in calls:
            call.resolve(found)


def _fetch_large(calls: Sequence[PendingCall[Sequence[LargePerson], Found]]) -> None:
    """Read large persons one after the other, as long as their reader waits and they fit into one answer."""
    for call in calls:
        found, room = dict[Wanted, list[str]](), ANSWER_BYTES
        for person in call.argument:
            if call.is_abandoned:
                break
            found[person.wanted] = [text for (text,) in fetch_all(remote_data.LARGE, person.parameters())]
            room -= sum(map(len, found[person.wanted]))
            if room < 0:
                call.reject(
                    Refusal(
                        HTTPStatus.BAD_REQUEST,
                        "too_many_keys",
                        "Too much is known of these people for one answer. Ask for fewer keys at once.",
                    )
                )
                break
        else:
            call.resolve(found)


@once
def reader_of_large() -> RequestBatcher[Sequence[LargePerson], Found]:
    """Return the thread that reads large persons for this process, so that other readers do not wait for them."""
    return RequestBatcher(_fetch_large, name="large reads", max_size=1, size=lambda _: 1)


@once
def reader() -> RequestBatcher[Sequence[Wanted], Found]:
    """This process's readers, started when the first key is asked for."""
    return RequestBatcher(_fetch, name="reads", max_size=MOST_KEYS, size=len, threads=READERS)


def _answer(request: Request, document: dict[str, Any]) -> Response:
    """A document with its ETag, or 304 when the reader has it already."""
    body = msgspec.json.encode(document, order="sorted")
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = (("ETag", etag), ("Vary", "Authorization, Origin"), ("Cache-Control", "private, no-cache"))
    known = [each.strip().removeprefix("W/") for each in request.header("HTTP_IF_NONE_MATCH").split(",")]
    if etag in known:
        return Response(HTTPStatus.NOT_MODIFIED, b"", headers)
    return Response(HTTPStatus.OK, body, headers)
