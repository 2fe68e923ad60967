"""Headers with bytes beyond ASCII, which the web server blanks, and incomplete requests."""

import socket
from contextlib import ExitStack

import httpx
import pytest

from api.http.django_requests import BODY_LIMIT
from api.ingest.provisioning import create_site
from tests.contract.server import Server

SITECODE = "aaaaaaaaaa"


def ask(server: Server, head: str, *headers: bytes, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request and return its status and all received bytes."""
    lines = [head.encode(), b"Host: localhost", b"Connection: close", *headers]
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"\r\n".join([*lines, b"", b""]) + body)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return int(answer.split(b" ", 2)[1]), answer


@pytest.mark.parametrize(
    "authorization",
    [b"Basic caf\xc3\xa9", b"Bearer \xe9", b"\xff", b"", b" ", b"Basic YTpi, Basic \xe9"],
)
def test_authorization__with_a_byte_beyond_ascii__is_no_anonymous_reader(
    transactional_db: None, server: Server, authorization: bytes
) -> None:
    create_site(name="Shop", sitecode=SITECODE, public_traits=["plan"])
    for path in (f"/map/map?siteCode={SITECODE}&key=common", f"/map/maps?siteCode={SITECODE}&keys=[%22common%22]"):
        assert ask(server, f"GET {path} HTTP/1.1")[0] == 200
        status, answer = ask(server, f"GET {path} HTTP/1.1", b"Authorization: " + authorization)
        assert status == 401
        assert answer.endswith(b"{}")
    shown = b"Authorization: " + authorization
    for head in ("POST /segmentio HTTP/1.1", "POST /oauth/token HTTP/1.1", "GET /api/goals HTTP/1.1"):
        assert ask(server, head, shown, b"Content-Length: 2", body=b"{}")[0] == 401


def test_cookies__with_a_letter_beyond_ascii__are_named_as_the_reason(transactional_db: None, server: Server) -> None:
    status, answer = ask(
        server,
        "POST /admin/login/ HTTP/1.1",
        *(b"Cookie: csrftoken=" + b"a" * 32 + b"; name=\xc3\xa9", b"Content-Length: 0"),
    )

    assert status == 403
    assert b"a character beyond ASCII" in answer


def test_half_forms__however_many__hold_no_page_and_no_health(transactional_db: None, server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(3 * BODY_LIMIT.running):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        for path in ("/admin/login/", "/health/ready", "/static/api/colors.css"):
            assert httpx.get(f"{server.url}{path}", headers={"host": "localhost"}, timeout=30).status_code == 200
