"""People who set a site up: the event tester and the guide's check, in a real browser."""

import re

import pytest
from playwright.sync_api import Browser, expect

from api.models import Message
from tests.browser.admin import at_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


@pytest.mark.promise("K-82", "W12")
def test_tester__dry_run_then_send__shows_what_will_be_and_follows_what_is(shop: Shop, browser: Browser) -> None:
    with at_desk(browser, shop, role="editor") as desk:
        page = desk.page
        desk.open("tester/")

        page.get_by_role("button", name="Dry run").click()
        page.get_by_text("Nothing was written").first.wait_for()
        page.get_by_text("Would create a goal and convert it: track Clicked on Checkout").first.wait_for()
        page.get_by_text("Step by step").click()
        page.get_by_text("the new goal “SegmentIO track – Clicked on Checkout” is needed").wait_for()
        assert not Message.objects.exists()

        page.get_by_role("button", name="Send live").click()
        page.wait_for_url("**/events/*/?follow=1")
        page.get_by_text("Queued").first.wait_for()
        shop.digest()

        page.get_by_text("Processed: Converted", exact=False).first.wait_for()  # without anybody reloading it
        assert shop.goals() == {"SegmentIO track – Clicked on Checkout": ["vc-tester-1"]}


@pytest.mark.promise("K-82")
def test_tester__fields_and_json__are_one_event(shop: Shop, browser: Browser) -> None:
    with at_desk(browser, shop, role="viewer") as desk:
        desk.open("tester/")
        body, name = desk.page.get_by_label("One event, as JSON"), desk.page.get_by_label("Name", exact=True)

        name.press("End")
        name.press_sequentially(" again")
        expect(body).to_have_value(re.compile('"event": "Clicked on Checkout again"'))
        expect(name).to_be_focused()
        body.fill('{"type": "track",\n"event": "Typed" "userId": "u"}')
        expect(desk.page.get_by_text("Line 2, column 18: ")).to_be_visible()
        body.fill('{"type": "track", "event": "Typed", "userId": "u"}')
        expect(name).to_have_value("Typed")
        expect(desk.page.get_by_text("Line 2, column 18: ")).to_be_hidden()


@pytest.mark.promise("K-41")
def test_guide__first_event_of_the_source__turns_the_check_green(shop: Shop, browser: Browser) -> None:
    with at_desk(browser, shop, role="editor") as desk:
        page = desk.page
        desk.open("guide/curl/")
        check = page.get_by_role("status")
        check.get_by_text("Waiting for the first event from “SDK”").wait_for()

        answer = shop.client.post(
            "/v1/track", json={"userId": "grace", "event": "Signed Up"}, auth=(shop.write_key, "")
        )
        assert answer.status_code == 200

        check.get_by_text("First event received: 1 so far").wait_for()
        assert page.locator(".gp-path > .gp-done").count() == 4
        assert "gp-good" in str(check.get_attribute("class"))
        page.get_by_role("link", name="Show the last event with its trace").click()
        page.get_by_role("heading", name="Signed Up").wait_for()
