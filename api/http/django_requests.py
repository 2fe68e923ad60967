"""Requests that Django answers: pages, the management API, exports and sign-ins.

Their views are synchronous, so they run in threads of their own, two at a time. A few more requests wait on the event
loop; all others get 503 at once. Events, remote data and health never pass this module.

Django's ASGI handler would start a thread for every request, and so open a connection to PostgreSQL for each.
"""

import asyncio
import io
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
from django.conf import settings
from django.core import signals
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.db import close_old_connections
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from api.events.refusal import Refusal
from api.http.bodies import STRANGERS, BodyReader, Receive
from api.http.concurrency import ConcurrencyLimit, LimitReachedError
from api.http.endpoint import Request, Response, Scope, Send, error_response, internal_error, respond
from api.http.error_pages import PAGE_HEADERS, is_page, render_refusal

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Room:
    """Threads for one kind of requests, and the limit of those that run and wait."""

    limit: ConcurrencyLimit
    threads: Executor


# Under a flood of pages, the p50 of events tripled with three pages at a time, and doubled with two
# (tests.bench.storms). A page takes about 50 ms, so the last of 12 waits half a second.
PAGES: Final = Room(ConcurrencyLimit(running=2, waiting=12, patience=5.0), ThreadPoolExecutor(2, "pages"))
# A password takes most of a second of one core. One at a time, and never in the place of a page, so that guessing
# passwords does not delay people who are signed in.
SIGN_INS: Final = Room(ConcurrencyLimit(running=1, waiting=3, patience=5.0), ThreadPoolExecutor(1, "sign-ins"))
EXPORT_LIMIT: Final = ConcurrencyLimit(running=2)

BODY_BYTES: Final = settings.DATA_UPLOAD_MAX_MEMORY_SIZE  # of a form; no page accepts files
SIGN_IN_PATHS: Final = (settings.LOGIN_URL, "/admin/join/", "/admin/password_reset/")
SIGN_IN_BYTES: Final = 16 * 1024
# Of headers and query; browsers send 16 kB at most. Django takes 2 s for a Content-Type of 400 kB, 0.05 s for this.
HEAD_BYTES: Final = 64 * 1024
RETRY_AFTER: Final = (("Retry-After", "2"),)
INCOMPLETE: Final = (
    b"\r\nThis file is not complete: the database could not be reached, or Goalpost failed. Export it again.\r\n"
)


class Handler(BaseHandler):
    """Django's middleware and views, called from a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware()

    def answer(self, scope: Scope, body: bytes) -> HttpResponseBase:
        """Return the response to a request: whole and closed, or streaming and not begun."""
        set_script_prefix("/")
        signals.request_started.send(sender=self.__class__, scope=scope)
        request = ASGIRequest(scope, io.BytesIO(body))
        response: HttpResponseBase = self.get_response(request)
        response._handler_class = self.__class__  # type: ignore[attr-defined]  # noqa: SLF001 - the sender of a signal
        if response.streaming:
            close_old_connections()  # another thread makes the pieces, with its own connection
        else:
            response.close()
        return response


class LoopResponse(HttpResponse):
    """A response of a view that the event loop goes on with, when the view has left its thread."""

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole response. Raises Refusal before it has begun."""
        raise NotImplementedError


HANDLER: Final = Handler()


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Let Django answer a request when there is a place for it; otherwise refuse it."""
    try:
        check_head(scope)
        room = SIGN_INS if is_sign_in(scope) else PAGES
        reader = BodyReader(receive)
        most = SIGN_IN_BYTES if room is SIGN_INS else BODY_BYTES
        body = await read_form(reader, most=most, address=Request(scope, receive).address)
        response = await ask(scope, body, room)
        if isinstance(response, LoopResponse):
            await response.run(scope, receive, send)
        elif isinstance(response, StreamingHttpResponse):
            thread = ThreadPoolExecutor(1, "export")
            try:
                async with EXPORT_LIMIT.place():
                    await send_export(response, receive, send, thread=thread)
            finally:
                await asyncio.get_running_loop().run_in_executor(thread, response.close)
                thread.shutdown(wait=False)
        else:
            await send_head(response, send)
            await send({"type": "http.response.body", "body": response.content})  # type: ignore[attr-defined]
    except LimitReachedError:
        await respond(make_error_response(scope, too_busy()), send)
    except Refusal as refusal:
        await respond(make_error_response(scope, refusal), send)
    except Exception:
        log.exception("page.failed", path=scope["path"])
        await respond(make_error_response(scope, internal_error()), send)


async def ask(scope: Scope, body: bytes = b"", room: Room = PAGES) -> HttpResponseBase:
    """Return Django's response to a request. Raises LimitReachedError."""
    async with room.limit.place():
        return await asyncio.get_running_loop().run_in_executor(
            room.threads, HANDLER.answer, make_readable(scope), body
        )


async def send_head(response: HttpResponseBase, send: Send) -> None:
    """Send status and headers of a response of Django."""
    await send({"type": "http.response.start", "status": response.status_code, "headers": list_headers(response)})


def list_headers(response: HttpResponseBase) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response of Django as ASGI sends them."""
    headers = [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    return headers + [
        (b"set-cookie", cookie.output(header="").strip().encode("ascii")) for cookie in response.cookies.values()
    ]


async def send_export(
    response: StreamingHttpResponse, receive: Receive, send: Send, *, thread: ThreadPoolExecutor
) -> None:
    """Send a streaming response piece by piece, until its end or until the client is gone.

    The thread makes all pieces, because a transaction belongs to a thread. It makes each in the place of a page, so
    that only two threads work at a time. While the response waits for its reader, another request has the place.
    """
    loop = asyncio.get_running_loop()
    disconnected = asyncio.ensure_future(receive())
    try:
        await send_head(response, send)
        pieces = iter(response)
        while not disconnected.done():
            async with PAGES.limit.turn():
                piece = await loop.run_in_executor(thread, next, pieces, None)
            if piece is None:
                break
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except Exception:
        # The server ends an interrupted response like a complete one: only its last line tells the difference.
        log.exception("export.failed")
        await send({"type": "http.response.body", "body": INCOMPLETE, "more_body": True})
    finally:
        disconnected.cancel()
    await send({"type": "http.response.body", "body": b""})


def is_sign_in(scope: Scope) -> bool:
    """Return True for a form whose password is hashed for a person who is not signed in."""
    return bool(scope["method"] == "POST" and scope["path"].startswith(SIGN_IN_PATHS))


def check_head(scope: Scope) -> None:
    """Raise Refusal (400) if headers and query are larger than any that a browser sends."""
    head = sum(len(name) + len(value) for name, value in scope["headers"])
    if head + len(scope["query_string"]) + len(scope["path"]) > HEAD_BYTES:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "bad_request",
            f"Address and headers are larger than {HEAD_BYTES:,} bytes. Nothing was changed. If they are cookies, "
            "delete those of this address.",
        )


def make_readable(scope: Scope) -> Scope:
    """Return the scope with a query in UTF-8, because Django fails at any other, and with its cookies in one header.

    HTTP/2 lets a client divide its cookies, a proxy may hand on the parts, and Django would join them by commas.
    """
    headers = scope["headers"]
    cookies = [value for name, value in headers if name == b"cookie"]
    if len(cookies) > 1:
        headers = [(name, value) for name, value in headers if name != b"cookie"]
        headers.append((b"cookie", b"; ".join(cookies)))
    return {**scope, "headers": headers, "query_string": scope["query_string"].decode("utf-8", "replace").encode()}


async def read_form(reader: BodyReader, *, most: int, address: str) -> bytes:
    """Return the whole body, of `most` bytes. It is read before the request gets a place: a sender may never end it.

    Raises Refusal (400, 413, 503).
    """
    try:
        raw = await reader.read(most, STRANGERS, sender=address)
    finally:
        reader.let_go()
    if raw.is_too_large:
        await reader.drain()
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"The body is larger than {most:,} bytes. Nothing was changed. Send less at a time.",
        )
    if not raw.is_complete:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "bad_request", "The body ended too soon. Nothing was changed. Send the same again."
        )
    return raw.content


def too_busy() -> Refusal:
    """Return 503 for a request that got no place and was not begun."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "Too many requests are being answered just now. Nothing was changed. Send the same again.",
        RETRY_AFTER,
    )


def make_error_response(scope: Scope, refusal: Refusal) -> Response:
    """Return an error as a page on the paths of pages, and as JSON elsewhere."""
    if not is_page(scope["path"]):
        return error_response(refusal)
    page = render_refusal(refusal, loads_again=scope["method"] == "GET")
    return Response(refusal.status, page.encode(), (*refusal.headers, *PAGE_HEADERS), "text/html; charset=utf-8")
