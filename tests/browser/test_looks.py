"""Every page at two widths, light and dark: no serious finding of axe-core, no console error, nothing too wide.

`make screenshots` also takes pictures, and covers the other two combinations.
"""

import os
from typing import Final

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from api.ingest.provisioning import create_site
from api.models import Site
from tests.bench.seed import seed
from tests.browser.admin import at_desk
from tests.browser.chromium import HERE, needs_browser
from tests.browser.tour import Stop, tour
from tests.contract.server import Shop

AXE: Final = HERE.parent / "contract/node_modules/axe-core/axe.min.js"
needs_axe = pytest.mark.skipif("CI" not in os.environ and not AXE.exists(), reason="needs npm")
pytestmark = [needs_browser, needs_axe, pytest.mark.xdist_group("browser")]

PICTURES: Final = os.environ.get("GOALPOST_SCREENSHOTS", "")
LOOKS: Final = [(1440, "light"), (390, "dark"), *([(1440, "dark"), (390, "light")] if PICTURES else [])]
GRAVE: Final = {"serious", "critical"}
RUN: Final = "async (runOnly) => (await axe.run({runOnly, resultTypes: ['violations'], preload: false})).violations"
STANDARD: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# Nothing may be looked at half faded.
FINISH: Final = "document.getAnimations().filter(each => each instanceof CSSTransition).forEach(each => each.finish())"
# Rules that depend on width and colours. The first look has checked the rest of the document.
OF_LOOKS: Final = {"type": "rule", "values": ["color-contrast", "scrollable-region-focusable"]}


def test_every_page__looked_at__has_nothing_that_is_in_somebodys_way(shop: Shop, browser: Browser) -> None:
    site = create_site(name="Filled below")
    seed(site, goals=60, conversions=2_000, messages=1_500)
    with at_desk(browser, shop, role="owner") as desk:
        User.objects.update(is_superuser=True, is_staff=True)
        stops = tour(site, empty=Site.objects.get(sitecode=shop.sitecode))
        wrong = look_at(desk.page, shop, stops)
    assert not wrong, "\n".join(wrong)


def test_page__of_somebody_without_rights__is_a_page_too(shop: Shop, browser: Browser) -> None:
    strange, own = "/admin/s/nothing000/", f"/admin/s/{shop.sitecode}/settings/credentials/"
    with at_desk(browser, shop, role="viewer") as desk:
        # A tab of their own: a browser complains of each answer that is not 200.
        signed_in = desk.page.context.new_page()
        wrong = look_at(signed_in, shop, {"not found": Stop(strange), "not allowed": Stop(own)})
        expect(signed_in.get_by_text("You need the role “owner”")).to_be_visible()
    page = browser.new_page()
    wrong += look_at(page, shop, {"login": Stop("/admin/login/"), "login first": Stop("/admin/tables/")})
    page.context.close()
    assert not wrong, "\n".join(wrong)


def test_keyboard__alone__skips_the_menu_and_sees_where_it_is(shop: Shop, browser: Browser) -> None:
    with at_desk(browser, shop, role="owner") as desk:
        page = desk.page
        desk.open("goals/")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to main content")).to_be_focused()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        new = page.get_by_role("link", name="New goal")
        expect(new).to_be_focused()
        assert new.evaluate("link => getComputedStyle(link).outlineStyle") == "solid"
        expect(page.get_by_role("link", name="Goals", exact=True)).to_be_visible()  # its icon is not read

        page.get_by_title("Switch site").press("Enter")
        other = page.get_by_role("link", name=f"({shop.sitecode})")
        expect(other).to_be_visible()
        page.keyboard.press("Escape")
        expect(other).to_be_hidden()


def look_at(page: Page, shop: Shop, stops: dict[str, Stop]) -> list[str]:
    """Return the faults of each page in each look, and take the pictures."""
    page.context.add_init_script(path=AXE)
    wrong: list[str] = []
    for name, stop in stops.items():
        for width, scheme in LOOKS:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            is_first = (width, scheme) == LOOKS[0]
            # Otherwise the page that is there takes on the other look: loading all again takes twenty seconds.
            if is_first or PICTURES:
                page.goto(f"{shop.server.url}{stop.address}")
                stop.act(page)
            page.evaluate(FINISH)
            if PICTURES:
                page.screenshot(path=f"{PICTURES}/{name}-{width}-{scheme}.png".replace(" ", "_"), full_page=True)
            wrong += [f"{name}, {width} {scheme}: {each}" for each in findings(page, is_first=is_first)]
    return wrong


def findings(page: Page, *, is_first: bool) -> list[str]:
    """Return axe-core's serious findings, and how much wider the page is than the window."""
    found = [
        f"{each['id']}: {node['target']} {node['failureSummary']}"
        for each in page.evaluate(RUN, STANDARD if is_first else OF_LOOKS)
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]
    excess = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return found + ([f"wider than the window by {excess} px"] if excess > 0 else [])
