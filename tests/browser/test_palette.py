"""The palette and the keys of all pages, by keyboard alone."""

import pytest
from playwright.sync_api import Browser, expect

from api.models import Site
from goals.models import Goal
from tests.browser.admin import at_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


def test_palette__opened_by_its_keys__leads_to_what_is_typed(shop: Shop, browser: Browser) -> None:
    site = Site.objects.get(sitecode=shop.sitecode)
    goal = Goal.objects.create(site=site, name="Ordered a lamp")
    Goal.objects.create(site=site, name="Ordered a table")
    with at_desk(browser, shop, role="editor") as desk:
        page = desk.page
        field = page.get_by_role("combobox", name="Search")
        page.keyboard.press("Control+k")
        expect(page.get_by_role("option", name="Delivery")).to_be_visible()
        page.keyboard.type("ordered")
        expect(page.get_by_role("option", name="Ordered a lamp")).to_have_attribute("aria-selected", "true")
        page.keyboard.press("ArrowDown")
        chosen = page.get_by_role("option", name="Ordered a table")
        expect(chosen).to_have_attribute("aria-selected", "true")
        expect(field).to_have_attribute("aria-activedescendant", str(chosen.get_attribute("id")))
        page.keyboard.press("ArrowUp")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/goals/{goal.pk}/")

        page.keyboard.press("/")
        page.keyboard.type("no such thing")
        expect(page.get_by_text("Nothing found for “no such thing”.")).to_be_visible()
        page.keyboard.press("Escape")
        expect(field).to_be_hidden()


def test_keys__outside_fields__lead_to_pages_and_rows(shop: Shop, browser: Browser) -> None:
    site = Site.objects.get(sitecode=shop.sitecode)
    for name in ("First", "Second"):
        Goal.objects.create(site=site, name=name)
    with at_desk(browser, shop, role="editor") as desk:
        page = desk.page
        page.keyboard.press("?")
        expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_hidden()
        for name in ("events", "delivery", "people", "settings", "goals"):
            page.keyboard.press("g")
            page.keyboard.press(name[0])
            page.wait_for_url(f"{desk.base}{name}/")
        second = page.locator("main tbody tr").nth(1).get_by_role("link").first
        name = second.inner_text()
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        page.keyboard.press("j")
        expect(second).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url("**/goals/*/")
        expect(page.get_by_role("heading", level=1)).to_contain_text(name)
        page.keyboard.press("g")
        page.keyboard.press("h")
        page.wait_for_url(desk.base)


def test_keys__typed_quickly__open_nothing_that_was_not_asked_for(shop: Shop, browser: Browser) -> None:
    with at_desk(browser, shop, role="editor") as desk:
        page = desk.page
        page.goto(f"{desk.base}goals/")
        page.keyboard.press("e")  # no g before it
        page.keyboard.press("Control+k")
        expect(page.get_by_role("option", name="Home")).to_have_attribute("aria-selected", "true")
        page.keyboard.type("segments")
        page.keyboard.press("Enter")  # before its results are there
        page.wait_for_url(lambda url: url == f"{desk.base}segments/" or url.endswith("/search/?q=segments"))


def test_search__without_scripts__is_a_page(shop: Shop, browser: Browser) -> None:
    with at_desk(browser, shop, role="viewer", java_script_enabled=False) as desk:
        page = desk.page
        page.get_by_role("link", name="Search").click()
        page.get_by_role("searchbox", name="Search").fill("deliv")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name="Delivery").last.click()
        page.wait_for_url("**/delivery/*")
        page.set_viewport_size({"width": 390, "height": 800})
        page.get_by_role("button", name="Menu").click()
        page.get_by_role("navigation", name="Main").get_by_role("link", name="People").click()
        page.wait_for_url("**/people/")
