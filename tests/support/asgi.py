"""Requests to the application in this process, from synchronous tests, also such as no HTTP client sends."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, TypeVar

import httpx

from api.asgi import application
from api.http.batching import PendingCall
from api.http.bodies import BodyMemory

Result = TypeVar("Result")
Message = MutableMapping[str, Any]  # of ASGI
Headers = Iterable[tuple[bytes, bytes]]
GONE: Final[Message] = {"type": "http.disconnect"}


@cache
def event_loop() -> asyncio.AbstractEventLoop:
    """Return the loop on which the application runs, in a thread of its own. It lives as long as the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="application", daemon=True).start()
    return loop


def wait_for(work: Coroutine[Any, Any, Result], *, timeout: float = 60) -> Result:
    """Return the result of a coroutine of the loop. Raises its error."""
    return asyncio.run_coroutine_threadsafe(work, event_loop()).result(timeout)


class Transport(httpx.BaseTransport):
    """Sends the requests of a client to the application."""

    def __init__(self) -> None:
        self._transport = httpx.ASGITransport(application)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the whole response."""
        return wait_for(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        request.stream = httpx.ByteStream(request.read())
        response = await self._transport.handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())


class Exchange:
    """A request and its response: the test gives pieces of the body, and takes the messages of the response.

    The application goes on with its response only when the test has taken a message, as beside a client that reads
    slowly. Header names are in lower case.
    """

    def __init__(self, method: str, path: str, *, query: bytes = b"", headers: Headers = ()) -> None:
        self._scope: Message = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(errors="surrogatepass"),
            "query_string": query,
            "headers": list(headers),
            "scheme": "http",
            "http_version": "1.1",
            "server": ("testserver", 80),
            "client": ("127.0.0.1", 1),
            "root_path": "",
        }
        self._is_gone = False
        self._received: asyncio.Queue[Message] = asyncio.Queue()
        self._sent: asyncio.Queue[Message] = asyncio.Queue()
        self._task = wait_for(self._begin())

    def give(self, piece: bytes, *, more: bool = False) -> None:
        """Send a piece of the body."""
        event_loop().call_soon_threadsafe(
            self._received.put_nowait, {"type": "http.request", "body": piece, "more_body": more}
        )

    def end_too_soon(self) -> None:
        """Close the connection in the middle of the body. The test takes the response nevertheless."""
        event_loop().call_soon_threadsafe(self._received.put_nowait, GONE)

    def leave(self) -> None:
        """Close the connection."""
        event_loop().call_soon_threadsafe(self._close)

    def take(self) -> Message | None:
        """Return the next message of the response, or None after its end. Raises an error of the application."""
        return wait_for(self._take())

    def read(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the whole response."""
        head = self.take()
        assert head is not None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head["headers"]}
        return int(head["status"]), headers, self.read_rest()

    def read_rest(self) -> bytes:
        """Return what is left of the body of the response."""
        pieces = []
        while message := self.take():
            pieces.append(message.get("body", b""))
        return b"".join(pieces)

    def finish(self) -> None:
        """Take all that is left, also if the client is gone, until the application has finished with the request."""
        while self.take():
            pass

    def is_sending(self) -> bool:
        """Return True while the application waits until the test takes a message."""
        return not self._sent.empty()

    def is_over(self) -> bool:
        """Return True if the application has finished with the request."""
        return self._task.done()

    async def _begin(self) -> "asyncio.Task[None]":
        return asyncio.create_task(application(self._scope, self._receive, self._send))

    async def _receive(self) -> Message:
        return GONE if self._is_gone and self._received.empty() else await self._received.get()

    async def _send(self, message: Message) -> None:
        if not self._is_gone:
            self._sent.put_nowait(message)
            await self._sent.join()

    async def _take(self) -> Message | None:
        taken = asyncio.ensure_future(self._sent.get())
        await asyncio.wait({taken, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if not taken.done() and self._sent.empty():
            taken.cancel()
            await self._task  # raises its error
            return None
        message = await taken
        self._sent.task_done()
        return message

    def _close(self) -> None:
        self._is_gone = True
        self._received.put_nowait(GONE)
        while not self._sent.empty():
            self._sent.get_nowait()
            self._sent.task_done()


def exchange(
    method: str, path: str, *, body: bytes = b"{}", query: bytes = b"", headers: Headers = (), is_cut: bool = False
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the response to a request with any bytes.

    `headers` are pairs of bytes. The body comes in two pieces. The connection ends after a body that is cut.
    """
    headers = list(headers)
    if not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", b"%d" % len(body)))
    begun = Exchange(method, path, query=query, headers=headers)
    middle = len(body) // 2  # a body in several pieces, as of a slow sender
    begun.give(body[:middle], more=True)
    begun.give(body[middle:], more=is_cut)
    if is_cut:
        begun.end_too_soon()
    return begun.read()


def ask(
    method: str, path: str, *, body: bytes = b"{}", query: bytes = b"", headers: Headers = (), is_cut: bool = False
) -> int:
    """Return the status for a request as `exchange` sends it."""
    return exchange(method, path, body=body, query=query, headers=headers, is_cut=is_cut)[0]


def pending(argument: Any) -> PendingCall[Any, Any]:
    """Return a call of a request that waits for a minute, to be served by the test itself."""
    return PendingCall(argument, event_loop().create_future(), timeout=60, size=1)


@contextmanager
def full(memory: BodyMemory) -> Iterator[None]:
    """Have bodies of other requests take all room of a kind of senders."""
    room = memory._left
    memory.take(room)
    try:
        yield
    finally:
        memory.give_back(room)
