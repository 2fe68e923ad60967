"""Any bytes at any path of the management API get an answer with the standard body and cause no exception.

Paths, parameters and fields come from the OpenAPI document, so that new ones are tried too.
"""

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from django.http import HttpResponse

from tests.support.asgi import exchange
from tests.support.management_api import Caller, refusal
from tests.support.rest_access import make_places
from tests.world import SITECODE, World

DESCRIPTION: Final = yaml.safe_load((Path(__file__).parents[2] / "api/rest/openapi.yaml").read_text())
SHAPES: Final = DESCRIPTION["components"]["schemas"]

# Values for each field: every type, the ends of every range, odd spellings.
ODD: Final[Sequence[bytes]] = (
    b"1e308",
    b"-1",
    b"9" * 30,
    b"true",
    b"null",
    b'"caf\xe9"',
    b'"a\\u0000b"',
    b'"%s{name}{{ 1 }}\xe2\x80\xae"',
    b'["a\\u0000", null, 1, {}, []]',
    b'{"a\\u0000b": {"": ["\\u0000"]}}',
    b"[" * 900 + b"]" * 900,
)
WHOLE: Final[Sequence[bytes]] = (
    b"",
    b"\0",
    b"\xe9",
    codecs.BOM_UTF8,
    codecs.BOM_UTF16_LE,
    codecs.BOM_UTF16_LE + b"{",
    codecs.BOM_UTF16_LE + b"\x00\xd8",
    codecs.BOM_UTF32_BE + b"{}",
    '{"description": "é"}'.encode("utf-16-le"),
    "é".encode("utf-7"),
    b"\x1f\x8b\x08\x00",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"9" * 5_000,
    b'"\xed\xa0\x80"',
    b'"\\ud800"',
    b'"a\nb"',
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    *ODD,
)


@dataclass(frozen=True)
class Operation:
    """A method of a path."""

    method: str
    path: str
    parameters: tuple[str, ...]
    body: Mapping[str, Any]  # schema of the body, empty if the method has none
    statuses: frozenset[int]  # that the document has

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations() -> Iterator[Operation]:
    for path, methods in DESCRIPTION["paths"].items():
        for method, described in methods.items():
            named = tuple(
                parameter["name"] for parameter in described.get("parameters", ()) if parameter["in"] == "query"
            )
            content = described.get("requestBody", {}).get("content", {})
            body = shape(content["application/json"]["schema"]) if content else {}
            yield Operation(method.upper(), path, named, body, frozenset(map(int, described["responses"])))


def shape(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema, with a reference replaced by its target."""
    for part in (described, *described.get("allOf", ())):
        if "$ref" in part:
            return shape(SHAPES[part["$ref"].rpartition("/")[2]])
    return described


def usual(described: Mapping[str, Any]) -> Any:
    """Return the simplest value of a schema."""
    described = shape(described)
    for choice in described.get("oneOf", ()):
        return usual(choice)
    if "enum" in described:
        return described["enum"][0]
    if "properties" in described:
        return {name: usual(field) for name, field in described["properties"].items()}
    if "items" in described:
        return [usual(described["items"])]
    return {"integer": 1, "boolean": True, "object": {"a": "b"}}.get(described.get("type", ""), "a")


def oddly(value: Any) -> Iterator[bytes]:
    """Yield the JSON of a value with each odd value in place of each part."""
    match value:
        case dict():
            for name, part in value.items():
                others = {other: kept for other, kept in value.items() if other != name}
                begin = json.dumps(others)[1:-1] + ("," if others else "")
                yield from (f'{{{begin}"{name}":'.encode() + odd + b"}" for odd in oddly(part))
        case list():
            yield from (b"[" + odd + b"]" for part in value for odd in oddly(part))
    yield from ODD


@pytest.fixture
def owner(world: World) -> Caller:
    return Caller.build(world.site)


@pytest.fixture
def places(world: World) -> Mapping[str, str]:
    """Return the values of the parameters in paths."""
    return make_places(world)


def is_answer(response: HttpResponse, operation: Operation) -> bool:
    """Return True for a status that the document has, and the standard body for an error."""
    status = response.status_code
    if status not in operation.statuses | ALWAYS:
        return False
    return status < HTTPStatus.BAD_REQUEST or (status < HTTPStatus.INTERNAL_SERVER_ERROR and bool(refusal(response)))


ALWAYS: Final = {413, 415}  # of any body
WRITING: Final = [operation for operation in operations() if operation.method != "GET"]


@pytest.mark.parametrize("operation", WRITING, ids=str)
def test_body__of_any_bytes__is_answered(
    world: World, owner: Caller, places: Mapping[str, str], operation: Operation
) -> None:
    path = operation.path.format_map(places)
    bodies = [*WHOLE, *oddly(usual(operation.body))] if operation.body else WHOLE

    wrong = []
    for body in bodies:
        response = owner.ask(operation.method, path, body)
        if not is_answer(response, operation):
            wrong.append((response.status_code, body[:60], body[-60:]))

    assert wrong == []


@pytest.mark.parametrize("operation", [operation for operation in WRITING if operation.body], ids=str)
def test_body__not_in_utf_8__is_400_and_changes_nothing(
    world: World, owner: Caller, places: Mapping[str, str], operation: Operation
) -> None:
    """PowerShell 5 sends ISO-8859-1 by default."""
    response = owner.ask(operation.method, operation.path.format_map(places), b'{"description": "caf\xe9"}')

    assert refusal(response) == (400, "invalid_json")
    assert "not UTF-8 at byte 20" in json.loads(response.content)["message"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_body__with_a_byte_order_mark__is_read(world: World, owner: Caller, encoding: str) -> None:
    made = owner.ask("POST", "/api/goals", json.dumps({"name": "É"}, ensure_ascii=False).encode(encoding))

    assert made.status_code == 201
    assert owner.names() == ["É"]


@pytest.mark.parametrize("operation", list(operations()), ids=str)
def test_query__of_any_bytes__is_answered(
    world: World, owner: Caller, places: Mapping[str, str], operation: Operation
) -> None:
    path = operation.path.format_map(places)
    texts = ["%E9", "%00", "%ED%A0%80", "%zz", "\xe9", "9" * 5_000]
    queries = [f"{name}={text}" for name in (*operation.parameters, "unknown", "%E9") for text in texts]

    wrong = []
    for query in ["\xe9", "&&&", "=", ";", *queries]:
        response = raw(owner, operation.method, path, query=query)
        if not is_answer(response, operation):
            wrong.append((response.status_code, query[:60]))

    assert wrong == []


ODD_HEADERS: Final = (
    "\xe9",
    "Basic \xe9",
    "Basic 4oKs",
    "Basic " + "A" * 70_000,
    "Bearer \xe9",
    "Bearer \0",
    "Bearer " + "x" * 70_000,
    "Bearer a.b.\xff",
    "Basic 6Q==",
    "Basic AAA6AAA=",
    "application/json; charset=\xe9",
    "application/json; charset=nonsense",
    "application/json; charset=utf-16",
    "multipart/form-data",
    "multipart/form-data; boundary=\xe9",
    "gzip",
    "a=\xff; b",
    "\0",
    "9" * 5_000,
    "-1",
)


@pytest.mark.parametrize(
    "header",
    [
        "authorization",
        "content-type",
        "accept",
        "cookie",
        "accept-language",
        "content-encoding",
        "x-request-id",
        "x-forwarded-for",
        "x-forwarded-proto",
        "if-none-match",
        "if-modified-since",
        "origin",
        "referer",
        "host",
        "content-length",
    ],
)
def test_header__of_any_bytes__is_answered(world: World, owner: Caller, header: str) -> None:
    wrong = []
    for method, path in (("POST", "/api/goals"), ("GET", "/admin/login/")):
        for value in ODD_HEADERS:
            response = raw(owner, method, path, **{header: value})
            if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                wrong.append((response.status_code, method, path, value[:60]))

    assert wrong == []


@pytest.mark.parametrize(
    "path",
    [
        *("/api/\xe9", "/api/goals/\xff", "/admin/\xe9/"),
        *("/api/visitors/\xed\xa0\x80/conversions", f"/api/sites/{SITECODE}/groups/\xed\xa0\x80/traits"),
    ],
)
def test_path__of_any_bytes__is_answered(world: World, owner: Caller, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        assert raw(owner, method, path).status_code < HTTPStatus.INTERNAL_SERVER_ERROR


def raw(owner: Caller, method: str, path: str, *, query: str = "", **headers: str) -> HttpResponse:
    """Send a request to the application. Each character of query and headers is one byte."""
    content = b'{"name": "Buy"}' if method != "GET" else b""
    sent = {
        "host": "localhost",
        "content-type": "application/json",
        "authorization": owner.authorization,
        "content-length": str(len(content)),
        **headers,
    }
    status, answered, body = exchange(
        method,
        path,
        body=content,
        query=query.encode("latin-1"),
        headers=[(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
    )
    return HttpResponse(body, status=status, content_type=answered.get("content-type"))
