"""An engineer who has pasted a key sees the first event arrive, opens it, and reads what happened to it."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route, expect

from api.models import Message
from tests.browser.admin import Desk, at_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop
from tests.support.page_events import send

WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver(list => window.shifts.push(...list.getEntries().map(
  each => each.sources.map(source => source.node?.outerHTML?.slice(0, 80)))))
  .observe({ type: "layout-shift", buffered: true });
"""

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def desk(shop: Shop, browser: Browser) -> Iterator[Desk]:
    with at_desk(browser, shop, role="editor") as desk:
        yield desk


@pytest.mark.promise("B-04", "B-05", "K-42", "N-04")
def test_live_page__an_event_is_sent__shows_it_without_reload_and_its_trace(shop: Shop, desk: Desk) -> None:
    page = desk.page
    desk.open("events/")
    expect(page.get_by_text("No events yet")).to_be_visible()
    page.evaluate("window.isStillThere = true")

    send(shop, "First <b>order</b>")
    row = page.locator("tbody tr[data-id]")
    expect(row).to_contain_text("First <b>order</b>")
    expect(row).to_contain_text("Queued")
    expect(page.get_by_role("status")).to_contain_text("1 new event")
    shop.digest()
    expect(row).to_contain_text("Converted, Goal created")
    assert page.evaluate("window.isStillThere")

    row.get_by_role("link").click()
    expect(page.get_by_role("heading", name="First <b>order</b>")).to_be_visible()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()
    page.get_by_text("checks passed").click()
    expect(page.get_by_text("visitor code, from properties.kameleoonVisitorCode")).to_be_visible()
    expect(page.get_by_text("SegmentIO track – First <b>order</b>").first).to_be_visible()
    expect(page.get_by_text("There was room: this event created the goal.")).to_be_visible()


@pytest.mark.promise("B-04")
def test_live_page__while_paused__stays_as_it_is(shop: Shop, desk: Desk) -> None:
    page = desk.page
    desk.open("events/")
    page.get_by_role("button", name="Pause").click()
    with page.expect_response(lambda answer: "/events/rows/" in answer.url) as looked:
        send(shop, "While paused")
        expect(page.get_by_role("status")).to_have_text("Paused")
        assert page.locator("tbody tr[data-id]").count() == 0
        page.get_by_role("button", name="Resume").click()
    assert looked.value.ok
    expect(page.locator("tbody tr[data-id]")).to_contain_text("While paused")


@pytest.mark.parametrize("path", ["", "events/", "goals/", "delivery/", "people/"])
def test_page__on_a_phone__does_not_move_while_it_loads(shop: Shop, desk: Desk, path: str) -> None:
    """A shift is of how much of the screen, times how far; up to 0.1 counts as good."""
    for number in range(5):
        send(shop, f"Order {number}")
    shop.digest()
    page = desk.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.add_init_script(WATCH_SHIFTS)

    def delay(route: Route) -> None:
        time.sleep(0.3)  # the page is painted before
        route.continue_()

    page.route("**/*.js", delay)
    desk.open(path)
    page.wait_for_load_state("networkidle" if path != "events/" else "load")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    assert page.evaluate("window.shifts") == []


@pytest.mark.promise("N-05", "K-84")
def test_failed__tried_again__becomes_a_conversion(shop: Shop, desk: Desk) -> None:
    page = desk.page
    send(shop, "Order")
    Message.objects.update(status="failed", reason="digest_failed")
    desk.open("delivery/")
    page.get_by_role("link", name="Failed events").click()
    page.get_by_role("link", name="Retry …").click()
    expect(page.locator(".gp-figure").filter(has_text="conversion")).to_contain_text("1")
    page.get_by_role("button", name="Retry 1 event").click()
    expect(page.get_by_text("1 event retried.")).to_be_visible()
    shop.digest()

    assert shop.goals() == {"SegmentIO track – Order": ["visitor-1"]}
