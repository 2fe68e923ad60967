"""The code of the set-up guide, copied from its pages of a running server, works unchanged."""

import html
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from api.models import Membership, Role, Site, Source
from api.pages.guide import read_code
from tests.contract.node import needs_curl, needs_node, needs_packages, run_node
from tests.contract.server import Shop

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules"


def session_of(shop: Shop, role: str = Role.VIEWER) -> str:
    """Return the session cookie of a member of the shop's site."""
    user, _ = User.objects.get_or_create(username=role)
    Membership.objects.create(user=user, site=Site.objects.get(sitecode=shop.sitecode), role=role)
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def copied(shop: Shop, way: str) -> list[str]:
    """Return the texts that the buttons of a page of the guide copy."""
    response = httpx.get(
        f"{shop.server.url}/admin/s/{shop.sitecode}/guide/{way}" + ("" if "?" in way else "/"),
        cookies={settings.SESSION_COOKIE_NAME: session_of(shop)},
        timeout=60,
    )
    assert response.status_code == 200
    return [html.unescape(text) for text in re.findall(r'data-copy="([^"]*)"', response.text)]


def run_javascript(code: str, place: Path) -> None:
    (place / "node_modules").symlink_to(PACKAGES)
    (place / "send.mjs").write_text(code)
    subprocess.run(["node", "send.mjs"], cwd=place, check=True, timeout=120)


def run_python(code: str, place: Path) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=place, check=True, timeout=120)


def run_shell(code: str, place: Path) -> None:
    done = subprocess.run(["bash", "-euc", code], cwd=place, check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout == '{"success":true}\n'


@pytest.mark.promise("K-41", "I-03")
@pytest.mark.parametrize(
    ("way", "number", "run"),
    [
        pytest.param("node", 0, run_javascript, marks=[needs_node, needs_packages]),
        pytest.param("node", 1, run_javascript, marks=[needs_node, needs_packages]),
        ("python", 0, run_python),
        ("python", 1, run_python),
        pytest.param("curl", 0, run_shell, marks=needs_curl),
    ],
)
def test_code__run_as_copied__sends_the_first_event(
    shop: Shop, tmp_path: Path, way: str, number: int, run: Callable[[str, Path], None]
) -> None:
    run(copied(shop, way)[number], tmp_path)
    shop.digest()

    assert shop.goals() == {"SegmentIO track – Signed Up": ["grace"]}


@needs_node
@needs_packages
@pytest.mark.promise("K-46", "K-47")
@pytest.mark.parametrize(("cookie", "code"), [("visitor%207", "visitor 7"), ("%zz", "%zz")])
def test_node_code__with_and_without_the_cookie__adds_the_code_only_where_there_is_one(
    shop: Shop, tmp_path: Path, cookie: str, code: str
) -> None:
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    (tmp_path / "serve.mjs").write_text(copied(shop, "node")[2])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(["node", "serve.mjs"], cwd=tmp_path, env={**os.environ, "PORT": str(port)})
    try:
        client = httpx.Client(transport=httpx.HTTPTransport(retries=10), base_url=f"http://127.0.0.1:{port}")
        client.get("/")
        client.get("/", headers={"cookie": f"a=b; kameleoonVisitorCode={cookie}"})
        server.terminate()
        assert server.wait(timeout=60) == 0
    finally:
        server.kill()
    shop.digest()

    assert shop.goals() == {"SegmentIO track – Signed Up": [code, code]}


@needs_node
@pytest.mark.promise("K-91")
@pytest.mark.parametrize(
    ("of", "expected"), [("personas", ["big_spenders"]), ("trait&trait=plan", "team"), ("group", "acme")]
)
def test_custom_data__run_as_copied__reads_it(shop: Shop, of: str, expected: Any) -> None:
    entered = {"audience_key": "big_spenders", "big_spenders": True}
    shop.send(
        shop.event("identify", userId="grace", properties={"plan": "team"}),
        shop.event("group", userId="grace", groupId="acme"),
        shop.event("track", userId="grace", event="Audience Entered", properties=entered),
        shop.event("track", userId="grace", event="Audience Exited", properties={"audience_key": "gone"}),
    )
    Site.objects.filter(sitecode=shop.sitecode).update(public_traits=["plan"])

    code = copied(shop, f"custom-data/?of={of}")[0]
    code += "console.log(JSON.stringify([await readCustomData('grace'), await readCustomData('nobody')]));"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", code], check=True, timeout=120, capture_output=True, text=True
    )

    assert json.loads(done.stdout) == [expected, [] if of == "personas" else None]


@needs_curl
@pytest.mark.promise("K-91")
def test_read_code__run_as_copied__reads_the_site(shop: Shop, tmp_path: Path) -> None:
    shop.send(shop.event("identify", userId="grace", properties={"plan": "team"}))

    commands = next(code for code in copied(shop, "read") if code.startswith("curl"))
    done = subprocess.run(["bash", "-euc", commands], check=True, timeout=120, capture_output=True, text=True)

    assert done.stdout.splitlines() == ['{"traits":{"plan":"team"}}', "{}", '{"cohorts":[]}']


@needs_node
@pytest.mark.promise("K-57", "K-75", "K-76")
def test_page_function__for_known_and_unknown_visitors__reads_personas_traits_and_group(shop: Shop) -> None:
    shop.send(
        shop.event("identify", properties={"plan": "scale", "email": "ann@example.com"}),
        shop.event("group", groupId="initech"),
        shop.event(event="Audience Entered", properties={"audience_key": "vip", "vip": True}),
        shop.event(event="Audience Exited", properties={"audience_key": "new", "new": False}),
    )
    task = {"code": read_code("read_visitor"), "host": shop.server.url, "sitecode": shop.sitecode}

    assert run_node(HERE / "visitor.mjs", {**task, "ids": ["user-1", "nobody"]}) == {
        "user-1": {"personas": ["vip"], "traits": {"plan": "scale"}, "groupId": "initech"},
        "nobody": {"personas": [], "traits": {}},
    }


@needs_curl
@pytest.mark.promise("I-03", "I-27", "A-04")
def test_batch__run_as_copied__answers_as_the_page_shows(shop: Shop) -> None:
    _, command, answer = copied(shop, "curl")

    done = subprocess.run(["bash", "-euc", command], check=True, timeout=120, capture_output=True, text=True)
    shop.digest()

    assert done.stdout == answer
    assert shop.goals() == {"SegmentIO page – Home": ["grace"], "SegmentIO track – Ordered": ["grace"]}


@needs_curl
@pytest.mark.promise("A-02", "A-10", "B-07")
def test_sources__run_as_copied__make_one_and_another_key(shop: Shop) -> None:
    credential = {"GOALPOST_CLIENT_ID": shop.client_id, "GOALPOST_CLIENT_SECRET": shop.secret}

    subprocess.run(
        ["bash", "-euc", copied(shop, "sources")[0]], env={**os.environ, **credential}, check=True, timeout=120
    )

    source = Source.objects.get(site__sitecode=shop.sitecode, name="Shop server")
    assert (source.kind, source.takes_track) == ("server", True)
    assert [key.ends_at is None for key in source.write_keys.order_by("pk")] == [False, True]
