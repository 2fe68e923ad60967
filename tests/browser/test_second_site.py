"""An administrator makes a second site and its people by clicking; events count there, and each role gets its pages."""

import httpx
import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Locator, Page, expect

from api.pages.frame import MENU
from tests.browser.admin import PASSWORD, Desk, open_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


def test_second_site__made_by_clicking__understands_audiences_and_opens_to_each_role(
    shop: Shop, browser: Browser
) -> None:
    User.objects.create_superuser("admin", password=PASSWORD)
    root = f"{shop.server.url}/"
    with open_desk(browser, root) as admin:
        admin.open("")
        admin.sign_in("admin", PASSWORD)
        admin.page.wait_for_url("**/admin/s/*/")
        sitecode = make_site(admin.page, "Second shop")
        make_user(admin.page, "vera")
        enter_site(admin.page, sitecode)
        write_key = make_source(admin.page)
        invite(admin.page, "vera", "viewer")
        expect(admin.page.get_by_role("row", name="vera")).to_be_visible()
        links = {}
        for name, role in (("edda", "editor"), ("olga@example.com", "owner")):
            invite(admin.page, name, role)
            links[name] = str(admin.page.locator("code", has_text="/admin/join/").text_content())
        send(shop, write_key)

        open_from_menu(admin.page, "Personas")
        expect(admin.page.get_by_role("row", name="big_spenders")).to_contain_text("1")
        open_from_menu(admin.page, "Goals")
        expect(admin.page.get_by_role("link", name="Clicked on Checkout")).to_be_visible()
        expect(admin.page.get_by_text("Audience Entered")).to_be_hidden()

    with open_desk(browser, root) as desk:
        desk.open("")
        desk.sign_in("vera", PASSWORD)
        desk.page.wait_for_url(f"**/admin/s/{sitecode}/")
        visit_every_page(desk, may_own=False)
    for name, link in links.items():
        with open_desk(browser, root) as desk:
            desk.page.goto(link)
            choose_password(desk.page)
            desk.page.wait_for_url(f"**/admin/s/{sitecode}/")
            visit_every_page(desk, may_own=name.startswith("olga"))


def make_site(page: Page, name: str) -> str:
    """Return the sitecode of the new site, whose set-up guide opens."""
    page.get_by_title("Switch site").click()
    page.get_by_role("link", name="New site").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Currency").select_option("EUR")
    page.get_by_role("button", name="Create site").click()
    expect(page.get_by_text(f"Site “{name}” created.")).to_be_visible()
    return page.url.split("/s/")[1].partition("/")[0]


def choose_password(page: Page) -> None:
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("New password confirmation").fill(PASSWORD)
    page.get_by_role("button", name="Create account and join").click()


def make_user(page: Page, username: str) -> None:
    page.get_by_title("Your account").click()
    page.get_by_role("link", name="All tables").click()
    page.get_by_role("link", name="Users", exact=True).first.click()
    page.get_by_role("link", name="Add user").first.click()
    page.get_by_label("Username").fill(username)
    page.locator("#id_password1").fill(PASSWORD)
    page.locator("#id_password2").fill(PASSWORD)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    page.get_by_role("link", name="Back to your site").click()


def enter_site(page: Page, sitecode: str) -> None:
    page.get_by_title("Switch site").click()
    page.get_by_role("link", name=f"({sitecode})").click()
    page.wait_for_url(f"**/admin/s/{sitecode}/")


def make_source(page: Page) -> str:
    """Return its write key, as the page shows it."""
    open_from_menu(page, "Settings")
    page.get_by_role("link", name="Sources and write keys").click()
    form = page.locator("form", has=page.get_by_role("button", name="Create source"))
    form.get_by_label("Name").fill("Shop server")
    form.get_by_label("Kind").select_option("server")
    form.get_by_role("button", name="Create source").click()
    expect(page.get_by_text("Send events with the write key below")).to_be_visible()
    return str(page.locator("[data-copy]").last.get_attribute("data-copy"))


def invite(page: Page, username: str, role: str) -> None:
    open_from_menu(page, "Settings")
    page.get_by_role("link", name="Members").click()
    form = page.locator("form", has=page.get_by_label("E-mail address or username"))
    form.get_by_label("E-mail address or username").fill(username)
    form.get_by_label("Role").select_option(role)
    form.get_by_role("button", name="Invite").click()


def send(shop: Shop, write_key: str) -> None:
    """Send what a shop sends, and have it digested."""
    entered = {"event": "Audience Entered", "properties": {"audience_key": "big_spenders", "big_spenders": True}}
    with httpx.Client(base_url=shop.server.url, auth=(write_key, "")) as sender:
        for event in (entered, {"event": "Clicked on Checkout"}):
            assert sender.post("/v1/track", json={"userId": "ada", **event}).status_code == 200
    shop.digest()


def visit_every_page(desk: Desk, *, may_own: bool) -> None:
    """Open each entry of the menu by clicking: every page has a title and the whole menu."""
    page = desk.page
    titles = [title for group in MENU for title, _ in group]
    for title in titles:
        open_from_menu(page, title)
        expect(page.get_by_role("heading", level=1)).to_contain_text(title, ignore_case=True)
        shown = menu_of(page).get_by_role("link").all_inner_texts()
        assert shown == titles
    open_from_menu(page, "Settings")
    expect(page.get_by_role("link", name="Members")).to_be_visible(visible=may_own)


def menu_of(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Main")


def open_from_menu(page: Page, title: str) -> None:
    menu_of(page).get_by_role("link", name=title, exact=True).click()
    page.wait_for_load_state()
