"""`GET /sse?siteCode=`: a stream that tells SDKs that the configuration of a site has changed.

With `&protocol=ofrep` it tells providers of OFREP to evaluate all flags again.

A process reads the versions of the sites with streams twice a second, whatever the number of streams. A stream costs
some 30 kB, most of it in the web server, and no thread. PostgreSQL's LISTEN would need a session of its own, which a
pooler may not give.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Final

import msgspec
import structlog

from api.events.refusal import Refusal
from api.http.bodies import Receive
from api.http.credentials import SiteAccess
from api.http.database import DatabaseDownError, fetch_all, once
from api.http.endpoint import Request, Response, Send, encode_headers
from api.http.threads import look_up
from api.remote_data.configuration import BEGINNING, SITES

PATH: Final = "/sse"
POLL_SECONDS: Final = 0.5
COMMENT_SECONDS: Final = 15.0  # proxies end connections on which nothing is sent
MOST_STREAMS: Final = 10_000  # of a process, which takes 16,384 connections
MOST_OF_ADDRESS: Final = 1_000  # streams, so that one client does not take those of all others
COMMENT: Final = b": \n\n"
HEADERS: Final = (("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))  # nginx passes each event on at once
OFREP: Final = "ofrep"
REFETCH: Final = b'data: {"type":"refetchEvaluation"}\n\n'
READ_VERSION: Final = "SELECT changed_at, has_real_time FROM api_sdkconfiguration WHERE site_id = %(site)s"

log = structlog.get_logger(__name__)


class Version(msgspec.Struct, frozen=True):
    """The version of a site's configuration, and True if the site has real-time updates."""

    changed_at: datetime
    has_real_time: bool


@dataclass(eq=False, slots=True)
class Stream:
    """One connection. `wake` is set when there is an event to send, when the client has left, or at the end."""

    site: SiteAccess
    address: str  # of the client
    wake: "asyncio.Future[None]"
    version: Version
    protocol: str = ""  # OFREP, otherwise that of Kameleoon's SDKs
    is_gone: bool = False

    def rouse(self) -> None:
        if not self.wake.done():
            self.wake.set_result(None)


class StreamResponse(Response, frozen=True, kw_only=True):
    """The beginning of a stream that was opened."""

    stream: Stream


@dataclass(slots=True)
class Streams:
    """The streams of this process by site, and the task that reads versions while there are any."""

    by_site: dict[int, set[Stream]] = field(default_factory=dict)
    by_address: Counter[str] = field(default_factory=Counter)
    count: int = 0
    turns: int = 0  # reads of versions that have begun
    task: "asyncio.Task[None] | None" = None

    def is_full(self, address: str) -> bool:
        """Return True if a client at this address may not open another stream."""
        return self.count >= MOST_STREAMS or self.by_address[address] >= MOST_OF_ADDRESS

    def add(self, stream: Stream) -> None:
        self.by_address[stream.address] += 1
        self.by_site.setdefault(stream.site.id, set()).add(stream)
        self.count += 1
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self._poll())

    def remove(self, stream: Stream) -> None:
        of_site = self.by_site[stream.site.id]
        of_site.discard(stream)
        self.by_address[stream.address] -= 1
        if not self.by_address[stream.address]:
            del self.by_address[stream.address]
        self.count -= 1
        if not of_site:
            del self.by_site[stream.site.id]

    async def _poll(self) -> None:
        """Rouse the streams of each site whose version has changed, until there are no streams."""
        while self.by_site:
            await asyncio.sleep(POLL_SECONDS)
            self.turns += 1
            try:
                versions = await look_up(read_versions, list(self.by_site))
            except DatabaseDownError:  # the next turn may reach it
                continue
            except Exception:  # without this task no stream would get another event
                log.exception("streams.failed")
                continue
            for site_id, version in versions.items():
                for stream in self.by_site.get(site_id, ()):
                    if stream.version != version:
                        stream.version = version
                        stream.rouse()


@once
def streams() -> Streams:
    """Return the streams of this process."""
    return Streams()


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
    if streams().is_full(request.address):
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "unavailable",
            "Too many streams are open, here or from your address. Ask for the configuration every hour instead.",
            (("Retry-After", "60"),),
        )
    # Opened in the turn of the check, so that there are never more.
    wake = asyncio.get_running_loop().create_future()
    stream = Stream(site, request.address, wake, version, query.get("protocol", ""))
    streams().add(stream)
    return StreamResponse(HTTPStatus.OK, b"", HEADERS, "text/event-stream", stream=stream)


async def run(stream: Stream, answer: Response, receive: Receive, send: Send) -> None:
    """Send events until the client leaves or the site switches real-time updates off. Then close the stream.

    The first event goes out at once, because a change since the client's last file may have been missed. A client
    that has the present file gets 304 for it. Without a length the server sends each piece as a chunk, which Python's
    SDK needs.
    """
    leaving = asyncio.get_running_loop().create_task(_await_leave(stream, receive))
    try:
        headers = encode_headers(answer.content_type, answer.headers)
        await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
        while not stream.is_gone:
            version = stream.version
            await send({"type": "http.response.body", "body": event_of(stream, version), "more_body": True})
            if not version.has_real_time:
                break
            while stream.version == version and not stream.is_gone:
                await asyncio.wait((stream.wake,), timeout=COMMENT_SECONDS)
                if stream.wake.done():
                    stream.wake = asyncio.get_running_loop().create_future()
                else:
                    await send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except OSError:  # the client has left, which some servers say so
        pass
    finally:
        streams().remove(stream)
        leaving.cancel()


async def _await_leave(stream: Stream, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.is_gone = True
    stream.rouse()


def place_of(sitecode: str) -> str:
    """Return the path and query of the stream of a site for providers of OFREP."""
    return f"{PATH}?siteCode={sitecode}&protocol={OFREP}"


def event_of(stream: Stream, version: Version) -> bytes:
    """Return an event as SDKs read it: JavaScript's needs the sitecode, Python's the time."""
    if stream.protocol == OFREP:
        return REFETCH
    found = {"siteCode": stream.site.sitecode, "ts": int(version.changed_at.timestamp() * 1000)}
    return b"event: configuration-update-event\ndata: " + msgspec.json.encode(found) + b"\n\n"
