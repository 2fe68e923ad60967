"""Published OpenFeature providers: Kameleoon's for Python, and those of OFREP for Python, Node.js and web pages."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import needs_browser
from tests.contract.kameleoon_clients import VISITOR, Lab, make_goal, needs_own_network
from tests.contract.kameleoon_flags import import_flags
from tests.contract.node import needs_packages
from tests.contract.tls_front import DOMAIN

pytestmark = [needs_own_network, needs_packages, needs_browser, pytest.mark.xdist_group("kameleoon")]  # one front
HERE = Path(__file__).parent
PYTHON = (sys.executable, "-P", str(HERE / "openfeature_device.py"))
NODE = ("node", str(HERE / "openfeature_device.mjs"))


@pytest.fixture
def ready(lab: Lab) -> Lab:
    """Import the flags, and let events say the plan of a visitor."""
    import_flags(lab.shop, make_goal(lab.shop).pk)
    lab.shop.send(lab.shop.event("identify", userId=VISITOR, properties={"plan": "enterprise"}))
    return lab


@pytest.fixture(params=["python", "node", "web"])
def evaluate(request: pytest.FixtureRequest, ready: Lab) -> Any:
    """Return the function that evaluates a flag with a provider of OFREP."""
    key = ready.shop.headers["authorization"].partition(" ")[2]
    site = f"https://data.{DOMAIN}/sites/{ready.shop.sitecode}/"

    def evaluate(flag: str, **context: Any) -> Any:
        given = {"provider": "ofrep", "flag": flag, "default": 7.0, "visitor": VISITOR, "context": context}
        if request.param == "web":
            page = request.getfixturevalue("browser").new_context(ignore_https_errors=True).new_page()
            page.goto(f"{request.getfixturevalue('page_url')}ofrep_page.html")
            page.wait_for_function("() => Boolean(window.evaluateFlag)")
            found = page.evaluate("(task) => window.evaluateFlag(task)", {**given, "base": site})
            ready.wait_until(lambda: page.wait_for_timeout(50) or 304 in ready.front.statuses("POST", "/sites/"))
            page.context.close()
            return found
        if request.param == "python":
            return ready.run(*PYTHON, **given, base=site, headers={})
        return ready.run(*NODE, **given, base=f"https://api.{DOMAIN}", headers={"X-API-Key": key})

    return evaluate


def test_ofrep__of_a_flag_whose_segment_holds_the_visitor__gives_value_and_reason(evaluate: Any) -> None:
    found = evaluate("plan_flag", plan="enterprise")

    assert found == {
        "value": 2.5,
        "variant": "on",
        "reason": "TARGETING_MATCH",
        "error": None,
        "metadata": {"ruleId": 20, "experimentId": 5002, "variationId": 7002},
    }


def test_ofrep__of_an_unknown_flag__gives_the_default(evaluate: Any) -> None:
    found = evaluate("no_such_flag")

    assert (found["value"], found["error"]) == (7.0, "FLAG_NOT_FOUND")


def test_provider_of_kameleoon__with_custom_data_in_the_context__evaluates_by_the_file(ready: Lab) -> None:
    custom_data = {"index": 2, "values": "enterprise"}
    given = {"provider": "kameleoon", "flag": "plan_flag", "default": 7.0, "visitor": VISITOR}

    on = ready.run(*PYTHON, **given, context={"customData": custom_data})
    off = ready.run(*PYTHON, **given, context={})

    assert (on["value"], on["variant"]) == (2.5, "on")
    assert (off["value"], off["variant"]) == (1.0, "off")
