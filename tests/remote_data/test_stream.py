"""`GET /sse`: an event for each change of a site's configuration, comments between them, and no stream too many."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from api.ingest.provisioning import create_site
from api.models import SdkConfiguration
from api.models.sdk_configuration import note_configuration_changed
from api.remote_data import stream
from tests.support.asgi import Exchange, wait_for
from tests.world import SITECODE, World


def change(site_id: int, **fields: bool) -> int:
    """Change the configuration of a site, and return its version in milliseconds."""
    version = note_configuration_changed(site_id, now=datetime.now(UTC))
    SdkConfiguration.objects.filter(site_id=site_id).update(**fields)
    return int(version.timestamp() * 1000)


@contextmanager
def opened(sitecode: str = SITECODE, address: bytes = b"203.0.113.1") -> Iterator[Exchange]:
    headers = [(b"x-forwarded-for", address)]
    exchange = Exchange("GET", "/sse", query=f"siteCode={sitecode}".encode(), headers=headers)
    exchange.give(b"")
    try:
        yield exchange
    finally:
        exchange.leave()
        exchange.finish()


def take(exchange: Exchange) -> bytes:
    message = exchange.take()
    assert message is not None
    return bytes(message["body"])


async def take_with_turn(exchange: Exchange) -> tuple[bytes, int]:
    """Return the next piece, and the number of reads of versions that have begun until then."""
    message = await exchange._take()
    assert message is not None
    return message["body"], stream.streams().turns


def ts_of(event: bytes, sitecode: str = SITECODE) -> int:
    head, _, rest = event.decode().partition("\ndata: ")
    found = json.loads(rest)
    assert (head, rest[-2:], found["siteCode"]) == ("event: configuration-update-event", "\n\n", sitecode)
    return int(found["ts"])


def test_stream__of_a_site_with_real_time__has_an_event_at_once_and_for_each_change(world: World) -> None:
    other = create_site(name="Other", sitecode="5t4r3e2w1q")
    first, elsewhere = change(world.site.pk, has_real_time=True), change(other.pk, has_real_time=True)
    with opened() as mine, opened("5t4r3e2w1q") as others:
        head = mine.take()
        assert head is not None
        headers = dict(head["headers"])
        assert (head["status"], headers[b"content-type"]) == (200, b"text/event-stream")
        assert headers[b"access-control-allow-origin"] == b"*"
        assert b"content-length" not in headers  # without it the server sends chunks
        assert ts_of(take(mine)) == first
        others.take()
        assert ts_of(take(others), "5t4r3e2w1q") == elsewhere
        for _ in range(2):
            changed, turns = change(world.site.pk), stream.streams().turns
            event, taken_at = wait_for(take_with_turn(mine))
            assert ts_of(event) == changed
            # On a busy machine turns are late, but not more of them. Two take a second at most.
            assert taken_at - turns <= 2
        assert not others.is_sending()
    assert stream.POLL_SECONDS * 2 <= 1
    assert stream.streams().count == 0


def test_stream__without_a_change__has_comments(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "COMMENT_SECONDS", 0.05)
    change(world.site.pk, has_real_time=True)
    with opened() as exchange:
        exchange.take()
        take(exchange)
        assert take(exchange) == take(exchange) == b": \n\n"


def test_stream__when_real_time_is_switched_off__has_a_last_event_and_ends(world: World) -> None:
    change(world.site.pk, has_real_time=True)
    with opened() as exchange:
        exchange.take()
        take(exchange)
        last = change(world.site.pk, has_real_time=False)
        assert ts_of(take(exchange)) == last
        assert take(exchange) == b""
        assert exchange.take() is None


def test_stream__that_cannot_be_opened__is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    off = world.client.get("/sse", params={"siteCode": SITECODE})
    unknown = world.client.get("/sse", params={"siteCode": "aaaaaaaaaa"})
    change(world.site.pk, has_real_time=True)
    monkeypatch.setattr(stream, "MOST_STREAMS", 0)
    full = world.client.get("/sse", params={"siteCode": SITECODE})

    assert [answer.status_code for answer in (off, unknown, full)] == [404, 404, 503]
    assert [answer.json()["code"] for answer in (off, unknown, full)] == ["not_found", "unknown_site", "unavailable"]
    assert full.headers["retry-after"] == "60"
    assert full.headers["access-control-allow-origin"] == "*"
    assert world.client.post("/sse").status_code == 405


def test_stream__of_a_provider_of_ofrep__tells_it_to_evaluate_again(world: World) -> None:
    change(world.site.pk, has_real_time=True)
    with opened(f"{SITECODE}&protocol=ofrep") as mine:
        mine.take()
        assert take(mine) == b'data: {"type":"refetchEvaluation"}\n\n'
        change(world.site.pk)
        assert take(mine) == b'data: {"type":"refetchEvaluation"}\n\n'


def statuses(*exchanges: Exchange) -> list[int]:
    heads = [exchange.take() for exchange in exchanges]
    return sorted(head["status"] for head in heads if head is not None)


def test_streams__opened_at_once__are_never_more_than_allowed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    change(world.site.pk, has_real_time=True)
    monkeypatch.setattr(stream, "MOST_STREAMS", 2)
    with opened() as first, opened() as second, opened() as third, opened() as fourth:
        assert statuses(first, second, third, fourth) == [200, 200, 503, 503]
    assert stream.streams().count == 0


def test_streams__of_one_address__leave_room_for_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    change(world.site.pk, has_real_time=True)
    monkeypatch.setattr(stream, "MOST_OF_ADDRESS", 1)
    with opened() as mine:
        assert statuses(mine) == [200]
        with opened() as again, opened(address=b"203.0.113.2") as other:
            assert (statuses(again), statuses(other)) == ([503], [200])
    with opened() as later:
        assert statuses(later) == [200]
    assert not stream.streams().by_share
