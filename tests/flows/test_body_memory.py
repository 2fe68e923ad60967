"""Room of bodies: what strangers send takes none of known senders, and all of it is free again after each request."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from api.http.bodies import KNOWN_SENDERS, STRANGERS, BodyMemory
from api.http.endpoint import Request
from api.ingest.provisioning import create_source
from api.models import Message, Source
from tests.support.asgi import Exchange, ask, exchange, wait_for
from tests.support.concurrency import wait_until
from tests.support.tracking import EVENTS, KEY, basic
from tests.world import World

EVENT = json.dumps(EVENTS["track"]).encode()
LARGE = json.dumps({**EVENTS["track"], "properties": {"filling": list(range(120_000))}}).encode()
KNOWN = (b"authorization", basic("server_key")["authorization"].encode())
BROWSER = (b"authorization", basic(KEY)["authorization"].encode())
OTHER = (b"authorization", basic("other_key")["authorization"].encode())
STRANGE = (b"authorization", basic("unknown")["authorization"].encode())
GZIP = (b"content-encoding", b"gzip")


@pytest.fixture(autouse=True)
def _server(world: World, source: Source) -> None:
    create_source(world.site, name="Server", kind="server", write_key="server_key")


@pytest.fixture(autouse=True)
def _all_room_is_free_after_each_test() -> Iterator[None]:
    before = (STRANGERS._left, KNOWN_SENDERS._left)
    yield
    assert (STRANGERS._left, KNOWN_SENDERS._left) == before


@contextmanager
def room(memory: BodyMemory, size: int) -> Iterator[None]:
    """Have other bodies leave only this much room."""
    taken = memory._left - size
    memory.take(taken)
    try:
        yield
    finally:
        memory.give_back(taken)


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_stranger__with_a_large_body__takes_no_room_of_known_senders(world: World, encoding: str) -> None:
    body, headers = (gzip.compress(LARGE), [GZIP]) if encoding else (LARGE, [])
    with room(STRANGERS, 100_000):
        for stranger in (STRANGE, BROWSER):
            assert ask("POST", "/v1/track", body=body, headers=[stranger, *headers]) == 503
        assert ask("POST", "/v1/track", body=body, headers=[KNOWN, *headers]) == 200
        assert ask("POST", "/v1/track", body=EVENT, headers=[STRANGE]) == 401
    with room(KNOWN_SENDERS, 100_000):
        assert ask("POST", "/v1/track", body=body, headers=[KNOWN, *headers]) == 503
        for stranger, status in ((STRANGE, 401), (BROWSER, 200)):
            assert ask("POST", "/v1/track", body=body, headers=[stranger, *headers]) == status
    assert Message.objects.count() == 2


def test_body__in_gzip__takes_its_inflated_size_until_it_is_answered(world: World) -> None:
    """Otherwise a thousand small ones, which wait for a thread or for their commit, fill the memory."""
    compressed = gzip.compress(LARGE)
    assert 1_024 < len(compressed) < len(LARGE) / 2
    lows: list[int] = []

    class Watched(BodyMemory):
        def take(self, size: int, sender: Any = None) -> None:
            super().take(size, sender)
            lows.append(self._left)

    watched: Any = Watched(10_000_000)

    async def read_all() -> None:
        messages = [{"type": "http.request", "body": compressed, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return messages.pop()

        request = Request({"type": "http", "method": "POST", "path": "/", "headers": [GZIP]}, receive)
        assert await request.body(1_048_576, watched) == LARGE
        assert watched._left == 10_000_000 - len(LARGE)
        request.let_go()
        assert watched._left == 10_000_000

    wait_for(read_all())
    assert min(lows) == 10_000_000 - 1_048_576  # while it waits for a thread


@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch", "/segmentio", "/oauth/token", "/v1/m", "/admin/login/"])
@pytest.mark.parametrize("size", [100, 900_000, 5_000_000])
@pytest.mark.parametrize("how", ["whole", "cut", "left"])
def test_room__of_any_body__is_free_again(world: World, path: str, size: int, how: str) -> None:
    headers = [KNOWN, (b"host", b"localhost"), (b"content-length", b"%d" % size)]
    if path == "/segmentio":
        sent = world.post(world.event()).request.headers
        headers[0] = (b"authorization", sent["authorization"].encode())
        headers.append((b"x-segment-settings", sent["x-segment-settings"].encode()))
    begun = Exchange("POST", path, headers=headers)
    begun.give(b"x" * (size // 2), more=True)
    if how == "whole":
        begun.give(b"x" * (size - size // 2))
    elif how == "cut":
        begun.end_too_soon()
    else:
        begun.leave()

    begun.finish()


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br"])
def test_room__of_a_body_that_cannot_be_inflated__is_free_again(world: World, encoding: bytes) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    for body in (LARGE, gzip.compress(LARGE)[:-9], bomb):
        assert ask("POST", "/v1/track", body=body, headers=[KNOWN, (b"content-encoding", encoding)]) in {400, 413}


def begin(key: tuple[bytes, bytes], *, address: str, size: int = 400_000) -> Exchange:
    """Begin a request whose body comes slowly."""
    headers = [key, (b"x-forwarded-for", address.encode()), (b"content-length", b"900000")]
    begun = Exchange("POST", "/v1/track", headers=headers)
    begun.give(b"x" * size, more=True)
    return begun


@pytest.mark.parametrize(
    ("memory", "flood", "other"),
    [
        (STRANGERS, (STRANGE, "192.0.2.1"), (STRANGE, "192.0.2.2")),
        (STRANGERS, (BROWSER, "192.0.2.1"), (BROWSER, "192.0.2.2")),
        (KNOWN_SENDERS, (KNOWN, "192.0.2.1"), (OTHER, "192.0.2.1")),
    ],
)
def test_sender__with_many_slow_bodies__leaves_room_for_others(
    world: World, memory: BodyMemory, flood: tuple[tuple[bytes, bytes], str], other: tuple[tuple[bytes, bytes], str]
) -> None:
    """Otherwise it would take the room of all for a minute, again and again."""
    create_source(world.site, name="Other", kind="server", write_key="other_key")
    with room(memory, 4_000_000):
        slow = [begin(flood[0], address=flood[1]) for _ in range(9)]
        wait_until(lambda: sum(begun.is_sending() for begun in slow) == 4)
        headers = [other[0], (b"x-forwarded-for", other[1].encode())]
        assert ask("POST", "/v1/track", body=LARGE, headers=headers) != 503
        for begun in slow:
            begun.leave()
            begun.finish()


def test_cookies__in_several_headers__are_read_as_one(world: World) -> None:
    """HTTP/2 lets a browser divide its cookies, and a proxy hands on the parts."""
    del world
    browser = Client()
    browser.force_login(User.objects.create(username="root", is_superuser=True))
    session = b"sessionid=" + browser.cookies["sessionid"].value.encode()
    headers = [(b"host", b"localhost"), (b"cookie", session), (b"cookie", b"theme=dark")]
    assert "login" not in exchange("GET", "/admin/", headers=headers)[1]["location"]
    assert "login" in exchange("GET", "/admin/", headers=headers[:1])[1]["location"]


def test_query__of_many_bytes__is_refused_before_it_is_read(world: World) -> None:
    del world
    for path, refused, status in (("/v1/pixel/track", 200, 200), ("/map/map", 414, 400), ("/visit/visitor", 414, 404)):
        assert ask("GET", path, query=b"data=" + b"%41" * 100_000) == refused
        assert ask("GET", path, query=b"data=" + b"%41" * 20_000) == status
