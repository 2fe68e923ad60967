"""Clients that dribble, stop reading or go away cost kilobytes and delay no other request."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import httpx
import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from api.http.database import connection_parameters
from api.http.django_requests import EXPORT_LIMIT
from api.models import Message
from goals.models import Goal
from tests.contract.bodies import needs_proc
from tests.contract.server import Server, Shop
from tests.support.concurrency import count_lock_waits, wait_until
from tests.support.messages import bodies_of

DRIBBLING = 300
GOALS = 8_000
LARGE_FILE = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


@contextmanager
def client_of(server: Server, sent: bytes, *, window: int = 0) -> Iterator[socket.socket]:
    """Yield a connection that has sent these bytes. It receives no more than a small window until it reads."""
    with socket.socket() as client:
        if window:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        client.settimeout(30)
        client.connect(("127.0.0.1", server.port))
        client.sendall(sent)
        yield client


def send_seconds(shop: Shop) -> float:
    """Return how long an event takes, the median of 20."""
    times = []
    for _ in range(20):
        begun = time.monotonic()
        assert shop.post(shop.event()).status_code == 200
        times.append(time.monotonic() - begun)
    return sorted(times)[10]


def head_of(shop: Shop, path: str, length: int) -> bytes:
    given = "".join(f"{name}: {value}\r\n" for name, value in shop.headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{given}Content-Length: {length}\r\n\r\n".encode()


@needs_proc
def test_senders__that_dribble__cost_kilobytes_and_delay_nobody(shop: Shop) -> None:
    alone = send_seconds(shop)
    with ExitStack() as stack:
        before = shop.server.memory()
        paths = ("/segmentio", "/v1/track", "/oauth/token", "/admin/login/")
        senders = [
            stack.enter_context(client_of(shop.server, head_of(shop, paths[number % 4], 10_000)))
            for number in range(DRIBBLING)
        ]
        is_over = threading.Event()

        def dribble() -> None:
            while not is_over.wait(1):
                for sender in senders:
                    sender.send(b" ")

        with ThreadPoolExecutor(1) as threads:
            dribbling = threads.submit(dribble)
            try:
                time.sleep(3)
                beside = send_seconds(shop)
                grown = shop.server.memory() - before
                assert httpx.get(f"{shop.server.url}/admin/login/", headers={"host": "localhost"}).status_code == 200
            finally:
                is_over.set()
            dribbling.result(30)

    assert grown < DRIBBLING * 100_000
    assert beside < 5 * alone + 0.2  # a machine may be busy; one seat taken would be a minute


def test_files__of_clients_that_stop_reading__hold_up_nobody(shop: Shop) -> None:
    ask = f"GET {LARGE_FILE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(client_of(shop.server, ask, window=4_096))
        time.sleep(1)
        begun = time.monotonic()
        assert shop.client.get(LARGE_FILE).status_code == 200
        assert shop.post(shop.event()).status_code == 200
        assert shop.client.get("/health/ready").status_code == 200
        assert time.monotonic() - begun < 10


def test_export__of_clients_that_stop_reading__goes_on_until_they_go(shop: Shop) -> None:
    """Two exports are all that run at a time, so a third one tells whether they have ended."""
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    session = f"sessionid={browser.cookies['sessionid'].value}"
    # Eight megabytes, more than the sockets of both sides take.
    Goal.objects.bulk_create(Goal(site_id=shop.site_id, name=f"{number} {'😀' * 240}") for number in range(GOALS))
    path = f"/admin/s/{shop.sitecode}/goals/export/"
    ask = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {session}\r\n\r\n".encode()

    def export() -> httpx.Response:
        return shop.client.get(path, headers={"cookie": session, "host": "localhost"})

    with ExitStack() as stack:
        for _ in range(EXPORT_LIMIT.running):
            reader = stack.enter_context(client_of(shop.server, ask, window=4_096))
            assert reader.recv(12) == b"HTTP/1.1 200"
        time.sleep(3)
        assert export().status_code == 503
        assert shop.post(shop.event()).status_code == 200

    wait_until(lambda: export().status_code == 200)
    whole = export()
    assert len(whole.content.splitlines()) == GOALS + 1
    assert b"not complete" not in whole.content
    assert "export.failed" not in shop.server.log.read_text()


@pytest.mark.promise("K-83")
def test_connection__after_refused_bodies__takes_many_requests(shop: Shop) -> None:
    sender = http.client.HTTPConnection("127.0.0.1", shop.server.port, timeout=30)
    sender.connect()
    sender.auto_open = 0  # no second connection

    def ask(body: bytes, authorization: str = shop.headers["authorization"]) -> int:
        sender.request("POST", "/segmentio", body, {**shop.headers, "authorization": authorization})
        answer = sender.getresponse()
        answer.read()
        return answer.status

    for _ in range(3):
        assert ask(b" " * 5_000_000, "Basic bad") == 401
        assert ask(b" " * 5_000_000) == 413
        assert [ask(json.dumps(shop.event()).encode()) for _ in range(20)] == [200] * 20
    sender.close()


@contextmanager
def stuck_inbox() -> Iterator[None]:
    """Let no event be stored during the block."""
    with psycopg.connect(**connection_parameters()) as other:
        other.execute("LOCK TABLE api_message IN ACCESS EXCLUSIVE MODE")
        yield


@pytest.mark.promise("N-02", "K-83")
def test_sender__that_goes_while_its_event_is_stored__finds_it_accepted_or_a_duplicate(shop: Shop) -> None:
    events = [shop.event() for _ in range(6)]
    with stuck_inbox(), ExitStack() as stack:
        for number, event in enumerate(events):  # the first is being stored, the others wait behind it
            body = json.dumps(event).encode()
            stack.enter_context(client_of(shop.server, head_of(shop, "/segmentio", len(body)) + body))
            if not number:
                wait_until(lambda: count_lock_waits() > 0)
        time.sleep(0.5)
    time.sleep(0.5)

    answers = [shop.post(event) for event in events]

    assert [answer.status_code for answer in answers] == [200] * 6
    assert {answer.json()["status"] for answer in answers} <= {"accepted", "duplicate"}
    assert Message.objects.count() == 6
    assert set(Message.objects.values_list("message_id", flat=True)) == {event["messageId"] for event in events}
    assert "request.failed" not in shop.server.log.read_text()


def test_events__of_several_sites_that_wait_together__share_commits_and_reach_their_own(
    shop: Shop, other_shop: Shop
) -> None:
    shops = (shop, other_shop)
    assert [each.post(each.event()).status_code for each in shops] == [200, 200]
    Message.objects.all().delete()

    def send(number: int) -> int:
        each = shops[number % 2]
        return each.post(each.event(event=each.sitecode, messageId=f"m{number % 10}")).status_code

    with ThreadPoolExecutor(20) as threads:
        with stuck_inbox():
            first = threads.submit(send, 0)
            wait_until(lambda: count_lock_waits() > 0)
            rest = [threads.submit(send, number) for number in range(1, 20)]
            time.sleep(1)
        assert [each.result(60) for each in (first, *rest)] == [200] * 20

    for each in shops:
        stored = Message.objects.filter(site_id=each.site_id)
        assert {json.loads(body)["event"] for body in bodies_of(stored)} == {each.sitecode}
    assert Message.objects.count() == 10  # of each two sendings of one id to a site, one
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(DISTINCT xmin::text) FROM api_message")
        (commits,) = cursor.fetchone()
    assert commits < 6
