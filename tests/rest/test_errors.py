"""Every error has the standard body and a code of the closed list, and is no page and no redirect."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.test import Client, override_settings
from django.urls import URLPattern, path
from rest_framework.views import APIView

from api.http import credentials
from api.http.credentials import clear_lookups, issue_token
from api.http.database import DatabaseDownError
from api.http.error_codes import ERROR_CODES
from api.models import Site
from api.rest.errors import refusal_for, respond
from tests.support.management_api import Caller, message, refusal
from tests.support.outages import database_down
from tests.world import World

SOURCE = Path(__file__).parents[2] / "api"


@pytest.fixture
def stranger() -> Client:
    return Client(raise_request_exception=False)


def ask(client: Client, method: str, path: str, **headers: str) -> HttpResponse:
    response = client.generic(method, path, headers=headers)
    assert isinstance(response, HttpResponse)
    return response


# Authentication


@pytest.mark.parametrize(
    "authorization", ["", "Basic", "Basic !", "Basic e30=", "Bearer", "Bearer x:y:z", "Digest x", "Basic 8J+Ykg=="]
)
def test_credential__none_or_unknown__is_401(world: World, stranger: Client, authorization: str) -> None:
    headers = {"authorization": authorization} if authorization else {}

    for target in ("/api/goals", "/api/goals/1", "/api/goals/1/conversions", "/api/visitors/a/conversions"):
        response = ask(stranger, "GET", target, **headers)
        assert refusal(response) == (401, "unauthorized")
        assert response["WWW-Authenticate"] == "Bearer"  # with Basic a browser would ask for a password and keep it


def test_credential__access_token__opens_the_same(world: World, owner: Caller) -> None:
    bearer = credentials.find_credential(owner.credential.client_id)
    assert bearer is not None

    assert owner.ask("GET", "/api/goals", authorization=f"Bearer {issue_token(bearer)}").status_code == 200


def test_credential__revoked__is_401(world: World, owner: Caller) -> None:
    owner.credential.revoked_at = world.site.created_at
    owner.credential.save()
    clear_lookups()

    assert refusal(owner.ask("GET", "/api/goals")) == (401, "unauthorized")


# Paths and methods


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/api",
        "/api/",
        "/api/none",
        "/api//goals",
        "/api/goals//",
        "/api/goals/x",
        "/api/goals/-1",
        "/api/goals/1.5",
        "/api/goals/١",
        "/api/goals/" + "9" * 18,
        "/api/goals/" + "9" * 30,
        "/api/goals/" + "9" * 5000,
        "/api/goals/%00",
        "/api/goals/1%00",
        "/api/goals/%ED%A0%80",
        "/api/goals/1/conversions/2",
        "/api/visitors//conversions",
        "/api/visitors/conversions",
        "/none",
        "//example.com/",
        "/%00",
        "/%FF%FE",
        "/segmentio/none",
        "/static/none.css",
        "/static/../api/settings.py",
        "/administration",
        "/.env",
    ],
)
def test_path__that_leads_nowhere__is_404_for_all(world: World, owner: Caller, target: str) -> None:
    for method in ("GET", "POST", "PATCH", "DELETE"):
        response = owner.ask(method, target)
        # The path of a missing goal does not accept POST either.
        is_goal = method == "POST" and target == "/api/goals/" + "9" * 18
        assert refusal(response) == ((405, "method_not_allowed") if is_goal else (404, "not_found"))
        assert "Location" not in response
    assert owner.ask("HEAD", target).status_code == 404
    assert owner.ask("HEAD", target)["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", "/api/goals", "GET, POST"),
        ("OPTIONS", "/api/goals", "GET, POST"),
        ("BREW", "/api/goals", "GET, POST"),
        ("POST", "/api/goals/1", "GET, PATCH, DELETE"),
        ("GET", "/api/goals/1/archive", "POST"),
        ("DELETE", "/api/visitors/a/conversions", "GET"),
        ("POST", "/api/schema", "GET"),
        ("POST", "/api/docs", "GET"),
    ],
)
def test_method__that_a_path_does_not_take__is_405_with_allow(
    world: World, owner: Caller, method: str, target: str, allowed: str
) -> None:
    response = owner.ask(method, target)

    assert refusal(response) == (405, "method_not_allowed")
    given = {name.strip() for name in response["Allow"].split(",")} - {"HEAD", "OPTIONS"}
    assert given == set(allowed.split(", "))


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=x",
        "page=1.5",
        "page=" + "9" * 5000,
        "page=",
        "perPage=0",
        "perPage=201",
        "perPage=" + "9" * 30,
        "status=active",
        "autoMade=perhaps",
        "autoMade=%00",
        "ordering=conversion",
        "ordering=--name",
        "currency=EURO",
        "ordering=deleted_at",
        "tagsMode=none",
        "tags=shop",
        "tag=",
        "filter=%5B%5D",
    ],
)
def test_parameter__wrong_or_unknown__is_named(world: World, owner: Caller, query: str) -> None:
    response = owner.ask("GET", f"/api/goals?{query}")

    assert refusal(response) == (400, "invalid_request")
    assert f"{query.partition('=')[0]}" in message(response)


@pytest.mark.parametrize(
    "query",
    ["search=%00", "search=%ED%A0%80", "search=%F0%9F%9B%92", "tag=%00", "search=" + "a" * 5000, "page=" + "9" * 18],
)
def test_parameter__odd_but_possible__finds_nothing(world: World, owner: Caller, query: str) -> None:
    assert owner.get(f"/api/goals?{query}") == []


# Bodies


@pytest.mark.parametrize(
    "content",
    [
        b" ",
        b"{",
        b"{'name': 1}",
        b"\xff\xfe",
        b'{"name": "\\ud800"}',
        b'{"name": NaN}',
        b'{"name": 1e400}',
        b'{"siteId": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
    ],
)
def test_body__not_json__is_400(world: World, owner: Caller, content: bytes) -> None:
    goal = json.loads(owner.post("/api/goals", {"name": "Buy"}).content)

    for method, target in (("POST", "/api/goals"), ("PATCH", f"/api/goals/{goal['id']}")):
        assert refusal(owner.ask(method, target, content)) == (400, "invalid_json")


@pytest.mark.parametrize("sent", [[], [{"name": "Buy"}], "name", 1, None, True])
def test_body__not_an_object__is_400(world: World, owner: Caller, sent: Any) -> None:
    goal = json.loads(owner.post("/api/goals", {"name": "Buy"}).content)

    for method, target in (("POST", "/api/goals"), ("PATCH", f"/api/goals/{goal['id']}")):
        assert refusal(owner.ask(method, target, json.dumps(sent).encode())) == (400, "invalid_request")


def test_body__too_large__is_413(world: World, owner: Caller) -> None:
    largest = b'{"name": "' + b"a" * (1_048_576 - 12) + b'"}'

    assert refusal(owner.ask("POST", "/api/goals", largest)) == (400, "invalid_request")
    assert refusal(owner.ask("POST", "/api/goals", largest + b" ")) == (413, "too_large")


def test_body__a_quoted_value_of_any_length__does_not_fill_the_answer(world: World, owner: Caller) -> None:
    response = owner.post("/api/goals", {"name": "Buy", "type": "é" * 100_000})

    assert refusal(response) == (400, "invalid_request")
    assert len(message(response)) <= 1_000


@pytest.mark.parametrize("type_", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", "x"])
def test_body__not_declared_as_json__is_415(world: World, owner: Caller, type_: str) -> None:
    response = owner.client.generic(
        "POST", "/api/goals", "name=Buy", content_type=type_, headers={"authorization": owner.authorization}
    )

    assert isinstance(response, HttpResponse)

    assert refusal(response) == (415, "unsupported_media_type")


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*", "x"])
def test_answer__wanted_as_something_else__is_406(world: World, owner: Caller, accept: str) -> None:
    assert refusal(owner.ask("GET", "/api/goals", accept=accept)) == (406, "not_acceptable")


@pytest.mark.parametrize("accept", ["*/*", "application/json; indent=99999", "text/html,*/*;q=0.8"])
def test_answer__wanted_by_a_browser_or_a_program__is_json(world: World, owner: Caller, accept: str) -> None:
    response = owner.ask("GET", "/api/goals", accept=accept)
    assert (response.status_code, response["Content-Type"]) == (200, "application/json")


# Errors of the server


def test_host__not_ours__is_400_in_our_body(stranger: Client) -> None:
    assert refusal(ask(stranger, "GET", "/api/docs", host="example.com")) == (400, "bad_request")


class Broken(APIView):
    authentication_classes = ()
    throttle_classes = ()

    def get(self, _request: object) -> HttpResponseBase:
        raise RuntimeError("a defect")


class Down(Broken):
    def get(self, _request: object) -> HttpResponseBase:
        raise OperationalError("the database went away")


def ask_slowly(_: HttpRequest) -> HttpResponse:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = '10ms'")
        cursor.execute("SELECT pg_sleep(5)")
    return HttpResponse()


def write_where_nobody_may(_: HttpRequest) -> HttpResponse:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_read_only = on")
        Site.objects.update(name="x")
    return HttpResponse()


def break_down(_: HttpRequest) -> HttpResponse:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT no_such_function()")
    return HttpResponse()


def places_under(start: str) -> list[URLPattern]:
    views = {"slow": ask_slowly, "read-only": write_where_nobody_may, "broken-query": break_down}
    return [path(f"{start}{name}", view) for name, view in views.items()]


urlpatterns = [
    path("broken", Broken.as_view()),
    path("down", Down.as_view()),
    *places_under("admin/"),
    *places_under("api/"),
]
handler500 = "api.rest.errors.answer_server_error"


@override_settings(ROOT_URLCONF=__name__)
def test_defect__in_a_view__is_500_in_our_body(stranger: Client) -> None:
    assert refusal(ask(stranger, "GET", "/broken")) == (500, "internal_error")


@override_settings(ROOT_URLCONF=__name__)
def test_database__away__is_503_with_retry_after(stranger: Client) -> None:
    response = ask(stranger, "GET", "/down")

    assert refusal(response) == (503, "unavailable")
    assert response["Retry-After"] == "2"
    assert refusal_for(DatabaseDownError()) is not None


@pytest.mark.parametrize("path", ["slow", "read-only"])
@override_settings(ROOT_URLCONF=__name__)
def test_database__too_slow_or_read_only__is_503_with_retry_after_everywhere(
    world: World, stranger: Client, path: str
) -> None:
    page, api = ask(stranger, "GET", f"/admin/{path}"), ask(stranger, "GET", f"/api/{path}")
    form = ask(stranger, "POST", f"/admin/{path}")

    assert refusal(api) == (503, "unavailable")
    assert [response.status_code for response in (page, form)] == [503, 503]
    assert [response["Retry-After"] for response in (page, form, api)] == ["2", "2", "2"]
    assert page["Content-Type"].startswith("text/html")
    assert b"The database cannot be reached" in page.content
    assert b'http-equiv="refresh"' in page.content
    assert b"refresh" not in form.content


@override_settings(ROOT_URLCONF=__name__)
def test_defect__in_a_query__stays_500(world: World, stranger: Client) -> None:
    assert ask(stranger, "GET", "/admin/broken-query").status_code == 500
    assert refusal(ask(stranger, "GET", "/api/broken-query")) == (500, "internal_error")


def test_pages__without_a_database__are_503_with_retry_after(world: World, stranger: Client) -> None:
    signed_in = Client(raise_request_exception=False)
    signed_in.force_login(User.objects.create(username="root", is_superuser=True, is_staff=True))
    form = {"username": "root", "password": "x"}
    with database_down():
        answers = [
            ask(signed_in, "GET", "/admin/"),
            ask(signed_in, "GET", f"/admin/s/{world.site.sitecode}/goals/"),
            ask(signed_in, "GET", "/admin/tables/"),
            signed_in.post("/admin/login/", form),
        ]
        assert ask(stranger, "GET", "/api/schema").status_code == 200

    assert {(response.status_code, response["Retry-After"]) for response in answers} == {(503, "2")}
    assert ask(signed_in, "GET", f"/admin/s/{world.site.sitecode}/goals/").status_code == 200


def test_admin__without_its_slash__leads_there(stranger: Client) -> None:
    assert ask(stranger, "GET", "/admin")["Location"] == "/admin/"
    assert ask(stranger, "POST", "/admin").status_code == 405


# The list of codes


def test_codes__of_every_refusal_in_the_code__are_listed() -> None:
    codes = {code for file in SOURCE.rglob("*.py") for code in refusal_codes(ast.parse(file.read_text()))}

    assert codes
    assert codes == set(ERROR_CODES)


def refusal_codes(tree: ast.AST) -> set[str]:
    """Return the second argument of every `Refusal(…)`, and the first of every `Need(…)`, which leads to one."""
    place_of_code = {"Refusal": 1, "Need": 0}
    calls = [
        (node.func.id, node.args)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in place_of_code
    ]
    codes = [arguments[place_of_code[name]] for name, arguments in calls]
    return {code.value for code in codes if isinstance(code, ast.Constant) and isinstance(code.value, str)}


def test_message__with_a_lone_surrogate__can_be_sent() -> None:
    from api.events.refusal import Refusal

    assert b"a?b" in respond(Refusal(400, "invalid_request", "a\ud800b")).content
