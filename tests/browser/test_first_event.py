"""People who set a site up: the event tester and the guide's check, in a real browser."""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page

from api.models import Message
from tests.browser.chromium import LOOPBACK, PATIENCE, needs_browser
from tests.contract.server import Shop
from tests.contract.test_guide import session_of

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]
Open = Callable[[str], Page]


@pytest.fixture
def open_page(browser: Browser, shop: Shop) -> Iterator[Open]:
    """Opens a page of the shop's site as an editor. No error, no violation of the policy, no other host."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": session_of(shop, "editor"), "url": shop.server.url}
    context.add_cookies([cookie])  # type: ignore[list-item]  # a TypedDict
    page = context.new_page()
    troubles: list[str] = []
    hosts: set[str | None] = set()
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda said: troubles.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))

    def open_page(path: str) -> Page:
        page.goto(f"{shop.server.url}/admin/s/{shop.sitecode}/{path}")
        return page

    yield open_page
    context.close()
    assert troubles == []
    assert hosts - {None} <= LOOPBACK  # an icon's data: URL has none


@pytest.mark.promise("K-82", "W12")
def test_tester__dry_run_then_send__shows_what_will_be_and_follows_what_is(shop: Shop, open_page: Open) -> None:
    page = open_page("tester/")

    page.get_by_role("button", name="Dry run").click()
    page.get_by_text("Nothing was written").wait_for()
    page.get_by_text("the goal “SegmentIO track – Clicked on Checkout” has to be made").wait_for()
    assert not Message.objects.exists()

    page.get_by_role("button", name="Send it for real").click()
    page.wait_for_url("**/events/*/?follow=1")
    page.get_by_text("waits for the digest").first.wait_for()
    shop.digest()

    page.get_by_text("done: converted", exact=False).first.wait_for()  # without anybody reloading it
    assert shop.goals() == {"SegmentIO track – Clicked on Checkout": ["vc-tester-1"]}


@pytest.mark.promise("K-41")
def test_guide__first_event_of_the_source__turns_the_check_green(shop: Shop, open_page: Open) -> None:
    page = open_page("guide/curl/")
    check = page.get_by_role("status")
    check.get_by_text("Waiting for the first event of “SDK”").wait_for()

    answer = shop.client.post("/v1/track", json={"userId": "grace", "event": "Signed Up"}, auth=(shop.write_key, ""))
    assert answer.status_code == 200

    check.get_by_text("The first event has come: 1 taken so far").wait_for()
    assert "gp-good" in str(check.get_attribute("class"))
