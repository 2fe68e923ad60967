"""Whatever bytes come in the headers and the query of the wire endpoints: an answer, never a defect."""

from http import HTTPStatus
from typing import Final

import pytest

from api.asgi import ENDPOINTS
from tests.support.asgi import ask
from tests.support.tracking import KEY
from tests.world import SITECODE, World

VALUES: Final = (
    "\xe9",
    "\0",
    "Basic \xe9",
    "Basic 4oKs",
    "Basic 6Q==",
    "Basic AAA6AAA=",
    "Basic eyJpZCI6ICJcdWQ4MDAiLCAic2VjcmV0IjogIlx1ZDgwMCJ9",  # {"id": "\ud800", "secret": "\ud800"}
    "Basic eyJpZCI6IFtdLCAic2VjcmV0Ijoge319",  # {"id": [], "secret": {}}
    "Basic " + "A" * 70_000,
    "Bearer \xe9",
    "Bearer a.b.\xff",
    "Bearer " + "\0" * 10,
    "9" * 5_000,
    "-1",
    "gzip",
    "br",
    "[" * 5_000,
)
HEADERS: Final = (
    b"authorization",
    b"x-segment-settings",
    b"content-encoding",
    b"origin",
    b"host",
    b"access-control-request-headers",
    b"x-forwarded-proto",
    b"content-type",
    b"content-length",
)
QUERIES: Final = tuple(
    query.format(value)
    for value in ("%E9", "%00", "%ED%A0%80", "\xe9", "%", "[" * 3_000, "9" * 5_000, "%5B1%2C%22%5Cud800%22%5D")
    for query in (
        f"siteCode={SITECODE}&key={{0}}&keys={{0}}",
        "siteCode={0}&key=a&keys=%5B%22a%22%5D",
        "id={0}&secret={0}&writeKey={0}&data={0}",
        "{0}={0}",
    )
)


@pytest.mark.parametrize("path", sorted({path.rstrip("/") for path in ENDPOINTS} | {f"/v1/projects/{KEY}/settings"}))
def test_wire__of_any_bytes__is_answered(world: World, path: str) -> None:
    wrong = []
    for method in ("GET", "POST", "OPTIONS"):
        for name in HEADERS:
            for value in VALUES:
                status = ask(method, path, headers=[(name, value.encode("latin-1"))])
                if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    wrong.append((status, method, name, value[:60]))
        for query in QUERIES:
            status = ask(method, path, query=query.encode("latin-1"))
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                wrong.append((status, method, b"query", query[:60]))

    assert wrong == []


@pytest.mark.parametrize(
    "path", ["/v1/projects/\xe9/settings", "/v1/projects/\0/settings", "/v1/\xff", "/map/\xe9", "/\xe9"]
)
def test_path__of_any_bytes__is_answered(world: World, path: str) -> None:
    for method in ("GET", "POST"):
        assert ask(method, path) < HTTPStatus.INTERNAL_SERVER_ERROR
