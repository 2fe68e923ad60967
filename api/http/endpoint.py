"""The plain side of ASGI: a request and a response, and nothing between them.

The wire endpoints are async functions from Request to Response, called by api.asgi before Django: no session, no CSRF,
no redirect, no URL resolver. One error body everywhere: `{"success": false, "code": …, "message": …}`.
"""

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from api.events.refusal import Refusal
from api.http.bodies import STRANGERS, BodyMemory, BodyReader, Receive, read_body

Scope = MutableMapping[str, Any]  # of ASGI
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

QUERY_BYTES: Final = 65_536  # the server takes 400 kB, of which escapes take 0.1 s to parse
MAX_PARAMETERS: Final = 1_000  # of a query
JSON: Final = "application/json"
WITHOUT_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class Response(msgspec.Struct, frozen=True):
    """A response: status, body and headers."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = JSON


async def respond(response: Response, send: Send) -> None:
    """Hand a response to the server."""
    headers = encode_headers(response.content_type, response.headers)
    if response.status not in WITHOUT_BODY:
        headers = (*headers, (b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": int(response.status), "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


@lru_cache(maxsize=1_024)  # nearly all responses have one of a few dozen sets of headers
def encode_headers(content_type: str, headers: tuple[tuple[str, str], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """Return headers as ASGI sends them."""
    return (
        (b"content-type", content_type.encode()),
        (b"x-content-type-options", b"nosniff"),
        *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers),
    )


def error_response(refusal: Refusal) -> Response:
    """Return the one error body of the API: `{"success": false, "code": …, "message": …}`."""
    body = msgspec.json.encode({"success": False, "code": refusal.code, "message": refusal.message})
    return Response(refusal.status, body, refusal.headers)


class Request:
    """An HTTP request as ASGI hands it over, read lazily."""

    __slots__ = ("_headers", "_reader", "method", "path", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._headers: dict[str, str] | None = None
        self._reader = BodyReader(receive)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by their names in lower case. A header that came several times has its values in one text."""
        if self._headers is None:
            headers: dict[str, str] = {}
            for name_bytes, value_bytes in self.scope["headers"]:
                name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
                separator = "; " if name == "cookie" else ","  # HTTP/2 lets a client divide its cookies
                headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
            self._headers = headers
        return self._headers

    def header(self, name: str) -> str:
        """Return a header's value or an empty string. `name` is in lower case."""
        return self.headers.get(name, "")

    @property
    def query_string(self) -> str:
        """The query as it came. Bytes that are not UTF-8 become U+FFFD. Raises Refusal (414) for a long one."""
        if len(self.scope["query_string"]) > QUERY_BYTES:
            raise Refusal(
                HTTPStatus.REQUEST_URI_TOO_LONG,
                "too_large",
                f"The query is longer than {QUERY_BYTES:,} bytes. Nothing was stored. Send it in a body, or send less.",
            )
        return bytes(self.scope["query_string"]).decode("utf-8", "replace")

    def query(self) -> dict[str, str]:
        """Return the query parameters, the first of each name. A bad escape becomes U+FFFD.

        Raises Refusal: 414 for a long query, 400 for too many parameters.
        """
        text = self.query_string
        if text.count("&") >= MAX_PARAMETERS:
            raise Refusal(
                HTTPStatus.BAD_REQUEST, "invalid_request", f"The address has more than {MAX_PARAMETERS:,} parameters."
            )
        return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}

    @property
    def address(self) -> str:
        """The address of the client: of the connection, or what a proxy of the same network says of it."""
        peer: str = (self.scope.get("client") or ("",))[0]
        forwarded = self.header("x-forwarded-for").rpartition(",")[2].strip()
        return forwarded if forwarded and is_internal(peer) else peer

    async def body(self, limit: int, memory: BodyMemory = STRANGERS, *, sender: Hashable = None) -> bytes:
        """Return the decoded body, of `limit` bytes at most (api.http.bodies.read_body).

        `sender` is whose share of the memory it takes: a site or a source, otherwise the address of the client.
        """
        sender = self.address if sender is None else sender
        return await read_body(self._reader, self.header, limit=limit, memory=memory, sender=sender)

    def let_go(self) -> None:
        """Free the room of the body, because the request is answered (api.http.bodies.BodyReader.let_go)."""
        self._reader.let_go()

    async def drain(self) -> None:
        """Read and discard the rest of the body (api.http.bodies.BodyReader.drain)."""
        await self._reader.drain()


@lru_cache(maxsize=1_024)
def is_internal(peer: str) -> bool:
    """Return True for an address that is not of the internet. A Unix socket has none."""
    try:
        return not peer or ip_address(peer).is_private
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The functions of one path by method, and its format of errors."""

    methods: Mapping[str, Callable[[Request], Awaitable[Response]]]
    # Remote data answers `{}`, with the reason in a header.
    refuse: Callable[[Refusal], Response] = field(default=error_response)
    is_open: bool = True  # to pages of any origin (api.http.cross_origin)

    async def serve(self, request: Request) -> Response:
        """Return the response to a request, also if it is refused."""
        method = self.methods.get(request.method)
        try:
            if method is None:
                raise self._no_method()
            return await method(request)
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
