"""Room of bodies: what strangers send takes none of known senders, and all of it is free again after each request."""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from api.http.bodies import KNOWN_SENDERS, STRANGERS, BodyMemory
from api.http.endpoint import Request
from api.ingest.provisioning import create_source
from api.models import Message, Source
from tests.support.asgi import Exchange, ask, wait_for
from tests.support.tracking import EVENTS, KEY, basic
from tests.world import World

EVENT = json.dumps(EVENTS["track"]).encode()
LARGE = json.dumps({**EVENTS["track"], "properties": {"filling": list(range(120_000))}}).encode()
KNOWN = (b"authorization", basic("server_key")["authorization"].encode())
BROWSER = (b"authorization", basic(KEY)["authorization"].encode())
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
        def take(self, size: int) -> None:
            super().take(size)
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
