"""The code that the set-up guide shows for a site, copied from its page of a running server and run as it stands."""

import html
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from api.models import Membership, Site
from tests.contract.node import needs_node, needs_packages
from tests.contract.server import Shop
from tests.contract.test_readme import needs_curl

PACKAGES = Path(__file__).with_name("node_modules")


def session_of(shop: Shop, role: str = Membership.Role.VIEWER) -> str:
    """The session cookie of somebody who belongs to the shop's site."""
    user, _ = User.objects.get_or_create(username=role)
    Membership.objects.create(user=user, site=Site.objects.get(sitecode=shop.sitecode), role=role)
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def copied(shop: Shop, way: str) -> list[str]:
    """What the buttons of a page of the guide copy."""
    response = httpx.get(
        f"{shop.server.url}/admin/s/{shop.sitecode}/guide/{way}/",
        cookies={settings.SESSION_COOKIE_NAME: session_of(shop)},
        timeout=60,
    )
    assert response.status_code == 200
    return [html.unescape(each) for each in re.findall(r'data-copy="([^"]*)"', response.text)]


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


@needs_curl
@pytest.mark.promise("K-91")
def test_read_code__run_as_copied__reads_the_site(shop: Shop, tmp_path: Path) -> None:
    shop.send(shop.event("identify", userId="grace", properties={"plan": "team"}))

    commands = next(code for code in copied(shop, "read") if code.startswith("curl"))
    done = subprocess.run(["bash", "-euc", commands], check=True, timeout=120, capture_output=True, text=True)

    assert done.stdout.splitlines() == ['{"traits":{"plan":"team"}}', "{}", '{"cohorts":[]}']
