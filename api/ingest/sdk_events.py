"""`/visit/events`: lines of Kameleoon's SDKs, of many visitors in one request.

SDKs repeat a refused request for as long as they live, and drop one that is answered 403. So a bad line never refuses
the others, and trouble of the server is 429 or 503 before the commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Final

from api.events.envelope import IncomingEvent
from api.events.refusal import Refusal
from api.events.sdk_lines import BadLine, SdkLine, list_lines, split_line
from api.http.access import AccessCheck
from api.http.bodies import STRANGERS, BodyTooLargeError, UndecodableBodyError
from api.http.credentials import SOURCE_COLUMNS_OF_SITE, SourceAccess, find_site, read_source
from api.http.database import fetch_all
from api.http.endpoint import Request, Response
from api.http.threads import LIGHT_BYTES, LIGHT_ROWS, compute_for, take_turns
from api.ingest import accept
from api.ingest.known_facts import drop_known, holder_of, remember
from api.ingest.parsed_event import ParsedEvent, store_events
from api.ingest.visit_activity import activity_buffer

BODY_BYTES: Final = 3 * 1_048_576
NOTHING: Final = Response(HTTPStatus.NO_CONTENT)
SOURCE_NAME: Final = "Kameleoon SDKs"
FIND_SOURCE: Final = f"""
    SELECT d.site_id, {SOURCE_COLUMNS_OF_SITE} FROM api_source d WHERE d.site_id = %(site)s AND d.kind = 'sdk'
"""
MAKE_SOURCE: Final = """
    INSERT INTO api_source (site_id, name, kind, is_enabled, takes_track, created_at)
    SELECT %(site)s, %(name)s, 'sdk', true, true, now() FROM api_site WHERE id = %(site)s
    ON CONFLICT DO NOTHING RETURNING id
"""


@dataclass(frozen=True, slots=True)
class SdkQuery:
    """The parameters of a request that are read."""

    sitecode: str
    visitor_code: str  # of all lines, if it is given
    is_json: bool


async def receive_lines(request: Request) -> Response:
    """Accept the lines of a request. Answer 204 only after the commit, also if some or all lines are bad.

    Bad lines are kept as rejected messages with the number of the line and the reason. An access token is ignored:
    browsers have none, and the PHP SDK sends an old one hours later. Raises Refusal: 400 invalid_request, unreadable
    bodies, 404 unknown_site, 413 too_large, 429 overloaded, over_budget.
    """
    received_at = datetime.now(UTC)
    query = read_query(request)
    source = await SOURCES.find(query.sitecode)
    accept.require_capacity(source.site_id, source)
    body = await read_body(request, source, received_at=received_at)
    lines = await read_all(body, query, source)
    good = [line for line in lines if isinstance(line, SdkLine)]
    new = await drop_known(source.site_id, good, now=received_at) if source.is_enabled else good
    bad = [line for line in lines if isinstance(line, BadLine)]
    make = partial(make_events, source, new, bad, received_at=received_at)
    events = await compute_for(("source", source.id), make) if len(lines) > LIGHT_ROWS else make()
    try:
        if events:
            await store_events(events)
    except Refusal as refusal:
        if refusal.status != HTTPStatus.BAD_REQUEST:
            raise  # otherwise a line that cannot be stored would come again for ever
    if source.is_enabled:
        await note_activity(source.site_id, good, new, now=received_at)
    return NOTHING


async def note_activity(site_id: int, lines: Sequence[SdkLine], new: Sequence[SdkLine], *, now: datetime) -> None:
    """Note that the visitors of these lines are there, and the facts that were stored."""
    async for part in take_turns(new):
        remember(site_id, part, now=now)
    async for part in take_turns(lines):
        for holder in {holder_of(line) for line in part}:
            activity_buffer().touch(site_id, holder, now)


def read_query(request: Request) -> SdkQuery:
    """Return the parameters, in which a plus is a plus. Raises Refusal (400) if the sitecode is missing."""
    parameters, _ = split_line(request.query_string)
    if not parameters.get("siteCode"):
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "invalid_request", "The parameter siteCode is missing. Send the site's sitecode."
        )
    is_json = parameters.get("json", "").lower() == "true"
    return SdkQuery(parameters["siteCode"], parameters.get("visitorCode", ""), is_json)


def find_sdk_source(sitecode: str) -> SourceAccess:
    """Return the source of a site's SDKs, made with the first request. Raises Refusal (404). At most four queries."""
    site = find_site(sitecode)
    rows = fetch_all(FIND_SOURCE, {"site": site.id}) if site is not None else []
    if site is not None and not rows:
        fetch_all(MAKE_SOURCE, {"site": site.id, "name": SOURCE_NAME})
        rows = fetch_all(FIND_SOURCE, {"site": site.id})
    source = read_source(*rows[0]) if rows else None
    if source is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_site", "No site has the sitecode in the parameter siteCode.")
    return source


SOURCES: Final = AccessCheck(find_sdk_source)


async def read_body(request: Request, source: SourceAccess, *, received_at: datetime) -> bytes:
    """Return the body. Raises Refusal (400, 413) and keeps what was read."""
    try:
        body = await request.body(BODY_BYTES, STRANGERS)
    except BodyTooLargeError as error:
        accept.count_bytes([source], BODY_BYTES)
        refusal = accept.too_large(f"The body is larger than {BODY_BYTES:,} bytes.")
        body, content_encoding = error.start, error.content_encoding
    except UndecodableBodyError as error:
        accept.count_bytes([source], len(error.body))
        refusal, body, content_encoding = error.refusal, error.body, error.content_encoding
    else:
        accept.count_bytes([source], accept.measure_body(request, body))
        return body
    event = accept.make_refused(body, refusal, position=0, received_at=received_at, content_encoding=content_encoding)
    await accept.store(source.site_id, source, [event], {0: refusal})
    raise refusal


async def read_all(body: bytes, query: SdkQuery, source: SourceAccess) -> list[SdkLine | BadLine]:
    """Return the lines of a body, which a thread reads if it is large."""
    read = partial(list_lines, body, visitor_code=query.visitor_code, is_json=query.is_json)
    is_heavy = len(body) > LIGHT_BYTES or body.count(b"\n") > LIGHT_ROWS
    return await compute_for(("source", source.id), read) if is_heavy else read()


def make_events(
    source: SourceAccess, lines: Sequence[SdkLine], bad: Sequence[BadLine], *, received_at: datetime
) -> list[ParsedEvent]:
    """Return lines as events of the inbox. Signs of activity are none. Pure."""
    events = [
        ParsedEvent(source, make_event(line, key=source.redaction_key, received_at=received_at))
        for line in lines
        if line.fact.type
    ]
    events += [refuse_line(source, line, received_at=received_at) for line in bad]
    return sorted(events, key=lambda item: item.event.position)


def make_event(line: SdkLine, *, key: bytes, received_at: datetime) -> IncomingEvent:
    """Return a line as an event of the inbox. No line says when it happened."""
    message_id = line.message_id(key=key)
    body = line.body(message_id=message_id)
    return IncomingEvent(line.fact.type, message_id, line.number - 1, received_at, received_at, body)


def refuse_line(source: SourceAccess, line: BadLine, *, received_at: datetime) -> ParsedEvent:
    """Return a bad line as a rejected event."""
    refusal = Refusal(HTTPStatus.BAD_REQUEST, "invalid_line", line.reason)
    event = accept.make_refused(
        line.body(), refusal, position=line.number - 1, received_at=received_at, type_=line.type
    )
    return ParsedEvent(source, event, refusal)
