"""Live pages ask when their stream says so, and every second where they have no stream."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.admin import Desk, at_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop
from tests.support.page_events import send

SHOW = """isShown => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => !isShown });
  document.dispatchEvent(new Event("visibilitychange"));
}"""

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def desk(shop: Shop, browser: Browser) -> Iterator[Desk]:
    with at_desk(browser, shop, role="editor") as desk:
        yield desk


class Asked:
    """The requests of a page whose path ends so."""

    def __init__(self, page: Page, end: str) -> None:
        self.count = 0
        self._end = end
        page.on("request", lambda request: self._note(request.url))

    def _note(self, url: str) -> None:
        self.count += urlsplit(url).path.endswith(self._end)


def open_events(desk: Desk) -> Asked:
    """Open the list of events, and return its requests for rows once the first one is answered."""
    asked = Asked(desk.page, "/events/rows/")
    with desk.page.expect_response(lambda answer: "/events/rows/" in answer.url):
        desk.open("events/")
    return asked


def test_events__with_a_stream__are_shown_at_once_and_nothing_is_asked_between(shop: Shop, desk: Desk) -> None:
    asked = open_events(desk)
    desk.page.wait_for_timeout(4_000)
    assert asked.count == 1

    send(shop, "Order")
    expect(desk.page.locator("tbody tr[data-id]")).to_contain_text("Order", timeout=4_000)
    shop.digest()
    expect(desk.page.locator("tbody tr[data-id]")).to_contain_text("Converted", timeout=4_000)


@pytest.mark.parametrize("trouble", ["refused", "held back"])
def test_events__without_a_stream__are_asked_for_every_second(shop: Shop, desk: Desk, trouble: str) -> None:
    def answer(route: Route) -> None:
        if trouble == "refused":
            route.fulfill(status=503)

    desk.page.route("**/changes/", answer)
    asked = open_events(desk)
    desk.page.wait_for_timeout(4_000)
    assert asked.count >= 3
    send(shop, "Order")
    expect(desk.page.locator("tbody tr[data-id]")).to_contain_text("Order")

    desk.page.unroute_all(behavior="ignoreErrors")
    if trouble == "refused":  # a stream that can be opened later ends this
        with desk.page.expect_response(lambda response: response.url.endswith("/changes/") and response.ok):
            pass
        desk.page.wait_for_timeout(1_500)
        before = asked.count
        desk.page.wait_for_timeout(4_000)
        assert asked.count == before
    desk.complaints[:] = [each for each in desk.complaints if "503" not in each]


def test_tab__while_it_is_hidden__has_no_stream(shop: Shop, desk: Desk) -> None:
    asked = open_events(desk)
    with desk.page.expect_event("requestfailed", lambda request: request.url.endswith("/changes/")):
        desk.page.evaluate(SHOW, arg=False)
    send(shop, "Order")
    desk.page.wait_for_timeout(3_000)
    assert asked.count == 1

    desk.page.evaluate(SHOW, arg=True)
    expect(desk.page.locator("tbody tr[data-id]")).to_contain_text("Order")


def test_person__who_signed_out_elsewhere__is_told(shop: Shop, desk: Desk) -> None:
    open_events(desk)
    Session.objects.all().delete()
    send(shop, "Order")

    expect(desk.page.get_by_role("status")).to_contain_text("you are signed out")
    assert desk.page.locator("tbody tr[data-id]").count() == 0
    desk.complaints.clear()


@pytest.mark.parametrize(
    ("path", "place"), [("", "[aria-labelledby=delivery]"), ("delivery/", "nav[aria-label=Pipeline]")]
)
def test_page__of_figures__renews_itself_when_events_came(shop: Shop, desk: Desk, path: str, place: str) -> None:
    send(shop, "First")  # before it Home has nothing to show
    shop.digest()
    desk.open(path)
    expect(desk.page.locator(place)).not_to_contain_text("31")
    desk.page.evaluate("window.isStillThere = true")
    for number in range(30):
        send(shop, f"Order {number}")
    shop.digest()

    expect(desk.page.locator(place)).to_contain_text("31", timeout=25_000)  # 30 s without a stream
    assert desk.page.evaluate("window.isStillThere")


def open_long_list(shop: Shop, desk: Desk) -> Locator:
    """Open a list of 40 events on a phone, and return its fifth row."""
    desk.page.set_viewport_size({"width": 390, "height": 700})
    for number in range(40):
        send(shop, f"Order {number}")
    shop.digest()
    open_events(desk)
    expect(desk.page.locator("tbody tr[data-id]")).to_have_count(40)
    return desk.page.locator("tbody tr[data-id]", has_text="Order 35")


def await_more(shop: Shop, desk: Desk, row: Locator) -> Locator:
    """Send two events, and return the button that holds their rows. Assert that no row moved."""
    before = row.bounding_box()
    more = desk.page.get_by_role("button", name="2 new events")
    for name in ("Later", "Latest"):
        send(shop, name)
    expect(more).to_be_visible()
    shop.digest()
    desk.page.wait_for_timeout(2_000)  # the page has asked again
    assert row.bounding_box() == before
    expect(desk.page.get_by_text("Latest")).to_have_count(0)
    return more


def test_rows__while_a_person_has_scrolled__come_by_a_button(shop: Shop, desk: Desk) -> None:
    row = open_long_list(shop, desk)
    row.scroll_into_view_if_needed()
    desk.page.evaluate("scrollTo(0, 300)")
    await_more(shop, desk, row).click()

    latest = desk.page.locator("tbody tr[data-id]").first
    expect(latest).to_contain_text("Latest")
    expect(latest).to_contain_text("Converted")  # as it is now
    expect(latest).to_be_in_viewport()
    expect(desk.page.get_by_role("button", name="new events")).to_be_hidden()


def test_rows__while_a_person_looks_into_one__wait_until_they_have_left_it(shop: Shop, desk: Desk) -> None:
    row = open_long_list(shop, desk)
    row.get_by_role("link").focus()
    desk.page.keyboard.press("Space")
    expect(desk.page.get_by_role("dialog")).to_contain_text("Order 35")
    await_more(shop, desk, row)
    expect(row).to_have_class("gp-looked")

    desk.page.keyboard.press("Escape")
    expect(row.get_by_role("link")).to_be_focused()
    row.get_by_role("link").blur()
    expect(desk.page.locator("tbody tr[data-id]").first).to_contain_text("Latest")


def test_rows__while_text_is_selected__stay(shop: Shop, desk: Desk) -> None:
    row = open_long_list(shop, desk)
    row.get_by_text("Order 35").select_text()
    await_more(shop, desk, row)
    assert desk.page.evaluate("getSelection().toString()") == "Order 35"


def test_row__with_the_keyboard__keeps_it_when_its_event_is_processed(shop: Shop, desk: Desk) -> None:
    open_events(desk)
    send(shop, "Order")
    row = desk.page.locator("tbody tr[data-id]")
    row.get_by_role("link").focus()
    shop.digest()
    expect(row).to_contain_text("Converted")
    expect(row.get_by_role("link")).to_be_focused()
