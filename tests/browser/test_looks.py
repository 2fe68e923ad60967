"""Every page at two widths, light and dark: nothing that axe-core calls serious, no complaint, nothing too wide.

`make screenshots` takes pictures of them besides, and looks at the other two combinations too.
"""

import os
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from api.models import Site
from api.sites import create_site
from tests.bench.seed import seed
from tests.browser.admin import at_desk
from tests.browser.chromium import HERE, needs_browser
from tests.browser.tour import tour
from tests.contract.server import Shop

AXE: Final = HERE.parent / "contract/node_modules/axe-core/axe.min.js"
needs_axe = pytest.mark.skipif("CI" not in os.environ and not AXE.exists(), reason="needs npm")
pytestmark = [needs_browser, needs_axe, pytest.mark.xdist_group("browser")]

PICTURES: Final = os.environ.get("GOALPOST_SCREENSHOTS", "")
LOOKS: Final = [(1440, "light"), (390, "dark"), *([(1440, "dark"), (390, "light")] if PICTURES else [])]
GRAVE: Final = {"serious", "critical"}
RUN: Final = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page__looked_at__has_nothing_that_is_in_somebodys_way(
    shop: Shop, browser: Browser, width: int, scheme: str
) -> None:
    site = create_site(name="Filled below")
    seed(site, goals=60, conversions=2_000, messages=1_500)
    found: dict[str, list[str]] = {}
    look: dict[str, Any] = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with at_desk(browser, shop, role="owner", **look) as desk:
        User.objects.update(is_superuser=True)
        desk.page.context.add_init_script(path=AXE)
        for name, address in tour(site, empty=Site.objects.get(sitecode=shop.sitecode)).items():
            desk.page.goto(f"{shop.server.url}{address}")
            found[name] = findings(desk.page)
            if PICTURES:
                desk.page.screenshot(path=f"{PICTURES}/{name}-{width}-{scheme}.png".replace(" ", "_"), full_page=True)
    wrong = "\n".join(f"{name}: {each}" for name, those in found.items() for each in those)
    assert not wrong, wrong


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/s/nothing000/", "/admin/tables/"])
def test_page__of_somebody_without_rights__is_a_page_too(shop: Shop, browser: Browser, path: str) -> None:
    page = browser.new_page()
    page.context.add_init_script(path=AXE)
    page.goto(f"{shop.server.url}{path}")
    assert findings(page) == []
    page.context.close()


def test_keyboard__alone__skips_the_menu_and_sees_where_it_is(shop: Shop, browser: Browser) -> None:
    with at_desk(browser, shop, role="owner") as desk:
        page = desk.page
        desk.open("goals/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        new = page.get_by_role("link", name="New goal")
        expect(new).to_be_focused()
        assert new.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
        expect(page.get_by_role("link", name="Goals", exact=True)).to_be_visible()  # its icon is not read

        page.get_by_role("button", name="Goalpost").press("Enter")
        other = page.get_by_role("link", name=f"({shop.sitecode})")
        expect(other).to_be_visible()
        page.keyboard.press("Escape")
        expect(other).to_be_hidden()


def findings(page: Page) -> list[str]:
    """What axe-core finds serious or critical, and by how much the page is wider than the window."""
    found = [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in page.evaluate(RUN)
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]
    excess = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return found + ([f"wider than the window by {excess} px"] if excess > 0 else [])
