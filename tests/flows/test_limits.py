"""Requests that Django answers run within limits, and hold up no event, remote data or health."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher, check_password, make_password
from django.contrib.auth.models import User
from django.test import Client

from api.http import bodies, passwords, static_files
from api.http.bodies import STRANGERS
from api.http.django_requests import (
    BODY_BYTES,
    HEAD_BYTES,
    PAGES,
    SIGN_IN_BYTES,
    SIGN_INS,
)
from api.ingest.provisioning import create_source
from tests.support import asgi
from tests.support.asgi import Exchange
from tests.support.concurrency import wait_until
from tests.support.limits import LIMITS, free_places, full, get, take_first, with_short_waits
from tests.world import World

WRITE_KEY = "test_write_key_0001"
FORM = {"csrfmiddlewaretoken": "a" * 32, "username": "ada", "password": "wrong"}
LARGE_FILE = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
HOST = [(b"host", b"localhost")]


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield from with_short_waits(monkeypatch)


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
    with full(PAGES.limit):
        page = world.client.get("/admin/s/1q2w3e4r5t/", headers=signed_in)
        form = world.client.post("/admin/s/1q2w3e4r5t/settings/save/", headers=signed_in, data={"name": "x"})
        api = world.client.get("/api/goals", headers={"host": "localhost"})

    assert [each.status_code for each in (page, form, api)] == [503, 503, 503]
    assert {each.headers["retry-after"] for each in (page, form, api)} == {"2"}
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "api/frame.css" in page.text
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
            world.client.get("/static/api/frame.css"),
        ]
        assert [each.status_code for each in answers] == [200] * 6
        assert world.client.get("/nothing").status_code == 404


def test_sign_ins__full__hold_nobody_who_is_signed_in(world: World, signed_in: dict[str, str]) -> None:
    with full(SIGN_INS.limit):
        assert sign_in(world).status_code == 503
        for form in ("/admin/join/a-link/", "/admin/password_reset/", "/admin/password_reset/MQ/set-password/"):
            assert world.client.post(form, headers={"host": "localhost"}).status_code == 503  # they hash passwords, too
        assert world.client.get("/admin/login/", headers={"host": "localhost"}).status_code == 200
        assert world.client.get("/admin/s/1q2w3e4r5t/", headers=signed_in).status_code == 200
    with full(PAGES.limit):
        assert sign_in(world).status_code == 200  # with a wrong password


# Bodies


def post_in_pieces(target: str) -> Exchange:
    """Begin a form of which half comes."""
    begun = Exchange("POST", target, headers=[*HOST, (b"content-length", b"20")])
    begun.give(b"username=a", more=True)
    return begun


@pytest.mark.parametrize("target", ["/admin/login/", "/api/goals"])
def test_body__that_comes_slowly_and_in_half__waits_for_no_place_and_changes_nothing(world: World, target: str) -> None:
    begun = [post_in_pieces(target) for _ in range(3 * PAGES.limit.running)]

    assert free_places(PAGES.limit) == PAGES.limit.running
    assert free_places(SIGN_INS.limit) == SIGN_INS.limit.running
    for each in begun:
        each.end_too_soon()
        status, _, answer = each.read()
        assert status == 400
        assert b"ended too soon" in answer


@pytest.mark.parametrize("piece", [b"username=a", b""])
@pytest.mark.parametrize("target", ["/admin/login/", "/api/goals", "/v1/track", "/segmentio"])
def test_body__that_never_ends__is_refused_after_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch, target: str, piece: bytes
) -> None:
    """With an empty piece nothing of the body comes at all."""
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(bodies, "DRAIN_SECONDS", 0.1)
    headers = [(name.encode(), value.encode()) for name, value in world.post(b"{}").request.headers.items()]
    begun = Exchange("POST", target, headers=[header for header in headers if header[0] != b"host"] + HOST)
    if piece:
        begun.give(piece, more=True)

    status, headers_, _ = begun.read()

    assert (status, headers_["retry-after"]) == (503, "2")


def test_bodies__beyond_the_memory_for_strangers__are_refused_and_pages_are_not(
    world: World, signed_in: dict[str, str]
) -> None:
    with asgi.full(STRANGERS):
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


# Files


def test_file__large__is_sent_in_pieces_as_its_reader_takes_them(world: World) -> None:
    whole = world.client.get(LARGE_FILE)
    assert len(whole.content) == int(whole.headers["content-length"]) > 2 * static_files.PIECE
    assert world.client.head(LARGE_FILE).status_code == 200
    assert world.client.head(LARGE_FILE).content == b""
    known = {"if-none-match": whole.headers["etag"]}
    assert world.client.get(LARGE_FILE, headers=known).status_code == 304

    begun = [get(LARGE_FILE) for _ in range(30)]  # many more than there are threads
    for each in begun:
        assert len(take_first(each)) == static_files.PIECE
    assert world.client.get(LARGE_FILE).content == whole.content
    assert world.client.get("/health/ready").status_code == 200
    for each in begun[1:]:
        each.leave()
    assert whole.content.endswith(begun[0].read_rest())
    wait_until(lambda: all(each.is_over() for each in begun))


@pytest.mark.parametrize(
    ("range_", "start", "end"), [("bytes=10-19", 10, 20), ("bytes=-7", -7, None), ("bytes=300000-", 300_000, None)]
)
def test_file__of_which_a_part_is_asked_for__sends_that_part(
    world: World, range_: str, start: int, end: int | None
) -> None:
    whole = world.client.get(LARGE_FILE).content

    part = world.client.get(LARGE_FILE, headers={"range": range_})

    assert (part.status_code, part.content) == (206, whole[start:end])
    assert int(part.headers["content-length"]) == len(part.content)


def test_file__small__is_handed_over_whole_with_the_headers_of_a_file(world: World) -> None:
    answer = world.client.get("/static/api/frame.css")

    begun = get("/static/api/frame.css")
    assert take_first(begun) == answer.content
    assert begun.read_rest() == b""
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "max-age" in answer.headers["cache-control"]
    assert world.client.post("/static/api/frame.css").status_code == 405


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
