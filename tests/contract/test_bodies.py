"""Limits of bodies on the wire and in memory (promises K-24, K-25)."""

import gzip
import http.client
import json
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from api.models import Message
from tests.contract.bodies import MEBIBYTE, bomb, in_pieces, needs_proc
from tests.contract.server import Shop
from tests.support.messages import body_of

LIMIT = 1_048_576
FLAT = 64 * MEBIBYTE


def event_of(size: int) -> bytes:
    """Return an event of exactly `size` bytes."""
    start = b'{"type":"track","event":"Large","userId":"user-1","properties":{"filling":"'
    return start + b"x" * (size - len(start) - 3) + b'"}}'


def post(shop: Shop, body: bytes, coding: str) -> httpx.Response:
    if coding == "chunked":
        return shop.post(in_pieces(body))
    if coding == "gzip":
        return shop.post(gzip.compress(body), content_encoding="gzip")
    if coding == "chunked gzip":
        return shop.post(in_pieces(gzip.compress(body)), content_encoding="gzip")
    return shop.post(body)


CODINGS = pytest.mark.parametrize("coding", ["length", "chunked", "gzip", "chunked gzip"])


@pytest.mark.promise("K-24", "K-25", "K-78")
@CODINGS
def test_body__of_the_largest_size__is_stored_whole(shop: Shop, coding: str) -> None:
    answer = post(shop, event_of(LIMIT), coding)

    assert (answer.status_code, answer.json()["status"]) == (200, "accepted")
    assert body_of(Message.objects.get()) == event_of(LIMIT)


@pytest.mark.promise("K-24", "K-25")
@CODINGS
@pytest.mark.parametrize("size", [LIMIT + 1, 8 * LIMIT])
def test_body__too_large__is_413_in_json(shop: Shop, coding: str, size: int) -> None:
    answer = post(shop, event_of(size), coding)

    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/json")
    assert (answer.json()["success"], answer.json()["code"]) == (False, "too_large")
    kept = Message.objects.get()
    assert (kept.status, kept.reason, body_of(kept)) == ("rejected", "too_large", event_of(size)[:4096])


@pytest.mark.promise("K-24", "K-25")
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl on the PATH")
@pytest.mark.parametrize("header", ["Expect: 100-continue", "Expect:", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("size", [LIMIT + 1, 8 * LIMIT])
def test_curl__with_a_body_too_large__shows_the_reason(shop: Shop, tmp_path: Path, header: str, size: int) -> None:
    (tmp_path / "body").write_bytes(event_of(size))
    headers = [part for name, value in shop.headers.items() for part in ("--header", f"{name}: {value}")]
    command = ["curl", "--silent", "--show-error", "--max-time", "20", *headers, "--header", header]
    command += [
        "--data-binary",
        f"@{tmp_path / 'body'}",
        "--write-out",
        "\n%{http_code}",
        f"{shop.server.url}/segmentio",
    ]

    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    body, _, status = done.stdout.rpartition("\n")
    assert (done.returncode, status, json.loads(body)["code"]) == (0, "413", "too_large"), done.stderr


@pytest.mark.promise("K-24", "K-25")
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_sender__that_reads_nothing_before_all_is_written__still_gets_the_answer(shop: Shop, coding: str) -> None:
    """Many clients and proxies do so. If the connection closes too early, Caddy answers 502, which senders retry."""
    for _ in range(5):
        sender = http.client.HTTPConnection("127.0.0.1", shop.server.port, timeout=20)
        body = in_pieces(event_of(8 * LIMIT)) if coding == "chunked" else event_of(8 * LIMIT)
        sender.request("POST", "/segmentio", body, shop.headers, encode_chunked=coding == "chunked")
        answer = sender.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (413, "too_large")
        sender.close()


@needs_proc
@pytest.mark.promise("K-24")
@pytest.mark.parametrize("inflated", [8 * MEBIBYTE, 1024 * MEBIBYTE])
def test_body__gzip_bomb__is_413_and_takes_no_memory(shop: Shop, inflated: int) -> None:
    assert gzip.decompress(bomb(MEBIBYTE)) == b" " * MEBIBYTE
    shop.post(event_of(LIMIT))  # allocates the memory that a legal body needs
    before = shop.server.peak_memory()

    answer = shop.post(bomb(inflated), content_encoding="gzip")

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert shop.server.peak_memory() - before < FLAT


@needs_proc
@pytest.mark.promise("K-24")
@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_body__of_50_mb__is_413_and_takes_no_memory(shop: Shop, coding: str) -> None:
    shop.post(event_of(LIMIT))
    before = shop.server.peak_memory()

    answer = post(shop, event_of(50_000_000), coding)

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert shop.server.peak_memory() - before < FLAT
    assert shop.client.get("/health/live").status_code == 200


@pytest.mark.promise("K-25", "W1")
def test_path__with_a_slash__takes_the_event_itself(shop: Shop) -> None:
    """After a redirect the request would arrive as a GET without a body, and the sender would count it as delivered."""
    answer = shop.post(event_of(200), path="/segmentio/")

    assert (answer.status_code, answer.json()["status"], answer.history) == (200, "accepted", [])


@pytest.mark.promise("K-25")
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/segmentio", "/segmentio/"])
def test_path__asked_in_another_way__is_405_in_json(shop: Shop, method: str, path: str) -> None:
    answer = shop.client.request(method, path, headers=shop.headers)

    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert answer.json()["code"] == "method_not_allowed"


@needs_proc
@pytest.mark.promise("K-24")
def test_bodies__gzip_of_many_strangers_at_once__take_bounded_memory(shop: Shop) -> None:
    """Three kilobytes each, which become three megabytes: those beyond the room of strangers are refused."""
    shop.post(event_of(LIMIT))
    before = shop.server.peak_memory()
    body = bomb(3 * MEBIBYTE)
    head = f"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    statuses = set()
    with ExitStack() as stack:
        senders = [
            stack.enter_context(socket.create_connection(("127.0.0.1", shop.server.port), timeout=60))
            for _ in range(200)
        ]
        for sender in senders:
            sender.sendall(head.encode() + body)
        assert shop.post(event_of(LIMIT)).status_code == 200
        for sender in senders:
            statuses.add(sender.recv(65_536).split(b" ", 2)[1])

    assert statuses <= {b"401", b"503"}
    assert b"401" in statuses
    assert shop.server.peak_memory() - before < 3 * FLAT  # all of them are 600 MB
