"""Limits of the requests that Django answers: pages, the management API, exports and sign-ins.

They run in the same threads as events. So a process answers two at a time and lets a few more wait. All others get 503
at once. Events, remote data and health never pass this module.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final

import structlog
from django.conf import settings

from api.events.refusal import Refusal
from api.http.concurrency import ConcurrencyLimit, LimitReachedError
from api.http.endpoint import CHUNK_BYTES, Request, Response, error_response
from api.http.error_pages import PAGE_HEADERS, is_page, render_refusal

log = structlog.get_logger(__name__)

Environ = dict[str, Any]
Respond = Callable[[Response, Callable[..., Any]], Iterable[bytes]]

# Under a flood of pages, the p50 of events tripled with three pages at a time, and doubled with two
# (tests.bench.storms). A page takes about 50 ms, so the last of 12 waits half a second.
PAGE_LIMIT: Final = ConcurrencyLimit(running=2, waiting=12, patience=5.0)
# A password takes most of a second of one core. One at a time, and never in the place of a page, so that guessing
# passwords does not delay people who are signed in.
SIGN_IN_LIMIT: Final = ConcurrencyLimit(running=1, waiting=3, patience=5.0)
# Bodies are read before the request gets a place, because a sender may never end one.
BODY_LIMIT: Final = ConcurrencyLimit(running=6)
# If a client stops reading, the server holds the thread, but no place of a page.
EXPORT_LIMIT: Final = ConcurrencyLimit(running=2)

BODY_BYTES: Final = settings.DATA_UPLOAD_MAX_MEMORY_SIZE  # of a form; no page accepts files
SIGN_IN_BYTES: Final = 16 * 1024
# Of headers and query; browsers send 16 kB at most. Django takes 2 s for a Content-Type of 400 kB, 0.05 s for this.
HEAD_BYTES: Final = 64 * 1024
HEAD: Final = ("HTTP_", "CONTENT_TYPE", "QUERY_STRING", "PATH_INFO")
RETRY_AFTER: Final = (("Retry-After", "2"),)
INCOMPLETE: Final = (
    b"\r\nThis file is not complete: the database could not be reached, or Goalpost failed. Export it again.\r\n"
)


def answer(
    environ: Environ, start_response: Callable[..., Any], *, application: Callable[..., Any], respond: Respond
) -> Iterable[bytes]:
    """Let Django answer a request when there is a place for it; otherwise refuse it. `application` is Django's."""
    try:
        check_head(environ)
        limit = choose_limit(environ)
        buffer_body(environ, most=SIGN_IN_BYTES if limit is SIGN_IN_LIMIT else BODY_BYTES)
        limit.enter()
    except LimitReachedError:
        return respond(make_error_response(environ, too_busy()), start_response)
    except Refusal as refusal:
        return respond(make_error_response(environ, refusal), start_response)
    try:
        return finish_response(application(environ, start_response), start_response, respond, environ)
    finally:
        limit.leave()


def finish_response(
    response: Any, start_response: Callable[..., Any], respond: Respond, environ: Environ
) -> Iterable[bytes]:
    """Return the body of Django's response: whole, or an export that returns its place when it is closed."""
    if not response.streaming:
        try:
            return [b"".join(response)]
        finally:
            response.close()
    try:
        EXPORT_LIMIT.enter()
    except LimitReachedError:
        response.close()
        return respond(make_error_response(environ, too_busy()), start_response)
    return Export(response)


class Export:
    """The body of a streaming response.

    Each piece is made in the place of a page, so that only two threads work at a time. While the response waits for
    its reader, another request has the place.
    """

    def __init__(self, response: Any) -> None:
        self._response = response
        self._pieces: Iterator[bytes] = iter(response)
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._is_open:
            raise StopIteration
        try:
            with PAGE_LIMIT.turn():
                return next(self._pieces)
        except StopIteration:
            self.close()
            raise
        except Exception:
            # The server ends an interrupted response like a complete one: only its last line tells the difference.
            log.exception("export.failed")
            self.close()
            return INCOMPLETE

    def close(self) -> None:
        """Return the place. The server may call this several times."""
        if self._is_open:
            self._is_open = False
            try:
                self._response.close()
            finally:
                EXPORT_LIMIT.leave()


def choose_limit(environ: Environ) -> ConcurrencyLimit:
    is_sign_in = environ["PATH_INFO"] == settings.LOGIN_URL and environ["REQUEST_METHOD"] == "POST"
    return SIGN_IN_LIMIT if is_sign_in else PAGE_LIMIT


def check_head(environ: Environ) -> None:
    """Raise Refusal (400) if headers and query are larger than any that a browser sends."""
    head = sum(len(str(value)) for name, value in environ.items() if name.startswith(HEAD))
    if head > HEAD_BYTES:
        raise Refusal(
            HTTPStatus.BAD_REQUEST,
            "bad_request",
            f"Address and headers are larger than {HEAD_BYTES:,} bytes. Nothing was changed. If they are cookies, "
            "delete those of this address.",
        )


def buffer_body(environ: Environ, *, most: int) -> None:
    """Replace the stream of a body by the whole body, of `most` bytes. Raises LimitReachedError, Refusal (400, 413).

    Without a Content-Length, Django does not read a body, so this does not either.
    """
    length = environ.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdigit()) or not int(length[:20]):
        return
    missing = int(length[:20])
    if missing > most:
        with BODY_LIMIT.place():
            Request(environ).discard_rest()
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"The body is larger than {most:,} bytes. Nothing was changed. Send less at a time.",
        )
    pieces = []
    with BODY_LIMIT.place():
        while missing > 0 and (piece := environ["wsgi.input"].read(min(CHUNK_BYTES, missing))):
            pieces.append(piece)
            missing -= len(piece)
    if missing > 0:
        raise Refusal(
            HTTPStatus.BAD_REQUEST, "bad_request", "The body ended too soon. Nothing was changed. Send the same again."
        )
    environ["wsgi.input"] = io.BytesIO(b"".join(pieces))


def too_busy() -> Refusal:
    """Return 503 for a request that got no place and was not begun."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "Too many requests are being answered just now. Nothing was changed. Send the same again.",
        RETRY_AFTER,
    )


def make_error_response(environ: Environ, refusal: Refusal) -> Response:
    """Return an error as a page on the paths of pages, and as JSON elsewhere."""
    if not is_page(environ["PATH_INFO"]):
        return error_response(refusal)
    page = render_refusal(refusal, loads_again=environ["REQUEST_METHOD"] == "GET")
    return Response(refusal.status, page.encode(), (*refusal.headers, *PAGE_HEADERS), "text/html; charset=utf-8")
