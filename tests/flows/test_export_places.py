"""Places of pages and of exports while other requests wait for them."""

import threading
import time
from collections.abc import Iterator

import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from api.http.django_requests import EXPORT_LIMIT, INCOMPLETE, PAGES
from tests.support.concurrency import wait_until
from tests.support.limits import free_places, full, get, take_first, with_short_waits
from tests.world import World


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from with_short_waits(monkeypatch)


closed = threading.Event()  # of the pieces that were made last


def pieces() -> Iterator[bytes]:
    closed.clear()
    try:
        yield b"first"
        assert free_places(PAGES.limit) == PAGES.limit.running - 1  # it is made in the place of a page
        yield b"second"
    finally:
        closed.set()


def broken_pieces() -> Iterator[bytes]:
    yield b"first"
    raise KeyError("the database went away")


def endless_pieces() -> Iterator[bytes]:
    closed.clear()
    try:
        while True:
            yield b"x" * 65_536
    finally:
        closed.set()


def stream(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces())


def stream_broken(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(broken_pieces())


def stream_endlessly(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(endless_pieces())


def fail(_: HttpRequest) -> HttpResponse:
    raise KeyError("a defect")


urlpatterns = [
    path("admin/stream", stream),
    path("admin/broken", stream_broken),
    path("admin/endless", stream_endlessly),
    path("admin/fail", fail),
]
handler500 = "api.rest.errors.answer_server_error"


@override_settings(ROOT_URLCONF=__name__)
def test_export__while_it_is_sent__holds_no_place_of_a_page(world: World) -> None:
    begun = get("/admin/stream")
    bodies = []
    for _ in range(3):  # the head and two pieces
        wait_until(begun.is_sending)
        assert free_places(PAGES.limit) == PAGES.limit.running
        assert free_places(EXPORT_LIMIT) == EXPORT_LIMIT.running - 1
        message = begun.take()
        assert message is not None
        bodies.append(message.get("body"))
    assert bodies == [None, b"first", b"second"]
    assert begun.read_rest() == b""
    assert closed.is_set()
    assert free_places(EXPORT_LIMIT) == EXPORT_LIMIT.running


@override_settings(ROOT_URLCONF=__name__)
def test_export__whose_reader_goes__ends_and_gives_its_place_back(world: World) -> None:
    for target in ("/admin/stream", "/admin/endless"):
        for _ in range(EXPORT_LIMIT.running + 1):
            begun = get(target)
            take_first(begun)
            begun.leave()
            wait_until(begun.is_over)
            assert closed.is_set()


@override_settings(ROOT_URLCONF=__name__)
def test_export__while_others_hold_every_place__waits_for_its_turn_and_is_not_broken_off(world: World) -> None:
    begun = get("/admin/endless")
    begun.take()
    wait_until(begun.is_sending)
    with full(PAGES.limit):
        begun.take()
        time.sleep(0.2)
        assert not begun.is_sending()

    assert begun.take() == {"type": "http.response.body", "body": b"x" * 65_536, "more_body": True}
    begun.leave()
    wait_until(begun.is_over)


@override_settings(ROOT_URLCONF=__name__)
def test_export__that_breaks_off__says_so_at_its_end_and_gives_its_place_back(world: World) -> None:
    for _ in range(EXPORT_LIMIT.running + 1):
        assert get("/admin/broken").read()[2] == b"first" + INCOMPLETE


@override_settings(ROOT_URLCONF=__name__)
def test_exports__full__are_refused_and_pages_are_not(world: World) -> None:
    begun = [get("/admin/endless") for _ in range(EXPORT_LIMIT.running)]
    for each in begun:
        wait_until(each.is_sending)

    status, headers, answer = get("/admin/stream").read()
    assert (status, headers["retry-after"]) == (503, "2")
    assert b"Not available just now" in answer
    assert free_places(PAGES.limit) == PAGES.limit.running
    for each in begun:
        each.leave()


@override_settings(ROOT_URLCONF=__name__)
def test_view__that_fails__gives_its_place_back(world: World) -> None:
    for _ in range(PAGES.limit.running + 1):
        assert b"Server Error" in get("/admin/fail").read()[2]
