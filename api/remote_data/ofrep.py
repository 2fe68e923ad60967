"""OFREP, OpenFeature's protocol of remote evaluation: `POST /ofrep/v1/evaluate/flags[/<key>]`.

The flags are those of the file for SDKs, also with rules whose segment only Goalpost can judge. An evaluation is no
exposure: the web provider evaluates all flags when a page loads. `metadata` has the ids of experiment and variation,
for the caller to report.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from cachetools import LRUCache
from psycopg.errors import QueryCanceled

from api.events.refusal import Refusal
from api.http.access import AccessCheck
from api.http.batching import PendingCall, RequestBatcher
from api.http.bodies import BodyTooLargeError, UndecodableBodyError
from api.http.credentials import SiteAccess, check_authorization, find_site, require_scope, unauthorized
from api.http.database import DatabaseDownError, fetch_all, once
from api.http.endpoint import Endpoint, Request, Response
from api.http.threads import LIGHT_BYTES, LIGHT_ROWS, take_turns
from api.models import Scope
from api.remote_data import configuration, judged_segments, map_reads, stream
from api.remote_data.derived_values import read_custom_data, spell
from api.remote_data.judged_segments import JudgedVisitor
from api.remote_data.person_reads import read_person
from cohorts import ids
from cohorts.merge import MOST_VALUES
from cohorts.remote_data import Reader
from cohorts.segments.facts import FilledCustomData, Filling, as_texts
from goals.flags.evaluation import Document, Evaluation, Facts, Memberships, evaluate
from goals.flags.saving import PRODUCTION
from goals.flags.segment_checks import segments_named

# The base address of a provider is a host, or https://data.D/sites/<sitecode>/ with an environment after it or not. The
# provider for Python needs the slash at its end. Those for JavaScript add another one.
PATH: Final = re.compile(
    r"(?:/sites/(?P<sitecode>[a-z0-9]{10})(?:/(?P<environment>[a-z0-9_-]{1,64}))?)?"
    r"/{1,2}ofrep/v1/evaluate/flags(?:/(?P<key>.+))?"
)
BODY_BYTES: Final = 262_144
PATIENCE: Final = 5.0  # seconds
MOST_BYTES: Final = 16_777_216  # of files that a process keeps decoded
MOST_CONVERSIONS: Final = 10_000  # of a visitor that are read, the newest
CODES: Final = ("visitor", "device_visitor")  # registers that name visitor codes of a person
# Custom data that Goalpost fills, at the place 0, then the goals that the visitor codes of each place converted.
READ: Final = f"""
SELECT 0 AS place, d.index::bigint, d.filled_from, d.filling FROM cohorts_customdata d
 WHERE d.site_id = %(site)b AND d.filled_from <> 'sdk'
 UNION ALL
SELECT DISTINCT asked.place, coalesce(g.counts_for_id, g.id), '', ''
  FROM unnest(%(places)b::int[], %(codes)b::text[]) AS asked (place, code)
 CROSS JOIN LATERAL (
    SELECT c.goal_id FROM goals_conversion c WHERE c.site_id = %(site)b AND c.visitor_code = asked.code
     ORDER BY c.occurred_at DESC, c.id DESC LIMIT {MOST_CONVERSIONS}
 ) AS c
  JOIN goals_goal g ON g.site_id = %(site)b AND g.id = c.goal_id AND g.deleted_at IS NULL
"""
Row = tuple[int, str, str]


class Visitor(NamedTuple):
    """The visitor codes of a person of a site."""

    site_id: int
    codes: tuple[str, ...]


class SiteFlags(NamedTuple):
    """The flags of a site's file by key, its imported segments by id, and the indexes of custom data by name.

    `groups` has the ids of the flags in each mutually exclusive group.
    """

    flags: Mapping[str, Document]
    groups: Mapping[str, Sequence[int]]
    segments: Mapping[int, Document]
    indexes: Mapping[str, int]
    size: int  # bytes
    has_real_time: bool
    names_own: bool  # some rule depends on a segment of Goalpost
    open_segments: frozenset[int]  # of Goalpost, and judged by SDKs, too


class Question(NamedTuple):
    """The flags to evaluate, the facts of the visitor, and its memberships of Goalpost's own segments."""

    sitecode: str
    flags: SiteFlags
    facts: Facts
    known: Memberships


class OfrepRefusal(Refusal):
    """A refusal with one of OFREP's codes, beside which `code` is that of all other answers."""

    def __init__(self, status: int, code: str, error_code: str, message: str) -> None:
        super().__init__(status, code, message)
        self.error_code = error_code


def find_endpoint(path: str) -> Endpoint | None:
    """Return the endpoint of a path of OFREP."""
    match = PATH.fullmatch(path)
    if match is None:
        return None
    key = match["key"]
    place = (match["sitecode"] or "", match["environment"] or PRODUCTION)
    answer = evaluate_all if key is None else partial(evaluate_one, key=key)
    return Endpoint({"POST": partial(answer, place=place)}, refuse=partial(refuse, key=key))


async def evaluate_one(request: Request, *, place: tuple[str, str], key: str) -> Response:
    """Return the value of a flag for the visitor in the context. Two or three SQL statements.

    Raises Refusal: 400 with OFREP's errorCode, 401, 403, 404.
    """
    question = await _read(request, place)
    if key not in question.flags.flags:
        raise OfrepRefusal(
            HTTPStatus.NOT_FOUND, "not_found", "FLAG_NOT_FOUND", f"The site has no flag with the key {key[:255]}."
        )
    return Response(HTTPStatus.OK, msgspec.json.encode(_evaluate(key, question)))


async def evaluate_all(request: Request, *, place: tuple[str, str]) -> Response:
    """Return the values of all flags, or 304 if the provider has them already."""
    question = await _read(request, place)
    found: list[dict[str, Any]] = []
    async for part in take_turns([*question.flags.flags], LIGHT_ROWS):
        found += [_evaluate(key, question) for key in part]
    document: dict[str, Any] = {"flags": found}
    if question.flags.has_real_time:  # at the host of the provider's base address, because no other one is known here
        document["eventStreams"] = [{"type": "sse", "endpoint": {"requestUri": stream.place_of(question.sitecode)}}]
    return map_reads.answer_document(request, document)


def refuse(refusal: Refusal, *, key: str | None) -> Response:
    """Return a refusal as OFREP has it. A provider needs `errorDetails`, and `errorCode` for 400 and 404."""
    body: dict[str, str] = {"errorDetails": refusal.message, "code": refusal.code}
    if refusal.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}:
        body["errorCode"] = getattr(refusal, "error_code", "GENERAL")
    if key is not None:
        body["key"] = key
    return Response(refusal.status, msgspec.json.encode(body), refusal.headers)


def check_reader(shown: tuple[str, str | None]) -> tuple[SiteAccess, bool]:
    """Return the site with this sitecode, or the only one of the credential, and True if the reader shows no key.

    Raises Refusal (401, 403, 404).
    """
    sitecode, authorization = shown
    if sitecode:
        return map_reads.check_reader(shown)
    if authorization is None:
        raise unauthorized("Send a credential, or name the site in the base address: https://data.…/sites/<sitecode>.")
    bearer = check_authorization(authorization)
    require_scope(bearer, Scope.READ)
    only = find_only_site(bearer.site_ids) if len(bearer.site_ids) == 1 else None
    if only is None:
        raise Refusal(
            HTTPStatus.NOT_FOUND,
            "unknown_site",
            "This credential does not open exactly one site. Name it in the base address: /sites/<sitecode>.",
        )
    return only, False


READERS: Final = AccessCheck(check_reader)


def find_only_site(site_ids: frozenset[int]) -> SiteAccess | None:
    """Return the site with this id. One query."""
    rows = fetch_all("SELECT sitecode FROM api_site WHERE id = %(site)s", {"site": next(iter(site_ids))})
    return find_site(rows[0][0]) if rows else None


def read_authorization(request: Request) -> str | None:
    """Return the Authorization header. An API key may come as `X-API-Key`, or as a bearer token, which never ends."""
    api_key = request.headers.get("x-api-key")
    if api_key is not None:
        return f"Basic {api_key}"
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.strip().partition(" ")
        if scheme.lower() == "bearer" and ":" not in token:  # access tokens have colons
            return f"Basic {token.strip()}"
    return authorization


async def _read(request: Request, place: tuple[str, str]) -> Question:
    """Return the flags of the site, and the facts of the visitor in the context. Raises Refusal."""
    sitecode, environment = place
    site, is_anonymous = await READERS.find((sitecode, read_authorization(request)))
    context = read_context(await _read_body(request))
    code, _ = ids.read_id(context.get("targetingKey"))
    if code is None:
        raise OfrepRefusal(
            HTTPStatus.BAD_REQUEST,
            "invalid_request",
            "TARGETING_KEY_MISSING",
            "The context needs a targetingKey: the visitor code or user id, of at most 255 characters.",
        )
    code = code.replace("\0", "\ufffd")  # as it is stored
    file = await configuration.batcher().call((site.id, environment), timeout=PATIENCE)
    flags = await find_flags(file.evaluated)
    person = await read_person(site.id, code)
    named = (register[3] for name in CODES if (register := person.get(name)) is not None)
    codes = (code, *(text for text in named if isinstance(text, str)))
    rows = await batcher().call(Visitor(site.id, codes), timeout=PATIENCE)
    # Hide private traits from a reader without a token, because the variation would reveal whether one matches.
    reader = Reader(site.public_traits if is_anonymous else None, company_is_group=site.company_is_group)
    filled = [FilledCustomData(*row) for row in rows if row[1]]
    given = read_given(context, flags.indexes)
    custom_data = {**read_custom_data(person, filled, reader), **given}
    known: Memberships = {}
    if flags.names_own or any(each.filled_from == Filling.SEGMENT for each in filled):
        asked = JudgedVisitor(
            site.id,
            site.company_is_group,
            code,
            tuple((index, tuple(values)) for index, values in custom_data.items()),
            flags.open_segments if is_anonymous else None,
        )
        known = {**await judged_segments.batcher().call(asked, timeout=PATIENCE)}
        custom_data = {**fill_from_segments(custom_data, filled, known), **given}
    goals = frozenset(id_ for id_, filled_from, _ in rows if not filled_from)
    return Question(site.sitecode, flags, Facts(code, custom_data, goals), known)


async def _read_body(request: Request) -> bytes:
    try:
        return await request.body(BODY_BYTES)
    except (BodyTooLargeError, UndecodableBodyError) as error:
        raise parse_error("The body is too large or cannot be decoded.") from error


def read_context(body: bytes) -> dict[str, Any]:
    """Return the context of a request. Raises Refusal (400)."""
    try:
        context = msgspec.json.decode(body, type=dict[str, Any]).get("context")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise parse_error(f"The body is not a JSON object: {error}.") from error
    if not isinstance(context, dict):
        raise context_error("The body needs an object `context`.")
    return context


def read_given(context: Mapping[str, Any], indexes: Mapping[str, int]) -> dict[int, list[str]]:
    """Return the values of custom data in a context by index. Raises Refusal (400) for more than a visitor has."""
    try:
        given = {indexes[name]: as_texts(value) for name, value in context.items() if name in indexes}
    except RecursionError as error:
        raise context_error("A field of the context that is custom data is nested too deeply.") from error
    if sum(map(len, given.values())) > MOST_VALUES["custom_data"]:
        raise context_error(f"A context has at most {MOST_VALUES['custom_data']} values of custom data.")
    return given


def context_error(message: str) -> OfrepRefusal:
    return OfrepRefusal(HTTPStatus.BAD_REQUEST, "invalid_request", "INVALID_CONTEXT", message)


def parse_error(message: str) -> OfrepRefusal:
    return OfrepRefusal(HTTPStatus.BAD_REQUEST, "invalid_json", "PARSE_ERROR", message)


async def find_flags(after: bytes) -> SiteFlags:
    """Return the sections of a file from its bytes after the domain, which are read once for each version.

    A thread reads a large file for all requests that wait, because after a change many want it at once.
    """
    flags = known_flags().get(after)
    if flags is None:
        is_light = len(after) <= LIGHT_BYTES
        flags = read_flags(after) if is_light else await reader_of_files().call(after, timeout=PATIENCE)
        if flags.size <= MOST_BYTES:
            known_flags()[after] = flags
    return flags


@once
def known_flags() -> "LRUCache[bytes, SiteFlags]":
    """Return the flags of the files that this process keeps. Only the event loop uses it."""
    return LRUCache(MOST_BYTES, getsizeof=lambda flags: flags.size)


@once
def reader_of_files() -> RequestBatcher[bytes, SiteFlags]:
    """Return this process's thread for large files, started by the first one."""
    return RequestBatcher(_read_files, name="files of flags", max_size=1_000, size=lambda _: 1)


def _read_files(calls: Sequence[PendingCall[bytes, SiteFlags]]) -> None:
    found = {after: read_flags(after) for after in {call.argument for call in calls}}
    for call in calls:
        call.resolve(found[call.argument])


def read_flags(after: bytes) -> SiteFlags:
    """Return the sections of a file from its bytes after the domain. Pure."""
    file = msgspec.json.decode(b'{"configuration":{"dataApiDomain":""' + after)
    groups: dict[str, list[int]] = {}
    for flag in file["featureFlags"]:
        if name := flag.get("mutuallyExclusiveGroup"):
            groups.setdefault(name, []).append(flag["id"])
    own = frozenset(file.get("ownSegments", ()))
    segments = {segment["id"]: segment for segment in file["segments"]}
    named = {rule.get("segmentId") for flag in file["featureFlags"] for rule in flag["rules"]}
    return SiteFlags(
        {flag["featureKey"]: flag for flag in file["featureFlags"]},
        groups,
        segments,
        {entry["name"]: entry["index"] for entry in file["customData"]},
        len(after),
        file["configuration"]["realTimeUpdate"],
        not own.isdisjoint(named.union(*map(segments_named, segments.values()))),
        frozenset(file.get("openSegments", ())),
    )


def fill_from_segments(
    custom_data: Mapping[int, Sequence[str]], filled: Sequence[FilledCustomData], known: Memberships
) -> dict[int, Sequence[str]]:
    """Return custom data with the memberships that fill some of it. Pure."""
    said = {
        each.index: [spell(is_member=bool(known.get(int(each.filling))))]
        for each in filled
        if each.filled_from == Filling.SEGMENT
    }
    return {**custom_data, **said}


def _evaluate(key: str, question: Question) -> dict[str, Any]:
    flags = question.flags
    flag = flags.flags[key]
    group = flags.groups.get(flag.get("mutuallyExclusiveGroup", ""), ())
    return describe(key, evaluate(flag, flags.segments, question.facts, group=group, known=question.known))


def describe(key: str, found: Evaluation) -> dict[str, Any]:
    """Return an evaluation as OFREP has it. Pure."""
    ids_ = {"ruleId": found.rule_id, "experimentId": found.experiment_id, "variationId": found.variation_id}
    return {
        "key": key,
        "value": found.value,
        "reason": found.reason,
        "variant": found.variation["key"],
        "metadata": {name: id_ for name, id_ in ids_.items() if id_ is not None},
    }


def _fetch(calls: Sequence[PendingCall[Visitor, Sequence[Row]]]) -> None:
    """Read for all these requests, in one statement for each site. If that fails, read for each alone."""
    calls = [call for call in calls if not call.is_abandoned]
    try:
        found = _read_visitors({call.argument for call in calls})
    except Exception as error:
        if isinstance(error, DatabaseDownError) and not isinstance(error.__cause__, QueryCanceled):
            raise
        if len(calls) == 1:
            calls[0].reject(error)
            return
        for call in calls:
            _fetch([call])
    else:
        for call in calls:
            call.resolve(found[call.argument])


def _read_visitors(visitors: Iterable[Visitor]) -> dict[Visitor, list[Row]]:
    by_site: dict[int, list[Visitor]] = {}
    for visitor in visitors:
        by_site.setdefault(visitor.site_id, []).append(visitor)
    found: dict[Visitor, list[Row]] = {}
    for site_id, of_site in by_site.items():
        asked = [(place, code) for place, visitor in enumerate(of_site, 1) for code in visitor.codes]
        places, codes = zip(*asked, strict=True)
        rows: dict[int, list[Row]] = {}
        for place, id_, filled_from, filling in fetch_all(
            READ, {"site": site_id, "places": list(places), "codes": list(codes)}
        ):
            rows.setdefault(place, []).append((id_, filled_from, filling))
        found |= {visitor: rows.get(0, []) + rows.get(place, []) for place, visitor in enumerate(of_site, 1)}
    return found


@once
def batcher() -> RequestBatcher[Visitor, Sequence[Row]]:
    """Return this process's thread for conversions of visitors, started by the first request."""
    return RequestBatcher(_fetch, name="evaluations", max_size=50, size=lambda _: 1)
