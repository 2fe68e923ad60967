"""Server-sent events on the event loop: connections that wait until something of their site changes.

A process reads the versions of the sites with streams, once a turn for all streams of a site, and nothing while there
are none. A stream costs some 30 kB, most of it in the web server, and no thread. PostgreSQL's LISTEN would need a
session of its own, which a pooler may not give.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import chain
from typing import Final, Generic, TypeVar

import structlog

from api.http.bodies import Receive
from api.http.database import DatabaseDownError
from api.http.endpoint import Send
from api.http.threads import look_up

Version = TypeVar("Version")
Read = Callable[[list[int]], Mapping[int, Version]]  # from the ids of sites to their versions

SILENCE_SECONDS: Final = 15.0  # proxies end connections on which nothing is sent

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Stream(Generic[Version]):
    """One connection. `wake` is set when there is an event to send, when the client has left, or at the end."""

    site_id: int
    shares: Collection[Hashable]  # its address, or its person and site, whose streams are counted
    version: Version
    wake: "asyncio.Future[None]"
    again_at: float = math.inf  # of the loop's clock
    is_gone: bool = False

    def rouse(self) -> None:
        if not self.wake.done():
            self.wake.set_result(None)

    async def wait(self, seconds: float) -> bool:
        """Return True when there is something to send or the client has left, False after `seconds`."""
        await asyncio.wait((self.wake,), timeout=seconds)
        is_roused = self.wake.done()
        if is_roused:
            self.wake = asyncio.get_running_loop().create_future()
        return is_roused

    async def await_leave(self, receive: Receive) -> None:
        """Return when the client has left, and rouse the stream."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()

    def end(self) -> None:
        self.is_gone = True
        self.rouse()


@dataclass(frozen=True, slots=True)
class Protocol(Generic[Version]):
    """The events of a kind of streams, and the condition under which a stream goes on."""

    event_of: Callable[[Version], bytes]
    quiet: bytes  # sent after `silence` seconds without an event
    silence: float
    may_go_on: Callable[[Stream[Version]], Awaitable[bool]]  # asked after each piece


@dataclass(slots=True)
class Streams(Generic[Version]):
    """The streams of one kind in this process by site, and the task that reads versions while there are any."""

    read: Read[Version]
    turn_seconds: float
    # Between two streams that are roused, if their clients then ask for something that costs more than the event.
    gap_seconds: float = 0.0
    # After a change, streams are roused once more so much later, because commits may overtake one another.
    again_after: float = math.inf
    by_site: dict[int, set[Stream[Version]]] = field(default_factory=dict)
    by_share: Counter[Hashable] = field(default_factory=Counter)
    count: int = 0
    turns: int = 0  # reads of versions that have begun
    is_ended: bool = False
    task: "asyncio.Task[None] | None" = None

    def is_full(self, most: int, *most_of: tuple[Hashable, int]) -> bool:
        """Return True if no stream may be opened: of this process, or with one of these shares.

        Otherwise open it before the next `await`, so that there are never more.
        """
        return self.count >= most or any(self.by_share[share] >= limit for share, limit in most_of)

    def open(self, site_id: int, shares: Collection[Hashable], version: Version) -> Stream[Version]:
        """Return a new stream, which `run` must close. After `end` it is gone already, because a stop waits for it."""
        stream = Stream(site_id, shares, version, asyncio.get_running_loop().create_future(), is_gone=self.is_ended)
        self.by_share.update(shares)
        self.by_site.setdefault(site_id, set()).add(stream)
        self.count += 1
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self._poll())
        return stream

    def close(self, stream: Stream[Version]) -> None:
        of_site = self.by_site[stream.site_id]
        of_site.discard(stream)
        for share in stream.shares:
            self.by_share[share] -= 1
            if not self.by_share[share]:
                del self.by_share[share]
        self.count -= 1
        if not of_site:
            del self.by_site[stream.site_id]

    def end(self) -> None:
        """End all streams, and those that open later."""
        self.is_ended = True
        for stream in list(chain.from_iterable(self.by_site.values())):
            stream.end()

    async def run(
        self,
        stream: Stream[Version],
        protocol: Protocol[Version],
        headers: Iterable[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
    ) -> None:
        """Send events until the client leaves or the protocol says that it is over. Then close the stream.

        The first event goes out at once, because a change may have been missed. Without a length among the headers the
        server sends each piece as a chunk, which Kameleoon's SDK for Python needs.
        """
        leaving = asyncio.get_running_loop().create_task(stream.await_leave(receive))
        piece = protocol.event_of(stream.version)
        try:
            await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": headers})
            while not stream.is_gone:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if not await protocol.may_go_on(stream):
                    break
                is_roused = await stream.wait(protocol.silence)
                piece = protocol.event_of(stream.version) if is_roused else protocol.quiet
            await send({"type": "http.response.body", "body": b""})
        except OSError:  # the client has left, which some servers say so
            pass
        finally:
            self.close(stream)
            leaving.cancel()

    async def _poll(self) -> None:
        """Rouse the streams of each site whose version has changed, until there are no streams."""
        while self.by_site:
            await asyncio.sleep(self.turn_seconds)
            self.turns += 1
            try:
                versions = await look_up(self.read, list(self.by_site))
            except DatabaseDownError:  # the next turn may reach it
                continue
            except Exception:  # without this task no stream would get another event
                log.exception("streams.failed")
                continue
            for site_id, version in versions.items():
                for stream in list(self.by_site.get(site_id, ())):
                    if self._is_due(stream, version):
                        stream.rouse()
                        if self.gap_seconds:
                            await asyncio.sleep(self.gap_seconds)

    def _is_due(self, stream: Stream[Version], version: Version) -> bool:
        """Note the version of a stream's site, and return True if its client must hear of it."""
        now = asyncio.get_running_loop().time()
        if stream.version != version:
            stream.version, stream.again_at = version, now + self.again_after
            return True
        if now < stream.again_at:
            return False
        stream.again_at = math.inf
        return True
