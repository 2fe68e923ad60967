"""The application under another server than granian: uvicorn, which only knows the standard."""

import http.client
import json
import shutil
import socket
from collections.abc import Iterator

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

from api.models import Message
from goals.models import Goal
from tests.contract.server import Server, Shop, open_shop, running_uvicorn


@pytest.fixture(scope="module")
def uvicorn(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("uvicorn")
    with running_uvicorn(directory) as server:
        yield server
    shutil.rmtree(directory)


@pytest.fixture
def shop(transactional_db: None, uvicorn: Server) -> Iterator[Shop]:
    with open_shop(uvicorn) as shop:
        yield shop


def test_uvicorn__of_events_batches_and_reads__answers_as_granian(shop: Shop) -> None:
    event = shop.event()
    assert shop.post(event).json()["status"] == "accepted"
    assert shop.post(event).json()["status"] == "duplicate"
    batch = {"batch": [shop.event(), {"type": "track", "userId": "u"}]}
    answer = shop.client.post("/v1/batch", json=batch, auth=(shop.write_key, ""))
    assert (answer.status_code, answer.json()["accepted"], len(answer.json()["rejected"])) == (200, 1, 1)
    shop.send(shop.event("identify", traits={"plan": "gold"}))

    assert shop.read("IDENTIFY_user-1")["traits"] == {"plan": "gold"}
    assert shop.goals() == {"SegmentIO track – Signed Up": ["user-1", "user-1"]}
    preflight = shop.client.options("/v1/track", headers={"origin": "https://shop.example"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    assert shop.client.head("/health/live").status_code == 405
    assert shop.client.get("/health/ready").status_code == 200
    assert shop.client.post("/oauth/token", auth=(shop.client_id, shop.secret)).json()["token_type"] == "bearer"


def test_uvicorn__of_pages_files_and_exports__answers_as_granian(shop: Shop) -> None:
    browser = Client()
    browser.force_login(User.objects.create_superuser("root"))
    session = {"cookie": f"sessionid={browser.cookies['sessionid'].value}", "host": "localhost"}
    Goal.objects.create(site_id=shop.site_id, name="Ünïcode, “quoted”")

    page = shop.client.get(f"/admin/s/{shop.sitecode}/", headers=session)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    export = shop.client.get(f"/admin/s/{shop.sitecode}/goals/export/", headers=session)
    assert "Ünïcode, “quoted”" in export.content.decode("utf-8-sig")
    login = httpx.get(f"{shop.server.url}/admin/login/", headers={"host": "localhost"})  # without earlier cookies
    assert login.headers["set-cookie"].startswith("csrftoken=")
    file = shop.client.get("/static/api/frame.css")
    assert (file.status_code, len(file.content)) == (200, int(file.headers["content-length"]))
    assert shop.client.head("/static/api/frame.css").content == b""
    assert shop.client.get("/static/nothing.css").status_code == 404


def test_uvicorn__after_a_refused_body__keeps_the_connection(shop: Shop) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shop.server.port, timeout=30)
    connection.connect()
    connection.auto_open = 0
    large = b" " * 2_000_000
    for authorization, body, status in (
        ("Basic bad", large, 401),
        (shop.headers["authorization"], large, 413),
        (shop.headers["authorization"], json.dumps(shop.event()).encode(), 200),
    ):
        connection.request("POST", "/segmentio", body, {**shop.headers, "authorization": authorization})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


def test_uvicorn__sender_that_hangs_up_halfway__stores_no_event(shop: Shop) -> None:
    with socket.create_connection(("127.0.0.1", shop.server.port), timeout=10) as connection:
        head = "\r\n".join(f"{name}: {value}" for name, value in shop.headers.items())
        connection.sendall(f"POST /segmentio HTTP/1.1\r\nHost: x\r\n{head}\r\nContent-Length: 100\r\n\r\n".encode())
        connection.sendall(b'{"type":"track","userId":"u"')
    shop.send(shop.event(event="Afterwards"))

    assert list(shop.goals()) == ["SegmentIO track – Afterwards"]
    assert not Message.objects.filter(status="pending").exists()
    assert "Traceback" not in shop.server.log.read_text()
