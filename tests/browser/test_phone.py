"""On a phone no list scrolls sideways: a row is a card with its name and its figure."""

from typing import Final

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, expect

from api.ingest.provisioning import create_site
from api.models import Site
from tests.bench.seed import seed
from tests.browser.admin import at_desk
from tests.browser.chromium import needs_browser
from tests.browser.tour import addresses
from tests.contract.server import Shop

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]

PHONE: Final = {"width": 390, "height": 844}
# The tables of Django's admin are its own.
WIDE: Final = """() => [...document.querySelectorAll("main *")].filter((each) =>
    each.clientWidth > 0 && each.scrollWidth > each.clientWidth + 1
    && ["auto", "scroll"].includes(getComputedStyle(each).overflowX) && each.querySelector("table")
  ).map((each) => each.getAttribute("aria-label") || each.textContent.trim().slice(0, 40))"""


def test_lists__on_a_phone__fit_into_its_width(shop: Shop, browser: Browser) -> None:
    site = create_site(name="Filled below")
    seed(site, goals=60, conversions=2_000, messages=1_500)
    with at_desk(browser, shop, role="owner", viewport=PHONE) as desk:
        User.objects.update(is_superuser=True, is_staff=True)
        stops = addresses(site, empty=Site.objects.get(sitecode=shop.sitecode))
        wide = {}
        for name, address in stops.items():
            if not name.startswith("table"):
                desk.page.goto(f"{shop.server.url}{address}", wait_until="domcontentloaded")
                wide[name] = desk.page.evaluate(WIDE)
        assert {name: found for name, found in wide.items() if found} == {}

        desk.page.goto(f"{shop.server.url}{stops['settings-sources']}")
        row = desk.page.get_by_role("row").filter(has_text="Shop server")
        for text in ("in 24 h", "Copy", "ago"):
            expect(row.get_by_text(text)).to_be_visible()
