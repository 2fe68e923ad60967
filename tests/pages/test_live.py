"""Streams of pages: an event when a site has changed, for those who may see it, and no stream too many."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from api.ingest.provisioning import create_site
from api.models import Membership, Role
from api.pages import live
from tests.support.asgi import Exchange
from tests.support.pages import Enter, address, cookie_of
from tests.world import World

CHANGED = b"data: changed\n\n"
CHANGES = address("changes/")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let turns be short, and streams have nothing but what a test causes."""
    monkeypatch.setattr(live.streams(), "turn_seconds", 0.02)
    monkeypatch.setattr(live.streams(), "gap_seconds", 0.0)
    monkeypatch.setattr(live.streams(), "again_after", 60.0)


@contextmanager
def opened(person: Client, path: str = CHANGES, **headers: str) -> Iterator[Exchange]:
    """Open the stream of a site with the cookies of a person."""
    given = {"host": "testserver", "cookie": cookie_of(person), **headers}
    exchange = Exchange("GET", path, headers=[(name.encode(), value.encode()) for name, value in given.items()])
    exchange.give(b"")
    try:
        yield exchange
    finally:
        exchange.leave()
        exchange.finish()


def begin(exchange: Exchange) -> dict[bytes, bytes]:
    """Take the head and the first event of a stream, and return its headers."""
    head = exchange.take()
    assert head is not None
    assert head["status"] == 200, head
    assert take(exchange) == CHANGED
    return dict(head["headers"])


def take(exchange: Exchange) -> bytes:
    message = exchange.take()
    assert message is not None
    return bytes(message["body"])


def status(exchange: Exchange) -> int:
    head = exchange.take()
    assert head is not None
    return int(head["status"])


def test_stream__of_a_member__has_an_event_at_once_and_when_something_happens(world: World, viewer: Client) -> None:
    other = create_site(name="Other", sitecode="5t4r3e2w1q")
    User.objects.get(username="viewer").memberships.create(site=other, role=Role.VIEWER)
    with opened(viewer) as mine, opened(viewer, "/admin/s/5t4r3e2w1q/changes/") as elsewhere:
        headers = begin(mine)
        begin(elsewhere)
        assert headers[b"content-type"] == b"text/event-stream"
        assert headers[b"x-accel-buffering"] == b"no"
        assert {"no-store", "no-transform"} <= set(headers[b"cache-control"].decode().split(", "))
        assert {b"content-length", b"access-control-allow-origin"}.isdisjoint(headers)

        world.post(world.event(event="Buy", userId="u1"))
        assert take(mine) == CHANGED  # it is queued
        world.digest()
        assert take(mine) == CHANGED  # it is processed
        assert not elsewhere.is_sending()
    assert live.streams().count == 0
    assert not live.streams().by_share


def test_stream__without_a_change__says_that_it_is_there(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.05)
    with opened(viewer) as exchange:
        begin(exchange)
        assert take(exchange) == take(exchange) == b"event: quiet\ndata:\n\n"


def test_streams__of_a_site__share_one_read_a_turn(
    world: World, viewer: Client, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    read = live.streams().read

    def read_and_note(site_ids: list[int]) -> object:
        asked.append(site_ids)
        return read(site_ids)

    monkeypatch.setattr(live.streams(), "read", read_and_note)
    before = live.streams().turns
    with opened(viewer) as mine, opened(viewer) as again, opened(owner) as theirs:
        for each in (mine, again, theirs):
            begin(each)
        world.post(world.event(event="Buy", userId="u1"))
        assert {take(each) for each in (mine, again, theirs)} == {CHANGED}
    turns = live.streams().turns - before
    assert len(asked) in {turns - 1, turns}
    assert all(site_ids == [world.site.pk] for site_ids in asked)


def test_stream__of_a_session_that_ended__ends(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert live.ACCESS_SECONDS * 2 <= 60
    monkeypatch.setattr(live, "QUIET_SECONDS", 0.05)
    with opened(viewer) as exchange:
        begin(exchange)
        Session.objects.all().delete()
        monkeypatch.setattr(live, "ACCESS_SECONDS", 0.0)
        exchange.finish()
        assert exchange.is_over()


def test_streams__opened_at_once__do_not_ask_for_their_access_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    scope: Any = {}
    stream: Any = None

    async def ask(_: object) -> live.WatchResponse:
        asked.append(1)
        return live.WatchResponse(1, 1)

    async def work() -> None:
        accesses = [live.AccessOf(scope, (1, 1)) for _ in range(40)]
        monkeypatch.setattr(live, "ACCESS_SECONDS", 0.2)
        await asyncio.sleep(0.3)
        assert all([await access.is_kept(stream) for access in accesses])

    monkeypatch.setattr(live, "ask", ask)
    asyncio.run(work())
    assert 0 < len(asked) < 40


def test_stream__of_a_removed_member__ends_also_while_much_happens(
    world: World, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(viewer) as exchange:
        begin(exchange)
        Membership.objects.all().delete()
        monkeypatch.setattr(live, "ACCESS_SECONDS", 0.0)
        world.post(world.event(event="Buy", userId="u1"))
        assert take(exchange) == CHANGED
        assert take(exchange) == b""
        assert exchange.take() is None


def test_stream__that_may_not_be_opened__is_refused(world: World, enter: Enter, viewer: Client) -> None:
    with opened(enter("anonymous")) as nobody, opened(enter("outsider")) as outsider:
        assert (status(nobody), status(outsider)) == (302, 404)
    for site in ("cross-site", "same-site", "none"):
        with opened(viewer, **{"sec-fetch-site": site}) as elsewhere:
            assert status(elsewhere) == 403
    with opened(viewer, **{"sec-fetch-site": "same-origin"}) as mine:
        begin(mine)
    assert viewer.post(CHANGES).status_code == viewer.head(CHANGES).status_code == 405


@pytest.mark.parametrize(("limit", "expected"), [("MOST_OF_PERSON", (503, 200)), ("MOST_OF_SITE", (503, 503))])
def test_streams__opened_at_once__are_never_more_than_allowed(
    viewer: Client, owner: Client, monkeypatch: pytest.MonkeyPatch, limit: str, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr(live, limit, 1)
    with opened(viewer) as mine:
        begin(mine)
        with opened(viewer) as again, opened(owner) as another:
            assert (status(again), status(another)) == expected
    with opened(viewer) as later:
        begin(later)


def test_streams__of_a_process__are_never_more_than_allowed(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_STREAMS", 0)
    with opened(viewer) as exchange:
        code, headers, body = exchange.read()
    assert (code, headers["retry-after"]) == (503, "60")
    assert b"Too many live pages are open" in body
