"""Changes of configuration that published clients get over a stream, while they would ask again in an hour or never."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import pytest

from api.models import Site
from api.remote_data.configuration_changes import change_settings, switch_flag
from goals.flags.models import FeatureFlag
from tests.browser.chromium import needs_browser
from tests.contract.kameleoon_clients import VISITOR, Lab, make_goal, needs_own_network
from tests.contract.kameleoon_flags import PLAN, import_flags
from tests.contract.node import needs_packages
from tests.contract.tls_front import DOMAIN

pytestmark = [needs_own_network, needs_packages, needs_browser, pytest.mark.xdist_group("kameleoon")]  # one front
SLOWEST: Final = 5.0  # seconds, on a busy machine; the server looks twice a second


@pytest.fixture
def live(lab: Lab) -> Lab:
    """Import the flags, and switch real-time updates on."""
    import_flags(lab.shop, make_goal(lab.shop).pk)
    settings = {"has_real_time": True, "requires_consent": False, "opt_out": "RUN"}
    change_settings(Site.objects.get(pk=lab.shop.site_id), settings, actor="tests", now=datetime.now(UTC))
    return lab


def switch(lab: Lab, *, is_on: bool) -> None:
    flag = FeatureFlag.objects.get(site_id=lab.shop.site_id, key="plan_flag")
    switch_flag(flag, "production", is_on=is_on, actor="tests", now=datetime.now(UTC))


def assert_follows(lab: Lab, is_on: Callable[[], bool]) -> None:
    """Switch the flag off and on again, and require that the client sees each within seconds."""
    assert is_on()
    lab.wait_until(lambda: lab.front.exchanges and any(each.path.startswith("/sse") for each in lab.front.exchanges))
    for wanted in (False, True):
        switch(lab, is_on=wanted)
        begun = time.monotonic()
        lab.wait_until(lambda: is_on() is wanted)  # noqa: B023 - called in this turn
        seconds = time.monotonic() - begun
        print(f"seen after {seconds:.2f} s")
        assert seconds < SLOWEST


def test_web_sdk__of_a_site_with_real_time__has_a_change_within_seconds(
    live: Lab, request: pytest.FixtureRequest
) -> None:
    client = live.open_page(request.getfixturevalue("browser"), request.getfixturevalue("page_url"))
    assert client.call("initialize") is True
    client.call("add", VISITOR, "customData", PLAN, "enterprise")

    assert_follows(live, lambda: client.call("variation", VISITOR, "plan_flag") == "on")


def test_web_provider_of_ofrep__of_a_site_with_real_time__has_a_change_within_seconds(
    live: Lab, request: pytest.FixtureRequest
) -> None:
    page = request.getfixturevalue("browser").new_context(ignore_https_errors=True).new_page()
    live.stack.callback(page.context.close)
    page.goto(f"{request.getfixturevalue('page_url')}ofrep_page.html")
    page.wait_for_function("() => Boolean(window.evaluateFlag)")
    task = {"flag": "plan_flag", "default": 7.0, "visitor": VISITOR, "context": {"plan": "enterprise"}, "poll": 0}
    base = f"https://data.{DOMAIN}/sites/{live.shop.sitecode}/"
    page.evaluate("(task) => window.evaluateFlag(task)", {**task, "base": base})

    assert_follows(live, lambda: page.evaluate("(task) => window.readFlag(task)", task) == 2.5)
