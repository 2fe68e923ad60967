"""An engineer who has pasted a key sees the first event arrive, opens it, and reads what happened to it."""

from collections.abc import Iterator

import httpx
import pytest
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from playwright.sync_api import Browser, Page, expect

from api.models import Membership, Message, Site
from tests.browser.chromium import PATIENCE, needs_browser
from tests.contract.server import Shop

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def page(shop: Shop, browser: Browser) -> Iterator[Page]:
    """The page of an editor who is signed in; nothing is said in its console, and no script fails."""
    user = User.objects.create_user("ada")
    Membership.objects.create(user=user, site=Site.objects.get(sitecode=shop.sitecode), role=Membership.Role.EDITOR)
    session = SessionStore()
    session.update(
        {
            SESSION_KEY: str(user.pk),
            BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
            HASH_SESSION_KEY: user.get_session_auth_hash(),
        }
    )
    session.save()
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    name, key = settings.SESSION_COOKIE_NAME, str(session.session_key)
    context.add_cookies([{"name": name, "value": key, "url": shop.server.url}])
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []


def send(shop: Shop, name: str) -> None:
    """As an SDK does, with the write key."""
    event = {"event": name, "userId": "user-1", "properties": {"kameleoonVisitorCode": "visitor-1"}}
    answer = httpx.post(f"{shop.server.url}/v1/track", json=event, auth=(shop.write_key, ""), timeout=30)
    assert answer.status_code == 200, answer.text


@pytest.mark.promise("B-04", "B-05", "K-42", "N-04")
def test_live_page__an_event_is_sent__shows_it_without_reload_and_its_trace(shop: Shop, page: Page) -> None:
    patience = PATIENCE * 1000
    page.goto(f"{shop.server.url}/admin/s/{shop.sitecode}/events/")
    expect(page.get_by_text("No events yet")).to_be_visible(timeout=patience)
    page.evaluate("window.isStillThere = true")

    send(shop, "First <b>order</b>")
    row = page.locator("tbody tr")
    expect(row).to_contain_text("First <b>order</b>", timeout=patience)
    expect(row).to_contain_text("waits for the digest")
    expect(page.get_by_role("status")).to_contain_text("One new event.")
    shop.digest()
    expect(row).to_contain_text("converted, made a goal", timeout=patience)
    assert page.evaluate("window.isStillThere")

    row.get_by_role("link").click()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible(timeout=patience)
    expect(page.get_by_text("visitor code, from properties.kameleoonVisitorCode")).to_be_visible()
    expect(page.get_by_text("SegmentIO track – First <b>order</b>").first).to_be_visible()
    expect(page.get_by_text("There was room: this event made the goal.")).to_be_visible()


@pytest.mark.promise("B-04")
def test_live_page__while_paused__stays_as_it_is(shop: Shop, page: Page) -> None:
    patience = PATIENCE * 1000
    page.goto(f"{shop.server.url}/admin/s/{shop.sitecode}/events/")
    page.get_by_role("button", name="Pause").click()
    with page.expect_response(lambda answer: "/events/rows/" in answer.url, timeout=patience) as looked:
        send(shop, "While paused")
        expect(page.get_by_role("status")).to_have_text("Paused.")
        assert page.locator("tbody tr").count() == 0
        page.get_by_role("button", name="Go on").click()
    assert looked.value.ok
    expect(page.locator("tbody tr")).to_contain_text("While paused", timeout=patience)


@pytest.mark.promise("N-05", "K-84")
def test_failed__tried_again__becomes_a_conversion(shop: Shop, page: Page) -> None:
    patience = PATIENCE * 1000
    send(shop, "Order")
    Message.objects.update(status="dead", reason="digest_failed")
    page.goto(f"{shop.server.url}/admin/s/{shop.sitecode}/delivery/")
    page.get_by_role("link", name="Refused, dead and waiting events").click()
    page.get_by_role("link", name="Try again …").click()
    expect(page.locator(".gp-figure").filter(has_text="conversion")).to_contain_text("1", timeout=patience)
    page.get_by_role("button", name="Try 1 event again").click()
    expect(page.get_by_text("Tried again: 1.")).to_be_visible(timeout=patience)
    shop.digest()

    assert shop.goals() == {"SegmentIO track – Order": ["visitor-1"]}
