"""The plain side of WSGI: a request and an answer, and nothing between them.

The wire endpoints are functions from Request to Answer, called by api.wsgi before Django's middleware: no session, no
CSRF, no redirect, no URL resolver. One error body everywhere: `{"success": false, "code": …, "message": …}`.
"""

import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from api.encodings import without_mark

CHUNK: Final = 64 * 1024
DRAIN_LIMIT: Final = 32 * 1024 * 1024
DRAIN_SECONDS: Final = 5.0
MOST_DIGITS: Final = 18  # of a length; Python refuses to convert some thousands
JSON: Final = "application/json"
# The server sets no time limit for bodies. So no more than these threads of a process, of 32, wait for the body of
# somebody who has shown no valid key, or whose request is refused: anybody could keep them all.
seats: Final = threading.BoundedSemaphore(8)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a status, a body and headers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - it is an answer, not a defect
    """An error answer: a code of the documented list, and a message that says what was wrong and what to do."""

    status: int
    code: str
    message: str
    headers: tuple[tuple[str, str], ...] = ()

    def answer(self) -> Answer:
        """The one error body of the API."""
        body = msgspec.json.encode({"success": False, "code": self.code, "message": self.message})
        return Answer(self.status, body, self.headers)

    def as_header(self) -> tuple[str, str]:
        """Return the reason as a header, for an answer whose body cannot say it."""
        # A header holds latin-1 at most, and proxies less.
        return "Goalpost-Error", f"{self.code}: {self.message}".encode("ascii", "replace").decode()


class TooLargeError(Exception):
    """The body is larger than the limit; `start` holds how it begins."""

    def __init__(self, start: bytes) -> None:
        super().__init__()
        self.start = start


class UnreadableBodyError(Exception):
    """The body's encoding is not what its header says, or not one we read."""


@dataclass(frozen=True, slots=True)
class Request:
    """A WSGI environment, read lazily."""

    environ: Mapping[str, Any]

    @property
    def method(self) -> str:
        return str(self.environ["REQUEST_METHOD"])

    def header(self, name: str) -> str:
        """A header's value, or an empty string; `name` in WSGI's spelling, e.g. `HTTP_AUTHORIZATION`."""
        return str(self.environ.get(name, ""))

    def query(self) -> dict[str, str]:
        """The query parameters, decoded exactly once, the first of each name; a bad escape becomes U+FFFD."""
        text = str(self.environ.get("QUERY_STRING", ""))
        return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}

    def body(self, limit: int) -> bytes:
        """Return the body as UTF-8 without a byte order mark, inflated if it is gzipped, never beyond `limit` bytes.

        Reads in pieces. Trusts neither Content-Length nor the compressed size (promises K-24). Raises TooLargeError,
        UnreadableBodyError, or Refusal (400) when the sender hung up halfway.
        """
        body = self._inflated(limit)
        try:
            plain = without_mark(body)
        except UnicodeDecodeError as error:
            raise UnreadableBodyError("The body is not UTF-16, though its byte order mark says so.") from error
        if plain is not body and len(plain) > limit:
            raise TooLargeError(plain[:4096])
        return plain

    def _inflated(self, limit: int) -> bytes:
        encoding = self.header("HTTP_CONTENT_ENCODING").strip().lower()
        if encoding in {"", "identity"}:
            return self._read(lambda piece: piece, limit)
        if encoding != "gzip":
            raise UnreadableBodyError(f"Content-Encoding {encoding[:40]!r} is not supported: send gzip or none.")
        inflater = zlib.decompressobj(wbits=31)

        def inflate(piece: bytes) -> bytes:
            if inflater.eof:
                raise UnreadableBodyError("The gzipped body is followed by something else.")
            # One byte past the limit is enough to know; what is left in the tail is never inflated.
            return inflater.decompress(piece, limit + 1)

        try:
            body = self._read(inflate, limit)
        except zlib.error as error:
            raise UnreadableBodyError("The body is not gzip, though Content-Encoding says so.") from error
        if not inflater.eof or inflater.unused_data:
            raise UnreadableBodyError("The gzipped body is cut short, or followed by something else.")
        return body

    def drain(self) -> None:
        """Take what is still on its way and forget it, so that a refused sender gets its answer and its connection.

        A server closes a connection with an unread body. Caddy makes a 502 of that, which Segment sends again and
        again; the next request of others fails.
        """
        until = time.monotonic() + DRAIN_SECONDS
        drained = 0
        with suppress(Refusal), seat_for_stranger():
            while drained < DRAIN_LIMIT and time.monotonic() < until:
                piece = self.environ["wsgi.input"].read(CHUNK)
                if not piece:
                    return
                drained += len(piece)

    def _read(self, decode: Callable[[bytes], bytes], limit: int) -> bytes:
        stream = self.environ["wsgi.input"]
        declared = self.header("CONTENT_LENGTH")
        # Without a length the body is chunked and ends with the stream; with one, reading past it may wait for ever.
        is_number = declared.isascii() and declared.isdigit() and len(declared) <= MOST_DIGITS
        left = int(declared) if is_number else None
        pieces: list[bytes] = []
        size = raw_size = 0
        while left is None or left > 0:
            piece = stream.read(CHUNK if left is None else min(CHUNK, left))
            if not piece:
                break
            left = None if left is None else left - len(piece)
            decoded = decode(piece)
            pieces.append(decoded)
            size += len(decoded)
            raw_size += len(piece)
            if size > limit or raw_size > limit + CHUNK:  # gzip may inflate to nothing for ever
                raise TooLargeError(b"".join(pieces)[:4096])
        if left:
            raise Refusal(  # nobody waits for the answer; what matters is that half a request is never an event
                HTTPStatus.BAD_REQUEST, "invalid_json", "The connection ended before the whole body had come."
            )
        return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The functions of one path by method, and how the path spells an error."""

    methods: Mapping[str, Callable[[Request], Answer]]
    # How an error looks here; remote data answers `{}` with the reason in a header.
    refuse: Callable[[Refusal], Answer] = field(default=Refusal.answer)
    is_open: bool = True  # to pages of any origin (api.cross_origin)

    def serve(self, request: Request) -> Answer:
        """Answer a request; refusals are answers too."""
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


def json_answer(value: Any, *, status: int = HTTPStatus.OK, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    """`value` as JSON."""
    return Answer(status, msgspec.json.encode(value), tuple(headers))


@contextmanager
def seat_for_stranger() -> Iterator[None]:
    """Leave to wait for a body that may never come. Raises Refusal (503) when too many wait already."""
    if not seats.acquire(blocking=False):
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "unavailable",
            "Too many requests are being read just now. Send the same again.",
            (("Retry-After", "2"),),
        )
    try:
        yield
    finally:
        seats.release()


def defect() -> Refusal:
    """A defect of ours: the sender keeps its event, and comes again when it is mended."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "Something failed here; the log has it. Send the same again.",
        (("Retry-After", "10"),),
    )


def unavailable() -> Refusal:
    """The database cannot be reached: the sender keeps its event and comes again."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        "The database cannot be reached just now, or is too slow. Send the same again.",
        (("Retry-After", "2"),),
    )
