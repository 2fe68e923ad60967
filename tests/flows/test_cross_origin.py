"""A page of another origin sends events and reads remote data; what people and programs sign in to stays closed."""

import string
from functools import partial
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from api.asgi import ENDPOINTS
from api.http.cross_origin import MOST_METHOD, answer_preflight
from api.http.endpoint import Request
from api.ingest import nudge
from api.models import Source
from tests.support.concurrency import wait_until
from tests.support.outages import database_down, forget_backlog
from tests.support.tracking import KEY
from tests.world import SITECODE, World

ORIGIN = {"origin": "https://shop.example"}
# Nothing of them is for a page: they give keys out, or answer operators.
CLOSED = {"/segmentio/getapikey", "/oauth/token", "/health/live", "/health/ready"}
BELOW = ["/v1/projects/x/settings", "/v1/nothing", "/map/nothing", "/visit/nothing", "/nothing", "/admins"]
OPEN = sorted({*ENDPOINTS, *BELOW} - CLOSED)
FOR_PEOPLE = [
    "/",
    "/admin",
    "/admin/",
    "/admin/nothing",
    "/api/goals",
    "/api/nothing",
    "/api/docs",
    "/static/nothing.js",
]
TOKEN = st.text(f"!#$%&'*+.^_`|~-{string.digits}{string.ascii_letters}", min_size=1)


def allowed(response: httpx.Response, what: str) -> set[str]:
    """Return the methods and headers that a preflight allows."""
    return {each.strip() for each in response.headers[f"access-control-allow-{what}"].split(",")}


def is_readable(response: httpx.Response) -> bool:
    """Return True if a browser passes an answer with all its headers to a page of any origin."""
    exposed = {each.strip().lower() for each in response.headers.get("access-control-expose-headers", "").split(",")}
    by_browser = {"content-type", "content-length"}  # it gives these in any case
    of_goalpost = {name.lower() for name in response.headers if not name.startswith("access-control-")} - by_browser
    return (
        response.headers.get("access-control-allow-origin") == "*"
        and "*" in exposed
        and exposed >= of_goalpost - {"x-content-type-options"}
        and "access-control-allow-credentials" not in response.headers
    )


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_preflight__of_any_headers_and_method__allows_what_is_asked(world: World, path: str, method: str) -> None:
    asked = "anonymousid,authorization,content-type,rsa-retry-attempt,x-of-the-page"
    response = world.client.options(
        path,
        headers={**ORIGIN, "access-control-request-method": method, "access-control-request-headers": asked},
    )

    assert response.status_code == 204
    assert is_readable(response)
    assert allowed(response, "headers") == set(asked.split(","))
    assert allowed(response, "methods") == {method}
    assert int(response.headers["access-control-max-age"]) > 0
    assert response.headers["vary"] == "Access-Control-Request-Headers, Access-Control-Request-Method"


@pytest.mark.parametrize("asked", [None, "", "a b", "a,,b", "a,", "a\tb", "a;b", '"a"', "a" * 4_097])
def test_preflight__of_what_is_no_list_of_headers__allows_all_without_repeating_it(
    world: World, asked: str | None
) -> None:
    headers = {**ORIGIN, **({} if asked is None else {"access-control-request-headers": asked})}

    response = world.client.options("/v1/track", headers=[(n.encode(), v.encode()) for n, v in headers.items()])

    assert response.status_code == 204
    assert allowed(response, "headers") == {"*", "Authorization"}  # a browser does not count the latter among `*`
    assert allowed(response, "methods") == {"*"}


def preflight(names: str, method: str) -> Request:
    """Return a preflight of these header names and this method. Characters are encoded, as no server decodes them."""
    headers = [
        (b"access-control-request-headers", names.encode(errors="surrogatepass")),
        (b"access-control-request-method", method.encode(errors="surrogatepass")),
    ]
    return Request({"type": "http", "method": "OPTIONS", "path": "/v1/track", "headers": headers}, never)


async def never() -> dict[str, Any]:
    raise AssertionError("a preflight has no body")


@given(st.lists(TOKEN, min_size=1), TOKEN.filter(lambda method: len(method) <= MOST_METHOD))
def test_preflight__of_names_that_http_allows__repeats_them(names: list[str], method: str) -> None:
    answer = dict(answer_preflight(preflight(",".join(names), method)).headers)

    assert answer["Access-Control-Allow-Headers"] == ",".join(names)
    assert answer["Access-Control-Allow-Methods"] == method


def test_preflight__of_a_very_long_method__does_not_repeat_it() -> None:
    answer = dict(answer_preflight(preflight("a", "M" * (MOST_METHOD + 1))).headers)

    assert answer["Access-Control-Allow-Methods"] == "*"


@given(st.text(), st.text())
def test_preflight__of_anything__answers_with_what_a_header_may_hold(names: str, method: str) -> None:
    for _, value in answer_preflight(preflight(names, method)).headers:
        assert value.isascii()
        assert value.isprintable()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/track", 400),
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/track", 405),
        ("PUT", "/v1/group", 405),
        ("PATCH", "/v1/group/", 405),
        ("DELETE", "/v1/group", 405),
        ("POST", f"/v1/projects/{KEY}/settings", 405),
        ("GET", "/v1/projects/unknown/settings", 404),
        ("GET", f"/v1/projects/{KEY}/settings", 200),
        ("POST", "/v1/m", 200),
        ("POST", "/segmentio", 401),
        ("GET", "/segmentio", 405),
        ("GET", "/segmentio/nothing", 404),
        ("GET", f"/map/map?siteCode={SITECODE}&key=common", 401),  # the write key is no token
        ("POST", "/map/map", 405),
        ("GET", "/map/nothing", 404),
        ("GET", "/visit/nothing", 404),
        ("GET", "/v1/track/more", 404),
    ],
)
def test_answer__of_any_status__can_be_read_by_a_page(
    world: World, source: Source, method: str, path: str, status: int
) -> None:
    response = world.client.request(method, path, content=b"{}", headers=ORIGIN, auth=(KEY, ""))

    assert response.status_code == status
    assert is_readable(response)
    if status == 405:
        assert "OPTIONS" in response.headers["allow"]
    if status >= 400 and not path.startswith(("/map/m",)):
        assert response.json().keys() == {"success", "code", "message"}


def test_answer__to_what_is_too_large__can_be_read_by_a_page(world: World, source: Source) -> None:
    large = b" " * 1_048_577
    for response in (
        world.client.post("/v1/track", content=large, auth=(KEY, "")),
        world.post(large),
    ):
        assert response.status_code == 413
        assert is_readable(response)


def test_answer__of_an_overloaded_inbox__can_be_read_by_a_page(
    world: World, source: Source, settings: Settings
) -> None:
    settings.INBOX_LIMIT = 1
    forget_backlog()
    world.post(world.event())
    wait_until(nudge.refuses_senders)
    track = partial(world.client.post, json={"userId": "u", "event": "E"}, auth=(KEY, ""))

    for response in (track("/v1/track"), world.post(world.event())):
        assert response.status_code == 429
        assert is_readable(response)
    world.digest()
    wait_until(lambda: not nudge.refuses_senders())


def test_answer__without_a_database__can_be_read_by_a_page(world: World, source: Source) -> None:
    assert world.post(world.event()).status_code == 200
    world.get("common")

    with database_down():
        answers = [world.post(world.event()), world.get("common"), world.get("common", token=False)]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert all(map(is_readable, answers))


def test_endpoint__of_senders_and_readers__is_open_but_for_those_that_give_keys_out() -> None:
    assert {path for path, endpoint in ENDPOINTS.items() if not endpoint.is_open} == CLOSED


@pytest.mark.parametrize("path", [*FOR_PEOPLE, *sorted(CLOSED)])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_page_of_another_origin__with_an_administrators_session__may_do_nothing(
    world: World, path: str, method: str
) -> None:
    browser = Client(raise_request_exception=False)
    browser.force_login(User.objects.create_superuser("ada"))
    cookie = "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())
    asked: dict[str, Any] = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-csrftoken",
    }

    answer = world.client.request(method, path, headers={**ORIGIN, **asked, "cookie": cookie})

    assert not [name for name in answer.headers if name.startswith("access-control-")]
