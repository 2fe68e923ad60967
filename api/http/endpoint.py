"""The plain side of WSGI: a request and a response, and nothing between them.

The wire endpoints are functions from Request to Response, called by api.wsgi before Django's middleware: no session, no
CSRF, no redirect, no URL resolver. One error body everywhere: `{"success": false, "code": …, "message": …}`.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from api.events.encodings import NONE, WINDOW_BITS, Inflater, strip_byte_order_mark
from api.events.refusal import Refusal

CHUNK_BYTES: Final = 64 * 1024
DRAIN_BYTES: Final = 32 * 1024 * 1024
DRAIN_SECONDS: Final = 5.0
MAX_LENGTH_DIGITS: Final = 18  # of a length; Python does not convert thousands of digits
MAX_PARAMETERS: Final = 1_000  # of a query; an address of 400 kB can hold 200,000, which take 0.1 s to parse
JSON: Final = "application/json"
# The server has no timeout for bodies. So only these of a process's 48 threads wait for the body of a request that is
# refused or has no valid key yet. Otherwise one client could occupy all threads.
UNAUTHENTICATED_READS: Final = threading.BoundedSemaphore(8)


@dataclass(frozen=True, slots=True)
class Response:
    """A response: status, body and headers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON


def error_response(refusal: Refusal) -> Response:
    """Return the one error body of the API: `{"success": false, "code": …, "message": …}`."""
    body = msgspec.json.encode({"success": False, "code": refusal.code, "message": refusal.message})
    return Response(refusal.status, body, refusal.headers)


class BodyTooLargeError(Exception):
    """Raised for a body larger than the limit; `start` holds its beginning."""

    def __init__(self, start: bytes, content_encoding: str = "") -> None:
        super().__init__()
        self.start = start
        self.content_encoding = content_encoding  # of `start`


class UndecodableBodyError(Exception):
    """Raised for a body that ended too soon, or whose encoding is unknown or not that of its header.

    `body` holds what arrived: decoded as far as possible, or as received, with its `content_encoding`.
    """

    def __init__(self, refusal: Refusal, body: bytes, content_encoding: str = "") -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.body = body
        self.content_encoding = content_encoding


@dataclass(frozen=True, slots=True)
class Request:
    """A WSGI environment, read lazily."""

    environ: Mapping[str, Any]

    @property
    def method(self) -> str:
        return str(self.environ["REQUEST_METHOD"])

    def header(self, name: str) -> str:
        """Return a header's value or an empty string. `name` is in WSGI's spelling, such as `HTTP_AUTHORIZATION`."""
        return str(self.environ.get(name, ""))

    def query(self) -> dict[str, str]:
        """Return the query parameters, decoded once, the first of each name. A bad escape becomes U+FFFD.

        Raises Refusal (400) for too many parameters.
        """
        text = str(self.environ.get("QUERY_STRING", ""))
        if text.count("&") >= MAX_PARAMETERS:
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "invalid_request", f"The address has more than {MAX_PARAMETERS:,} parameters."
            )
        return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}

    def body(self, limit: int) -> bytes:
        """Return the body as UTF-8 without a byte order mark, inflated if it is gzip or deflate.

        Reads in pieces, and never beyond `limit` bytes. Trusts neither Content-Length nor the compressed size
        (promise K-24). Raises BodyTooLargeError or UndecodableBodyError.
        """
        encoding = self.header("HTTP_CONTENT_ENCODING").strip().lower()
        body = self._read(_as_it_is, limit) if encoding in NONE else self._inflate(encoding, limit)
        try:
            plain = strip_byte_order_mark(body)
        except UnicodeDecodeError as error:
            refusal = invalid_body("The body is not UTF-16, though its byte order mark says so.")
            raise UndecodableBodyError(refusal, body.decode("utf-16", "replace").encode()) from error
        if plain is not body and len(plain) > limit:
            raise BodyTooLargeError(plain)
        return plain

    def _inflate(self, encoding: str, limit: int) -> bytes:
        if encoding not in WINDOW_BITS:
            refusal = unreadable_encoding(f"Content-Encoding {encoding[:40]!r} is not read here.")
            try:
                body = self._read(_as_it_is, limit)
            except BodyTooLargeError as error:
                raise BodyTooLargeError(error.start, encoding) from error
            except UndecodableBodyError as error:
                raise UndecodableBodyError(error.refusal, error.body, encoding) from error
            raise UndecodableBodyError(refusal, body, encoding)
        inflater = Inflater(encoding)
        try:
            body = self._read(inflater.take, limit)
        except UndecodableBodyError as error:
            raise UndecodableBodyError(
                error.refusal, error.body or inflater.raw, "" if error.body else encoding
            ) from error
        inflater.end()
        if inflater.fault:
            refusal = unreadable_encoding(f"The body {inflater.fault}; Content-Encoding says {encoding}.")
            raise UndecodableBodyError(refusal, body or inflater.raw, "" if body else encoding)
        return body

    def drain(self) -> None:
        """Read and discard the rest of the body, so that a refused sender gets its response and keeps its connection.

        The server closes a connection with an unread body. Caddy then answers 502, which Segment repeats again and
        again, and the next request of other clients fails.
        """
        with suppress(Refusal), limit_unauthenticated_reads():
            self.discard_rest()

    def discard_rest(self) -> None:
        """Read and discard the rest of the body, 32 MB and five seconds at most."""
        until = time.monotonic() + DRAIN_SECONDS
        drained = 0
        while drained < DRAIN_BYTES and time.monotonic() < until:
            piece = self.environ["wsgi.input"].read(CHUNK_BYTES)
            if not piece:
                return
            drained += len(piece)

    def _read(self, decode: Callable[[bytes, int], bytes], limit: int) -> bytes:
        stream = self.environ["wsgi.input"]
        declared = self.header("CONTENT_LENGTH")
        # Without a length, the body is chunked and ends with the stream. With one, reading past it may block for ever.
        is_number = declared.isascii() and declared.isdigit() and len(declared) <= MAX_LENGTH_DIGITS
        left = int(declared) if is_number else None
        pieces: list[bytes] = []
        size = raw_size = 0
        while left is None or left > 0:
            piece = stream.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not piece:
                break
            left = None if left is None else left - len(piece)
            decoded = decode(piece, limit + 1)  # one byte past the limit is enough to know
            pieces.append(decoded)
            size += len(decoded)
            raw_size += len(piece)
            if size > limit or raw_size > limit + CHUNK_BYTES:  # gzip may inflate to nothing for ever
                raise BodyTooLargeError(b"".join(pieces)[:4096])
        body = b"".join(pieces)
        if left:  # the sender is gone; half a request must not become an event
            raise UndecodableBodyError(invalid_body("The connection ended before the whole body had come."), body)
        return body


def _as_it_is(piece: bytes, _most: int) -> bytes:
    return piece


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The functions of one path by method, and its format of errors."""

    methods: Mapping[str, Callable[[Request], Response]]
    # Remote data answers `{}`, with the reason in a header.
    refuse: Callable[[Refusal], Response] = field(default=error_response)
    is_open: bool = True  # to pages of any origin (api.http.cross_origin)

    def serve(self, request: Request) -> Response:
        """Return the response to a request, also if it is refused."""
        method = self.methods.get(request.method)
        try:
            if method is None:
                raise self._no_method()
            return method(request)
        except Refusal as refusal:
            return self.refuse(refusal)

    def _no_method(self) -> Refusal:
        """Return 405 with the methods of this path, or 404 if it has none."""
        if not self.methods:
            return Refusal(HTTPStatus.NOT_FOUND, "not_found", "Nothing is here.")
        allowed = ", ".join(sorted({*self.methods, *(("OPTIONS",) if self.is_open else ())}))
        return Refusal(
            HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", f"This path takes {allowed}.", (("Allow", allowed),)
        )


def json_response(value: Any, *, status: int = HTTPStatus.OK, headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return a response with `value` as JSON."""
    return Response(status, msgspec.json.encode(value), tuple(headers))


@contextmanager
def limit_unauthenticated_reads() -> Iterator[None]:
    """Limit the threads that wait for bodies of unauthenticated requests. Raises Refusal (503) if too many wait."""
    if not UNAUTHENTICATED_READS.acquire(blocking=False):
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "unavailable",
            "Too many requests are being read just now. Send the same again.",
            (("Retry-After", "2"),),
        )
    try:
        yield
    finally:
        UNAUTHENTICATED_READS.release()


def unreadable_encoding(what: str) -> Refusal:
    """Return 400 for a body that cannot be decoded."""
    message = f"{what} The body is kept and shown as rejected; send gzip, deflate or none."
    return Refusal(HTTPStatus.BAD_REQUEST, "unreadable_encoding", message)


def invalid_body(what: str) -> Refusal:
    """Return 400 for a body that is incomplete, or no text."""
    return Refusal(HTTPStatus.BAD_REQUEST, "invalid_json", f"{what} What came is kept; send the same again.")


def internal_error() -> Refusal:
    """Return 503 for an unexpected exception, so that the sender retries."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "Something failed here; the log has it. Send the same again.",
        (("Retry-After", "10"),),
    )


def database_unavailable() -> Refusal:
    """Return 503 for a database that cannot be reached, so that the sender retries."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "The database cannot be reached just now, or is too slow. Send the same again.",
        (("Retry-After", "2"),),
    )
