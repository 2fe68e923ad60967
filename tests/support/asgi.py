"""Requests to the application in this process, from synchronous tests, also such as no HTTP client sends."""

import asyncio
import threading
from collections.abc import Coroutine, MutableMapping
from functools import cache
from typing import Any, TypeVar

import httpx

from api.asgi import application

Result = TypeVar("Result")


@cache
def event_loop() -> asyncio.AbstractEventLoop:
    """Return the loop on which the application runs, in a thread of its own. It lives as long as the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="application", daemon=True).start()
    return loop


def wait_for(work: Coroutine[Any, Any, Result], *, timeout: float = 120) -> Result:
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


def ask(method: str, path: str, *, body: bytes = b"{}", query: bytes = b"", headers: Any = ()) -> int:
    """Return the status for a request with any bytes: `headers` are pairs of bytes."""
    scope: MutableMapping[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(b"content-length", b"%d" % len(body)), *headers],
        "scheme": "http",
        "server": ("testserver", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    sent: list[MutableMapping[str, Any]] = []
    messages = [{"type": "http.request", "body": body}]

    async def receive() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await asyncio.Event().wait()  # type: ignore[return-value]

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    wait_for(application(scope, receive, send))
    return int(sent[0]["status"])
