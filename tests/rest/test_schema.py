"""The OpenAPI document, and the reference page that displays it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command
from django.http import HttpResponse
from django.test import Client

from api.rest import schema
from tests.world import World

COMMITTED = Path("api/rest/openapi.yaml")
RENEW = f"python manage.py spectacular --validate --fail-on-warn --file {COMMITTED}"


def get(path: str, accept: str = "*/*") -> HttpResponse:
    response = Client().generic("GET", path, headers={"accept": accept})
    assert isinstance(response, HttpResponse)
    assert response.status_code == 200
    return response


@pytest.mark.promise("I-25")
def test_document__committed__is_valid_and_that_of_the_code(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "openapi.yaml"))

    committed = Path(__file__).parents[2] / COMMITTED
    assert committed.read_text() == (tmp_path / "openapi.yaml").read_text(), f"renew it: {RENEW}"


@pytest.mark.parametrize("path", ["/api/schema", "/api/schema/", "/api/schema?version=%0a&lang=x"])
def test_document__served__is_the_committed_one(path: str) -> None:
    committed = yaml.safe_load((Path(__file__).parents[2] / COMMITTED).read_text())

    assert yaml.safe_load(get(path).content) == committed
    assert json.loads(get(path, "application/json").content) == committed


def test_document__asked_for_by_many_at_once__is_made_once() -> None:
    with ThreadPoolExecutor(8) as threads:
        bodies = set(threads.map(lambda _: get("/api/schema").content, range(8)))

    assert len(bodies) == 1
    assert schema.documents()["yaml"] is schema.documents()["yaml"]


@pytest.mark.parametrize("accept", ["application/yaml", "application/json"])
def test_document__known_to_its_reader__is_304(accept: str) -> None:
    first = get("/api/schema", accept)
    known = {"accept": accept, "if-none-match": f'W/{first["ETag"]}, "other"'}
    again = Client().get("/api/schema", headers=known)

    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    assert first["Vary"] == "Accept"
    other = "application/json" if accept.endswith("yaml") else "application/yaml"
    assert Client().get("/api/schema", headers={**known, "accept": other}).status_code == 200


def test_page__loads__from_this_server_only() -> None:
    page = get("/api/docs", "text/html").content.decode()
    script = get("/api/docs?script=", "text/html").content.decode()

    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any("swagger-ui-bundle.js" in address for address in loaded)
    assert all(address.startswith("/") and not address.startswith("//") for address in loaded)
    assert 'url: "/api/schema"' in script
    assert "<script>" not in page  # a strict content security policy runs nothing inline


def test_page__assets__are_in_the_installation(world: World) -> None:
    page = get("/api/docs", "text/html").content.decode()

    for asset in re.findall(r'"(/static/[^"]+)"', page):
        assert world.client.get(asset).status_code == 200
