"""A look into rows of lists beside the list: by space, by a button, from row to row, and back."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.admin import Desk, at_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def desk(shop: Shop, browser: Browser) -> Iterator[Desk]:
    properties = {"revenue": 12, "currency": "EUR"}
    shop.send(
        *(shop.event(event=name, userId=f"user-{name}", properties=properties) for name in ("Buy", "Look", "Buy"))
    )
    shop.send(shop.event("identify", userId="user-Buy", traits={"email": "ada@example.com", "plan": "pro"}))
    with at_desk(browser, shop, role="editor") as desk:
        yield desk


def test_peek__by_keys__goes_from_goal_to_goal_and_gives_the_focus_back(desk: Desk) -> None:
    page = desk.page
    desk.open("goals/")
    address, panel = page.url, page.get_by_role("dialog", name="track Buy")

    page.keyboard.press("j")
    page.keyboard.press("Space")
    expect(panel).to_contain_text("Events that count")
    expect(panel).to_contain_text("EUR 24.00")
    expect(panel).to_be_focused()
    page.keyboard.press("j")
    expect(page.get_by_role("dialog", name="track Look")).to_contain_text("EUR 12.00")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(panel).to_contain_text("EUR 24.00")

    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page.get_by_role("link", name="track Buy")).to_be_focused()
    assert page.url == address
    assert page.title().startswith("Goals")


@pytest.mark.parametrize(
    ("path", "button", "text"),
    [
        ("events/", "Look into Look", "Converted"),
        ("people/", "Look into ada@example.com", "plan"),
        ("goals/{goal}/conversions/", "Look into user-Look", "Converted"),
    ],
    ids=["events", "people", "conversions"],
)
def test_peek__by_the_button_of_a_row__shows_its_summary_and_leads_to_its_page(
    shop: Shop, desk: Desk, path: str, button: str, text: str
) -> None:
    page = desk.page
    if "{goal}" in path:
        desk.open("goals/")
        page.get_by_role("link", name="track Look").click()
        page.get_by_role("link", name="Conversions", exact=True).click()
    else:
        desk.open(path)

    page.get_by_role("button", name=button).first.click()

    panel = page.locator("#peek")
    expect(panel).to_contain_text(text)
    panel.get_by_role("link", name="Open", exact=True).click()
    expect(page.locator("h1")).to_be_visible()
    assert "event" in page.url or "person" in page.url


def test_peek__of_a_live_event__survives_its_change(shop: Shop, desk: Desk) -> None:
    page = desk.page
    desk.open("events/")
    shop.post(shop.event(event="Fresh"))
    row = page.locator("tbody tr[data-id]").first
    expect(row).to_contain_text("Queued")
    row.get_by_role("button", name="Look into Fresh").click()
    expect(page.locator("#peek")).to_contain_text("Queued")
    shop.digest()
    expect(row).to_contain_text("Converted")

    page.keyboard.press("Escape")

    expect(row.get_by_role("link").first).to_be_focused()
