"""Requests that Django answers run within limits, and hold up no event, remote data or health."""

import io
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import httpx
import pytest
from api.wsgi import application
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client, override_settings
from django.urls import path

from api.http import passwords, static_files
from api.http.concurrency import ConcurrencyLimit, LimitReachedError
from api.http.django_requests import (
    BODY_BYTES,
    BODY_LIMIT,
    EXPORT_LIMIT,
    HEAD_BYTES,
    INCOMPLETE,
    PAGE_LIMIT,
    SIGN_IN_BYTES,
    SIGN_IN_LIMIT,
)
from api.ingest.provisioning import create_source
from tests.world import World

WRITE_KEY = "test_write_key_0001"
FORM = {"csrfmiddlewaretoken": "a" * 32, "username": "ada", "password": "wrong"}
LIMITS = (PAGE_LIMIT, SIGN_IN_LIMIT, BODY_LIMIT, EXPORT_LIMIT, static_files.LARGE)
LARGE_FILE = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Shorten the waits, and require that every place is free after each test."""
    for limit in LIMITS:
        monkeypatch.setattr(limit, "patience", min(limit.patience, 0.02))
    yield
    for limit in LIMITS:
        assert free_places(limit) == limit.running


def free_places(limit: ConcurrencyLimit) -> int:
    """Return how many more may run, by taking them."""
    taken = 0
    with suppress(LimitReachedError):
        while True:
            limit.enter()
            taken += 1
    for _ in range(taken):
        limit.leave()
    return taken


@contextmanager
def full(limit: ConcurrencyLimit) -> Iterator[None]:
    """Have others hold every place."""
    with ExitStack() as stack:
        for _ in range(limit.running):
            stack.enter_context(limit.place())
        yield


@pytest.fixture
def signed_in(world: World) -> dict[str, str]:
    """Return the session of an administrator, created without a password."""
    user = User.objects.create(username="root", is_superuser=True, is_staff=True)
    client = Client()
    client.force_login(user)
    return {"cookie": f"sessionid={client.cookies['sessionid'].value}", "host": "localhost"}


def sign_in(world: World) -> httpx.Response:
    headers = {"cookie": f"csrftoken={'a' * 32}", "host": "localhost"}
    return world.client.post("/admin/login/", data=FORM, headers=headers)


# Full


def test_pages__full__refuse_with_a_page_and_the_api_with_json(world: World, signed_in: dict[str, str]) -> None:
    with full(PAGE_LIMIT):
        page = world.client.get("/admin/s/1q2w3e4r5t/", headers=signed_in)
        form = world.client.post("/admin/s/1q2w3e4r5t/settings/save/", headers=signed_in, data={"name": "x"})
        api = world.client.get("/api/goals", headers={"host": "localhost"})

    assert [each.status_code for each in (page, form, api)] == [503, 503, 503]
    assert {each.headers["retry-after"] for each in (page, form, api)} == {"2"}
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "api/alone.css" in page.text
    assert "Nothing was changed" in page.text
    assert 'http-equiv="refresh" content="2"' in page.text
    assert "refresh" not in form.text  # it would be asked for as a page
    assert page.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert api.json()["code"] == "unavailable"
    assert world.client.get("/admin/s/1q2w3e4r5t/", headers=signed_in).status_code == 200


def test_everything_of_django__full__holds_no_event_no_read_no_health_no_file(world: World) -> None:
    create_source(world.site, name="Web", kind="browser", write_key=WRITE_KEY)
    with ExitStack() as stack:
        for limit in LIMITS:
            stack.enter_context(full(limit))
        event = {"event": "Bought", "userId": "user-1"}
        answers = [
            world.client.post("/v1/track", json=event, params={"writeKey": WRITE_KEY}),
            world.post(world.event()),
            world.get("common"),
            world.client.get("/health/live"),
            world.client.get("/health/ready"),
            world.client.get("/static/api/alone.css"),
        ]
        assert [each.status_code for each in answers] == [200] * 6
        assert world.client.get("/nothing").status_code == 404


def test_sign_ins__full__hold_nobody_who_is_signed_in(world: World, signed_in: dict[str, str]) -> None:
    with full(SIGN_IN_LIMIT):
        assert sign_in(world).status_code == 503
        assert world.client.get("/admin/login/", headers={"host": "localhost"}).status_code == 200
        assert world.client.get("/admin/s/1q2w3e4r5t/", headers=signed_in).status_code == 200
    with full(PAGE_LIMIT):
        assert sign_in(world).status_code == 200  # with a wrong password


def test_threads__that_django_can_hold__leave_a_third_to_senders_and_readers() -> None:
    from api.management.commands.up import web_command

    command = web_command()
    threads = int(command[command.index("--blocking-threads") + 1])

    assert sum(limit.threads for limit in LIMITS) <= threads * 2 / 3


# Bodies


class Half(io.RawIOBase):
    """A body of which half comes; meanwhile no place of a page or a sign-in may be taken."""

    def __init__(self) -> None:
        self.free: list[int] = []
        self._left = b"username=a"

    def read(self, _size: int = -1) -> bytes:
        self.free.append(free_places(PAGE_LIMIT) + free_places(SIGN_IN_LIMIT))
        left, self._left = self._left, b""
        return left


@pytest.mark.parametrize("target", ["/admin/login/", "/api/goals"])
def test_body__that_comes_slowly_and_in_half__waits_for_no_place_and_changes_nothing(world: World, target: str) -> None:
    body, started = Half(), []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": target,
        "QUERY_STRING": "",
        "CONTENT_LENGTH": "20",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "wsgi.input": body,
    }
    answer = b"".join(application(environ, lambda status, _headers: started.append(status)))

    assert started == ["400 Bad Request"]
    assert b"ended too soon" in answer
    assert body.free == [PAGE_LIMIT.running + SIGN_IN_LIMIT.running] * 2


def test_bodies__full__are_refused_and_pages_are_not(world: World, signed_in: dict[str, str]) -> None:
    with full(BODY_LIMIT):
        assert sign_in(world).status_code == 503
        assert world.client.get("/admin/s/1q2w3e4r5t/", headers=signed_in).status_code == 200


@pytest.mark.parametrize("target", ["/admin/login/", "/api/goals", "/admin/s/1q2w3e4r5t/settings/save/"])
def test_body__too_large__is_refused_before_it_is_read_into_memory(world: World, target: str) -> None:
    headers = {"host": "localhost", "content-type": "multipart/form-data; boundary=x"}
    large = world.client.post(target, content=b"x" * (BODY_BYTES + 1), headers=headers)

    assert large.status_code == 413
    assert ("Too large" in large.text) is target.startswith("/admin")


def test_body__of_a_sign_in__is_small(world: World) -> None:
    headers = {"cookie": f"csrftoken={'a' * 32}", "host": "localhost"}
    large = world.client.post("/admin/login/", data={**FORM, "password": "p" * SIGN_IN_BYTES}, headers=headers)

    assert large.status_code == 413
    assert sign_in(world).status_code == 200


@pytest.mark.parametrize("header", ["cookie", "accept", "content-type", "if-none-match", "x-forwarded-host"])
def test_head__larger_than_any_browser_sends__is_refused(world: World, header: str) -> None:
    for target in ("/admin/login/", "/api/goals"):
        headers = {"host": "localhost", header: "a;" * HEAD_BYTES}
        assert world.client.get(target, headers=headers).status_code == 400
        headers[header] = "a=b;" * 4_000
        assert world.client.get(target, headers=headers).status_code != 400
        headers[header] = "a=b;" * 400
        assert world.client.get(f"{target}?{'a' * (HEAD_BYTES - 1_000)}", headers=headers).status_code == 400


def test_query__with_more_parameters_than_anybody_sends__is_refused(world: World) -> None:
    create_source(world.site, name="Web", kind="browser", write_key=WRITE_KEY)
    many, some = "&a" * 1_000, "&a" * 900
    for rest, status in ((many, 400), (some, 200)):
        assert world.client.get(f"/map/map?siteCode=1q2w3e4r5t&key=common{rest}").status_code == status
        event = {"event": "Bought", "userId": "user-1"}
        assert world.client.post(f"/v1/track?writeKey={WRITE_KEY}{rest}", json=event).status_code == status


# Streams and failures


def pieces() -> Iterator[bytes]:
    yield b"first"
    assert free_places(PAGE_LIMIT) == PAGE_LIMIT.running - 1  # it is made in the place of a page
    yield b"second"


def broken_pieces() -> Iterator[bytes]:
    yield b"first"
    raise KeyError("the database went away")


def stream(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces())


def stream_broken(_: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(broken_pieces())


def fail(_: HttpRequest) -> HttpResponse:
    raise KeyError("a defect")


urlpatterns = [path("admin/stream", stream), path("admin/broken", stream_broken), path("admin/fail", fail)]
handler500 = "api.rest.errors.answer_server_error"


def ask(target: str) -> Any:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": target,
        "QUERY_STRING": "",
        "wsgi.input": io.BytesIO(),
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "HTTP_HOST": "localhost",
        "wsgi.url_scheme": "http",
    }
    return application(environ, lambda _status, _headers: None)


@override_settings(ROOT_URLCONF=__name__)
def test_export__while_it_is_sent__holds_no_place_of_a_page(world: World) -> None:
    body = ask("/admin/stream")
    assert free_places(PAGE_LIMIT) == PAGE_LIMIT.running
    assert free_places(EXPORT_LIMIT) == EXPORT_LIMIT.running - 1

    assert list(body) == [b"first", b"second"]
    assert free_places(EXPORT_LIMIT) == EXPORT_LIMIT.running
    body.close()  # the server closes it, too


@override_settings(ROOT_URLCONF=__name__)
def test_export__whose_reader_goes__gives_its_place_back(world: World) -> None:
    for _ in range(EXPORT_LIMIT.running + 1):
        body = ask("/admin/stream")
        assert next(body) == b"first"
        body.close()
        body.close()


@override_settings(ROOT_URLCONF=__name__)
def test_export__that_breaks_off__says_so_at_its_end_and_gives_its_place_back(world: World) -> None:
    for _ in range(EXPORT_LIMIT.running + 1):
        assert list(ask("/admin/broken")) == [b"first", INCOMPLETE]


@override_settings(ROOT_URLCONF=__name__)
def test_exports__full__are_refused_and_pages_are_not(world: World) -> None:
    bodies = [ask("/admin/stream") for _ in range(EXPORT_LIMIT.running)]

    assert b"Not available just now" in b"".join(ask("/admin/stream"))
    assert free_places(PAGE_LIMIT) == PAGE_LIMIT.running
    for body in bodies:
        body.close()


@override_settings(ROOT_URLCONF=__name__)
def test_view__that_fails__gives_its_place_back(world: World) -> None:
    for _ in range(PAGE_LIMIT.running + 1):
        assert b"Server Error" in b"".join(ask("/admin/fail"))


# Files


def test_file__large__is_sent_within_a_limit(world: World) -> None:
    whole = world.client.get(LARGE_FILE)
    assert len(whole.content) == int(whole.headers["content-length"]) > static_files.WHOLE_BYTES
    with full(static_files.LARGE):
        assert world.client.get(LARGE_FILE).status_code == 503
        assert world.client.head(LARGE_FILE).status_code == 200
        known = {"if-none-match": whole.headers["etag"]}
        assert world.client.get(LARGE_FILE, headers=known).status_code == 304
    body = ask(LARGE_FILE)
    body.close()
    body.close()


def test_file__small__is_handed_over_whole_with_the_headers_of_a_file(world: World) -> None:
    answer = world.client.get("/static/api/colors.css")

    assert isinstance(ask("/static/api/colors.css"), list)  # the server sends it without one of the limited threads
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "max-age" in answer.headers["cache-control"]
    assert world.client.post("/static/api/colors.css").status_code == 405


# Passwords


def test_password__hashed__is_that_of_django_made_by_one_thread_of_lowest_priority() -> None:
    made = make_password("correct horse")

    assert check_password("correct horse", made)
    assert not check_password("wrong horse", made)
    old = PBKDF2PasswordHasher().encode("correct horse", "salt", 1_000)
    assert check_password("correct horse", old)
    threads = {each.name: each.native_id for each in threading.enumerate() if each.name.startswith("passwords")}
    assert len(threads) == 1
    (id_,) = threads.values()
    assert id_ is not None
    if os.uname().sysname == "Linux":
        assert os.getpriority(os.PRIO_PROCESS, id_) == passwords.LOWEST_PRIORITY
