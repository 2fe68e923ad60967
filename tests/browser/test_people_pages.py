"""A member looks for a missing conversion, and an owner erases a person."""

import pytest
from playwright.sync_api import Browser, expect

from api.models import Erasure
from cohorts.models import Identity
from tests.browser.admin import at_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop
from tests.support.erasures import finish_erasures, places_with

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


@pytest.mark.promise("N-13")
def test_person__in_a_browser__is_found_explained_and_erased(shop: Shop, browser: Browser) -> None:
    shop.send(
        shop.event("identify", userId="ada-king", anonymousId="anon-1", properties={"plan": "pro"}),
        shop.event(event="Buy", userId="grace"),
        shop.event(event="buy", userId="ada-king"),
    )
    with at_desk(browser, shop, role="owner") as desk:
        page = desk.page
        desk.open("people/")
        # The filters are below the search, not over the page.
        expect(page.locator("details", has_text="Filters")).to_have_css("position", "static")
        page.get_by_label("E-mail, name, username, or start of an ID").fill("anon-1")
        page.get_by_role("button", name="Find").click()
        expect(page.get_by_role("heading", name="ada-king", exact=True)).to_be_visible()
        page.get_by_text("Identifiers (2)").click()
        expect(page.get_by_role("cell", name="ada-king", exact=True).first).to_be_visible()
        page.get_by_text("Remote data", exact=True).click()
        expect(page.get_by_role("heading", name="With a token")).to_be_visible()
        expect(page.get_by_role("link", name="buy")).to_be_visible()

        # Why not?
        page.get_by_role("link", name="Why no conversion?").click()
        page.get_by_label("Goal").fill("SegmentIO track – Buy")
        page.get_by_role("button", name="Why?").click()
        expect(page.get_by_role("heading", name="No conversion")).to_be_visible()
        expect(page.get_by_text("“buy” was sent once and nearly matches")).to_be_visible()

        # Erase
        page.get_by_role("link", name="Person", exact=True).click()
        page.get_by_role("link", name="Erase …").click()
        page.get_by_role("button", name="Erase this person").click()
        expect(page.get_by_text("dropped", exact=True)).to_be_visible()
        finish_erasures()
        page.reload()
        expect(page.get_by_text("identities removed")).to_be_visible()
        shop.send(shop.event("identify", userId="ada-king"))  # a late retry
        desk.open("people/?q=ada-king")
        expect(page.get_by_text("No one found for")).to_be_visible()
    assert places_with("ada-king", "anon-1") == []
    assert not Identity.objects.filter(value="ada-king").exists()
    assert Erasure.objects.get().messages == 2
