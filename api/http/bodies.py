"""Bodies of requests: read from the server piece by piece, bounded in bytes and time, and decoded."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from api.events.encodings import NONE, WINDOW_BITS, Inflater, strip_byte_order_mark
from api.events.refusal import Refusal
from api.http.database import once
from api.http.threads import LIGHT_BYTES, compute_for

Receive = Callable[[], Awaitable[Mapping[str, Any]]]  # of ASGI

PIECE_BYTES: Final = 64 * 1024  # that are inflated at a time
MOST_COMPRESSED: Final = 64 * 1024  # bytes of a compressed body beyond the limit: gzip may inflate to nothing for ever
INLINE_COMPRESSED: Final = 1_024  # bytes that the event loop inflates itself: they become 1 MB at most, in 2 ms
MOST_INFLATION: Final = 1_032  # times that deflate makes a body larger
START_BYTES: Final = 4_096  # of a body that is too large
BODY_SECONDS: Final = 60.0  # of a body that comes in pieces
TURN_SECONDS: Final = 1.0
DRAIN_BYTES: Final = 64 * 1024 * 1024
DRAIN_SECONDS: Final = 5.0


class BodyTooLargeError(Exception):
    """Raised for a body larger than the limit; `start` holds its beginning."""

    def __init__(self, start: bytes, content_encoding: str = "") -> None:
        super().__init__()
        self.start = start[:START_BYTES]
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


class BodyMemory:
    """Bytes of bodies that a process holds at a time for one kind of senders, until their requests are answered.

    It does not count bodies that came at once and are light. A sender may hold as much as is left for the others: half
    of the room if it is alone, a third beside another one.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._of_senders: dict[Hashable, int] = {}

    def take(self, size: int, sender: Hashable = None) -> None:
        """Count bytes of a body. Raises Refusal (503) if there is no room. None has no share of its own."""
        held = self._of_senders.get(sender, 0) + size
        left = self._left - size
        if size > 0 and (left < 0 or (sender is not None and held > left)):
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "unavailable",
                "Too many requests are being read just now. Send the same again.",
                (("Retry-After", "2"),),
            )
        self._left = left
        if held:
            self._of_senders[sender] = held
        else:
            self._of_senders.pop(sender, None)

    def give_back(self, size: int, sender: Hashable = None) -> None:
        self.take(-size, sender)


# Senders without a valid key, or with the public key of a page, cannot take the room of the others.
STRANGERS: Final = BodyMemory(64 * 1024 * 1024)
KNOWN_SENDERS: Final = BodyMemory(128 * 1024 * 1024)  # parsed, batches take five times as much


class SlowBodies:
    """The requests whose bodies are being received. One that takes too long is cancelled, up to a second late.

    One timer looks after all of them. asyncio.timeout for each took a tenth of the time of an event.
    """

    def __init__(self) -> None:
        self._begun: dict[asyncio.Task[Any], int] = {}  # by the turn of the timer, the oldest first
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> "asyncio.Task[Any]":
        """Note that the current request waits for its body, and return its task."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - called on the event loop
        self._begun[task] = self._turn
        if self._timer is None:
            self._timer = task.get_loop().call_later(TURN_SECONDS, self._take_turn)
        return task

    def is_waiting(self, task: "asyncio.Task[Any]") -> bool:
        """Return True until the request has taken too long."""
        return task in self._begun

    def end(self, task: "asyncio.Task[Any]") -> None:
        self._begun.pop(task, None)

    def _take_turn(self) -> None:
        self._turn += 1
        for task, turn in list(self._begun.items()):
            if (self._turn - turn - 1) * TURN_SECONDS < BODY_SECONDS:
                break
            del self._begun[task]
            task.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TURN_SECONDS, self._take_turn) if self._begun else None


@once
def slow_bodies() -> SlowBodies:
    """Return the bodies that this process is receiving. Only the event loop uses them."""
    return SlowBodies()


class RawBody(msgspec.Struct, frozen=True):
    """A body as received, and the fault of one that is not complete."""

    content: bytes
    is_complete: bool = True
    is_too_large: bool = False


class BodyReader:
    """The body of one request. It can be read once."""

    __slots__ = ("_has_ended", "_held", "_memory", "_receive", "_sender")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._sender: Hashable = None
        self._has_ended = False
        self._memory = STRANGERS
        self._held = 0  # bytes of the memory

    async def read(self, most: int, memory: BodyMemory, *, sender: Hashable, length: str = "") -> RawBody:
        """Return the body of a sender, or the first `most` bytes and some more of a larger one.

        `length` is the Content-Length. Raises Refusal (503) if the body comes too slowly, or if too many bodies are
        being received.
        """
        self._memory, self._sender = memory, sender
        received = bytearray()  # no list of pieces: each of a byte would take fifty
        task = slow_bodies().begin()
        try:
            message = await self._receive()
            content = message.get("body", b"")
            is_last = message["type"] == "http.request" and not message.get("more_body", False)
            # Some servers send an empty piece after the last one, which need not be waited for.
            if is_last or length == str(len(content)):
                self._has_ended = True
                if len(content) > LIGHT_BYTES:
                    self.hold(len(content))
                return RawBody(content, is_too_large=len(content) > most)
            while message["type"] == "http.request":
                piece = message.get("body", b"")
                self.hold(len(received) + len(piece))
                received += piece
                self._has_ended = not message.get("more_body", False)
                if self._has_ended or len(received) > most:
                    return RawBody(bytes(received), is_too_large=len(received) > most)
                message = await self._receive()
        except asyncio.CancelledError as error:
            if slow_bodies().is_waiting(task) or task.uncancel():
                raise
            raise too_slow() from error
        finally:
            slow_bodies().end(task)
        self._has_ended = True
        return RawBody(bytes(received), is_complete=False)

    def hold(self, size: int) -> None:
        """Count this many bytes for the body until the request is answered. Raises Refusal (503)."""
        self._memory.take(size - self._held, self._sender)
        self._held = size

    def let_go(self) -> None:
        """Count no more bytes, because the request is answered."""
        if self._held:
            self._memory.give_back(self._held, self._sender)
            self._held = 0

    async def drain(self) -> None:
        """Read and discard the rest of the body, 64 MB and five seconds at most.

        The server closes a connection with an unread body. Caddy then answers 502, which Segment repeats again and
        again, and the next request of other clients fails.
        """
        drained = 0
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._has_ended and drained < DRAIN_BYTES:
                    message = await self._receive()
                    drained += len(message.get("body", b""))
                    self._has_ended = message["type"] != "http.request" or not message.get("more_body", False)
        except TimeoutError:
            return


async def read_body(
    reader: BodyReader, header: Callable[[str], str], *, limit: int, memory: BodyMemory, sender: Hashable
) -> bytes:
    """Return a body as UTF-8 without a byte order mark, inflated if it is gzip or deflate, of `limit` bytes at most.

    `header` returns a header by its name in lower case. Neither Content-Length nor the compressed size is trusted
    (promise K-24). Raises BodyTooLargeError, UndecodableBodyError, and Refusal (503) as `BodyReader.read` does.
    """
    encoding, length = header("content-encoding").strip().lower(), header("content-length")
    if encoding in NONE:
        raw = await reader.read(limit, memory, sender=sender, length=length)
        return decode(raw, encoding, limit=limit)
    raw = await reader.read(limit + MOST_COMPRESSED, memory, sender=sender, length=length)
    if len(raw.content) <= INLINE_COMPRESSED:
        body = decode(raw, encoding, limit=limit)
    else:
        # Before it waits for a thread, so that few bodies of strangers wait there.
        reader.hold(min(limit, MOST_INFLATION * len(raw.content)))
        body = await compute_for(sender, decode, raw, encoding, limit=limit)
    reader.hold(len(body) if len(body) > LIGHT_BYTES else 0)
    return body


def decode(raw: RawBody, encoding: str, *, limit: int) -> bytes:
    """Return a body as `read_body` does. Pure."""
    if encoding in NONE:
        body = require_complete(raw, raw.content)
    elif encoding in WINDOW_BITS:
        body = inflate(raw, encoding, limit)
    else:
        refusal = unreadable_encoding(f"Content-Encoding {encoding[:40]!r} is not read here.")
        if len(raw.content) > limit:
            raise BodyTooLargeError(raw.content, encoding)
        if not raw.is_complete:
            raise UndecodableBodyError(cut_short(), raw.content, encoding)
        raise UndecodableBodyError(refusal, raw.content, encoding)
    try:
        plain = strip_byte_order_mark(body)
    except UnicodeDecodeError as error:
        refusal = invalid_body("The body is not UTF-16, though its byte order mark says so.")
        raise UndecodableBodyError(refusal, body.decode("utf-16", "replace").encode()) from error
    if plain is not body and len(plain) > limit:
        raise BodyTooLargeError(plain)
    return plain


def require_complete(raw: RawBody, body: bytes) -> bytes:
    """Return the body. Raises BodyTooLargeError, and UndecodableBodyError if the sender is gone."""
    if raw.is_too_large:
        raise BodyTooLargeError(body)
    if not raw.is_complete:  # half a request must not become an event
        raise UndecodableBodyError(cut_short(), body)
    return body


def inflate(raw: RawBody, encoding: str, limit: int) -> bytes:
    """Return an inflated body of `limit` bytes at most. Raises BodyTooLargeError and UndecodableBodyError."""
    inflater = Inflater(encoding)
    pieces: list[bytes] = []
    size = 0
    for start in range(0, len(raw.content), PIECE_BYTES):
        piece = inflater.take(raw.content[start : start + PIECE_BYTES], limit + 1)  # one byte more is enough to know
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            raise BodyTooLargeError(b"".join(pieces))
    body = b"".join(pieces)
    if raw.is_too_large:
        raise BodyTooLargeError(body)
    if raw.is_complete:
        inflater.end()
        refusal = unreadable_encoding(f"The body {inflater.fault}; Content-Encoding says {encoding}.")
    else:
        refusal = cut_short()
    if inflater.fault or not raw.is_complete:
        raise UndecodableBodyError(refusal, body or inflater.raw, "" if body else encoding)
    return body


def unreadable_encoding(what: str) -> Refusal:
    """Return 400 for a body that cannot be decoded."""
    message = f"{what} The body is kept and shown as rejected; send gzip, deflate or none."
    return Refusal(HTTPStatus.BAD_REQUEST, "unreadable_encoding", message)


def cut_short() -> Refusal:
    """Return 400 for a body whose connection ended."""
    return invalid_body("The connection ended before the whole body had come.")


def invalid_body(what: str) -> Refusal:
    """Return 400 for a body that is incomplete, or no text."""
    return Refusal(HTTPStatus.BAD_REQUEST, "invalid_json", f"{what} What came is kept; send the same again.")


def too_slow() -> Refusal:
    """Return 503 for a body that takes too long, so that the sender retries."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        f"The body took longer than {BODY_SECONDS:.0f} seconds. Nothing was stored. Send the same again.",
        (("Retry-After", "2"),),
    )
