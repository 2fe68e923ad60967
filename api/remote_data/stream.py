"""`GET /sse?siteCode=`: a stream that tells SDKs that the configuration of a site has changed.

With `&protocol=ofrep` it tells providers of OFREP to evaluate all flags again. Versions are read twice a second
(api.http.event_streams).
"""

from datetime import datetime
from http import HTTPStatus
from typing import Final

import msgspec

from api.events.refusal import Refusal
from api.http.bodies import Receive
from api.http.database import fetch_all, once
from api.http.endpoint import Request, Response, Send, encode_headers
from api.http.event_streams import SILENCE_SECONDS, Protocol, Stream, Streams
from api.http.threads import look_up
from api.remote_data.configuration import BEGINNING, SITES

PATH: Final = "/sse"
POLL_SECONDS: Final = 0.5
COMMENT_SECONDS: Final = SILENCE_SECONDS
MOST_STREAMS: Final = 10_000  # of a process, which takes 16,384 connections
MOST_OF_ADDRESS: Final = 1_000  # streams, so that one client does not take those of all others
COMMENT: Final = b": \n\n"
HEADERS: Final = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))  # nginx passes each event on at once
OFREP: Final = "ofrep"
REFETCH: Final = b'data: {"type":"refetchEvaluation"}\n\n'
READ_VERSION: Final = "SELECT changed_at, has_real_time FROM api_sdkconfiguration WHERE site_id = %(site)s"


class Version(msgspec.Struct, frozen=True):
    """The version of a site's configuration, and True if the site has real-time updates."""

    changed_at: datetime
    has_real_time: bool


class StreamResponse(Response, frozen=True, kw_only=True):
    """The beginning of a stream that was opened."""

    stream: Stream[Version]
    sitecode: str
    protocol: str = ""  # OFREP, otherwise that of Kameleoon's SDKs


@once
def streams() -> Streams[Version]:
    """Return the streams of this process."""
    return Streams(read_versions, POLL_SECONDS)


def read_versions(site_ids: list[int]) -> dict[int, Version]:
    """Return the versions of these sites. One small statement a site."""
    return {site_id: read_version(site_id) for site_id in site_ids}


def read_version(site_id: int) -> Version:
    rows = fetch_all(READ_VERSION, {"site": site_id})
    return Version(*rows[0]) if rows else Version(BEGINNING, has_real_time=False)


async def open_stream(request: Request) -> StreamResponse:
    """Open a stream, which `run` must close. Raises Refusal (404, 503)."""
    query = request.query()
    site = await SITES.find(query.get("siteCode", ""))
    version = await look_up(read_version, site.id)
    if not version.has_real_time:
        raise Refusal(
            HTTPStatus.NOT_FOUND, "not_found", "Real-time updates of this site are off. An owner can switch them on."
        )
    if streams().is_full(MOST_STREAMS, (request.address, MOST_OF_ADDRESS)):
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "unavailable",
            "Too many streams are open, here or from your address. Ask for the configuration every hour instead.",
            (("Retry-After", "60"),),
        )
    stream = streams().open(site.id, (request.address,), version)
    return StreamResponse(
        HTTPStatus.OK,
        b"",
        HEADERS,
        "text/event-stream",
        stream=stream,
        sitecode=site.sitecode,
        protocol=query.get("protocol", ""),
    )


async def run(opened: StreamResponse, head: Response, receive: Receive, send: Send) -> None:
    """Send events until the client leaves or the site switches real-time updates off. Then close the stream.

    A client that has the present file gets 304 after the first event, which goes out at once.
    """

    async def may_go_on(stream: Stream[Version]) -> bool:
        return stream.version.has_real_time

    protocol = Protocol(lambda version: event_of(opened, version), COMMENT, COMMENT_SECONDS, may_go_on)
    headers = encode_headers(head.content_type, head.headers)
    await streams().run(opened.stream, protocol, headers, receive, send)


def place_of(sitecode: str) -> str:
    """Return the path and query of the stream of a site for providers of OFREP."""
    return f"{PATH}?siteCode={sitecode}&protocol={OFREP}"


def event_of(answer: StreamResponse, version: Version) -> bytes:
    """Return an event as SDKs read it: JavaScript's needs the sitecode, Python's the time."""
    if answer.protocol == OFREP:
        return REFETCH
    found = {"siteCode": answer.sitecode, "ts": int(version.changed_at.timestamp() * 1000)}
    return b"event: configuration-update-event\ndata: " + msgspec.json.encode(found) + b"\n\n"
