"""A person at the admin's pages in a real browser, where no page may complain of anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect

from api.models import Membership, Site, Source, WriteKey
from tests.browser.chromium import LOOPBACK, PATIENCE
from tests.contract.server import Shop

PASSWORD = "a long password"


@dataclass
class Desk:
    """A browser that is signed in, at a site's pages."""

    page: Page
    base: str  # of the site's pages, ends with a slash
    complaints: list[str] = field(default_factory=list)  # the console's, breaches of the CSP among them
    hosts: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda each: self.complaints.append(each.text) if each.type in NOT_SILENT else None)
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).hostname or "localhost"))

    def open(self, path: str) -> None:
        """Open a page below the site's."""
        self.page.goto(f"{self.base}{path}")

    def sign_in(self, username: str, password: str) -> None:
        """Fill in the sign-in form that is open, and send it."""
        self.page.get_by_label("Username").fill(username)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()


NOT_SILENT = {"error", "warning"}


@contextmanager
def at_desk(browser: Browser, shop: Shop, *, role: str, **look: Any) -> Iterator[Desk]:
    """Sign in by the form, as a plain member of the shop's site. In the end no page complained or asked another host.

    `look` is what the browser looks like, in Playwright's words: `viewport`, `color_scheme`.
    """
    user = User.objects.create_user(role, password=PASSWORD)  # members are not what Django calls staff
    Membership.objects.create(user=user, site=Site.objects.get(sitecode=shop.sitecode), role=role)
    with open_desk(browser, f"{shop.server.url}/admin/s/{shop.sitecode}/", **look) as desk:
        desk.open("")
        desk.sign_in(role, PASSWORD)
        desk.page.wait_for_url(desk.base)
        yield desk


@contextmanager
def open_desk(browser: Browser, base: str, **look: Any) -> Iterator[Desk]:
    """Open a browser without a session. In the end, assert that no page logged an error or asked another host."""
    context = browser.new_context(**look)
    context.set_default_timeout(PATIENCE * 1000)
    expect.set_options(timeout=PATIENCE * 1000)
    desk = Desk(context.new_page(), base)
    yield desk
    context.close()
    assert desk.complaints == []
    assert desk.hosts <= LOOPBACK


def write_key(source: Source) -> WriteKey:
    return source.write_keys.get()
