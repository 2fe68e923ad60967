"""Connections stay open or close as genuine clients need it."""

import gzip
import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.models import Message
from tests.contract.node import needs_node, run_node
from tests.contract.server import Server, Shop
from tests.support.messages import body_of

EVENT = b'{"type":"track","event":"Signed Up","userId":"user-1"}'
SENDER = Path(__file__).with_name("sender.mjs")


def request(shop: Shop, *headers: str, body: bytes = EVENT) -> bytes:
    """Return a request with an event and additional headers as bytes."""
    given = [f"{name}: {value}" for name, value in shop.headers.items()]
    return "\r\n".join(["POST /segmentio HTTP/1.1", "Host: goalpost.test", *given, *headers, "", ""]).encode() + body


def talk(server: Server, sent: bytes) -> bytes:
    """Return all bytes until the server closes the connection. Fail if it stays open for 10 s."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(sent)
        while piece := connection.recv(65536):
            received += piece
    return received


@pytest.mark.promise("K-37", "W1")
@pytest.mark.parametrize("body", [EVENT, b"{", b'{"name":"Home"}'])
def test_server__asked_to_close__says_so_and_does(shop: Shop, body: bytes) -> None:
    """Without the echo a genuine client considers the connection open and loses its next event."""
    answer = talk(shop.server, request(shop, "Connection: close", f"Content-Length: {len(body)}", body=body))

    head, _, content = answer.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head.lower()
    assert json.loads(content)["success"] is (body == EVENT)


def test_server__not_asked_to_close__keeps_the_connection(shop: Shop) -> None:
    first = request(shop, f"Content-Length: {len(EVENT)}")
    last = request(shop, f"Content-Length: {len(EVENT)}", "Connection: close")

    answer = talk(shop.server, first + last)

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.lower().count(b"\r\nconnection: close") == 1


@pytest.mark.promise("K-37")
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_server__body_of_a_refused_request__is_never_read_as_the_next_request(shop: Shop, framing: str) -> None:
    """The server answers 401 before it reads the body, and must not parse the body as the next request."""
    smuggled = b"GET /segmentio/getapikey?id=a&secret=b HTTP/1.1\r\nHost: goalpost.test\r\n\r\n" * 3
    headers = ["POST /segmentio HTTP/1.1", "Host: goalpost.test"]
    if framing == "length":
        sent = "\r\n".join([*headers, f"Content-Length: {len(smuggled)}", "", ""]).encode() + smuggled
    else:
        sent = "\r\n".join([*headers, "Transfer-Encoding: chunked", "", ""]).encode()
        sent += b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled)
    last = b"GET /health/live HTTP/1.1\r\nHost: goalpost.test\r\nConnection: close\r\n\r\n"

    answer = talk(shop.server, sent + last)

    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.endswith(b'{"status":"ok"}')


@pytest.mark.promise("K-83")
def test_server__connection_after_a_refusal__takes_events(shop: Shop) -> None:
    """After a refusal the connection still works, or the answer says that it closes."""
    for body, authorization, status in [
        (b" " * 200_000, "Basic bad", 401),
        (b" " * 1_048_577, shop.headers["authorization"], 413),
        (b"{", shop.headers["authorization"], 400),
        (EVENT, shop.headers["authorization"], 200),
    ]:
        assert shop.post(body, authorization=authorization).status_code == status


@pytest.mark.promise("K-83")
def test_server__sender_that_hangs_up_halfway__stores_no_event_and_reports_no_failure(shop: Shop) -> None:
    with socket.create_connection(("127.0.0.1", shop.server.port), timeout=10) as connection:
        connection.sendall(request(shop, f"Content-Length: {len(EVENT) + 100}"))
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")

    shop.send(shop.event(event="Afterwards"))

    assert list(shop.goals()) == ["SegmentIO track – Afterwards"]
    statuses = sorted(Message.objects.values_list("status", "reason"))
    assert statuses == [("done", ""), ("rejected", "invalid_json")]  # stored without an event
    assert "request.failed" not in shop.server.log.read_text()


@needs_node
@pytest.mark.promise("K-01", "W1")
@pytest.mark.parametrize("agent", ["default", "keepAlive", "closing"])
def test_node__many_requests_that_close__all_arrive(shop: Shop, agent: str) -> None:
    """Node's default agent reuses a connection if the answer does not say `close`, and fails on it."""
    result = run_node(SENDER, {"url": shop.server.url, "headers": shop.headers, "agent": agent, "count": 60})

    assert result == {"statuses": {"200": 60}, "errors": []}


@pytest.mark.parametrize("path", ["/segmentio", "/map/map", "/oauth/token"])
def test_server__strangers_that_never_finish_their_bodies__keep_nobody_waiting(shop: Shop, path: str) -> None:
    """Reading a body has no time limit, and there are only 32 threads."""
    started = f"POST {path} HTTP/1.1\r\nHost: goalpost.test\r\nContent-Length: 10\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(40):
            address = ("127.0.0.1", shop.server.port)
            connection = stack.enter_context(socket.create_connection(address, timeout=10))
            connection.sendall(started)
        time.sleep(0.5)

        begun = time.monotonic()
        assert shop.post(EVENT).status_code == 200
        assert shop.client.post("/oauth/token", auth=(shop.client_id, shop.secret)).status_code == 200
        assert time.monotonic() - begun < 5

    form = {"client_id": shop.client_id, "client_secret": shop.secret}
    while shop.client.post("/oauth/token", data=form).status_code != 200:  # until the threads are free again
        assert time.monotonic() - begun < 10
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ((f"Content-Length: {len(EVENT)}",), EVENT[:-9]),
        (("Transfer-Encoding: chunked",), b"2d\r\n" + EVENT[:45] + b"\r\n"),
        (("Transfer-Encoding: chunked",), b"36\r\n" + EVENT[:45]),
        (
            ("Transfer-Encoding: chunked", "Content-Encoding: gzip"),
            b"2d\r\n" + gzip.compress(EVENT, mtime=0)[:45] + b"\r\n",
        ),
    ],
    ids=["length", "between chunks", "within a chunk", "gzip"],
)
def test_body__of_a_sender_that_hangs_up__is_kept_as_far_as_it_came_and_is_no_event(
    shop: Shop, headers: tuple[str, ...], body: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", shop.server.port), timeout=10) as connection:
        connection.sendall(request(shop, *headers, body=body))
        time.sleep(0.2)
    kept = wait_for_message()

    assert (kept.status, kept.type) == ("rejected", "")
    assert EVENT.startswith(body_of(kept))
    assert len(body_of(kept)) > 20


def wait_for_message() -> Message:
    """Wait until the only message is stored, and return it."""
    until = time.monotonic() + 10
    while (message := Message.objects.first()) is None:
        assert time.monotonic() < until
        time.sleep(0.05)
    return message
