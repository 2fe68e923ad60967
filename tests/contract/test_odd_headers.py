"""Headers with bytes beyond ASCII, and incomplete requests."""

import socket
from contextlib import ExitStack

import httpx
import pytest

from api.http.django_requests import PAGES
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
    of_token = 400 if authorization.startswith(b"Bearer") else 401  # no token is exchanged for another
    for head, expected in (
        ("POST /segmentio HTTP/1.1", 401),
        ("POST /oauth/token HTTP/1.1", of_token),
        ("GET /api/goals HTTP/1.1", 401),
    ):
        assert ask(server, head, shown, b"Content-Length: 2", body=b"{}")[0] == expected


@pytest.mark.parametrize("other", [b"name=\xc3\xa9", b"name=\xff", b"\xe9=1"])
def test_cookies__with_a_letter_beyond_ascii__hide_no_other(
    transactional_db: None, server: Server, other: bytes
) -> None:
    """Another application at the same address may have set it."""
    form = b"csrfmiddlewaretoken=" + b"a" * 32 + b"&username=nobody&password=wrong"
    status, answer = ask(
        server,
        "POST /admin/login/ HTTP/1.1",
        b"Cookie: " + other + b"; csrftoken=" + b"a" * 32,
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Length: %d" % len(form),
        body=form,
    )

    assert status == 200  # with a wrong password; without the cookie it would be 403
    assert b"Form rejected" not in answer


def test_half_forms__however_many__hold_no_page_and_no_health(transactional_db: None, server: Server) -> None:
    with ExitStack() as stack:
        for _ in range(20 * PAGES.limit.running):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        for path in ("/admin/login/", "/health/ready", "/static/api/frame.css"):
            assert httpx.get(f"{server.url}{path}", headers={"host": "localhost"}, timeout=30).status_code == 200
