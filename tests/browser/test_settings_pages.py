"""An owner at the settings: an alert that reaches its webhook, keys that open and are closed, a rule that is tried."""

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Dialog, expect

from api.alerts import outbox
from api.models import Rule, WriteKey
from tests.alerts.receivers import receiving
from tests.browser.admin import Desk, at_desk
from tests.browser.chromium import PATIENCE, needs_browser
from tests.contract.server import Shop

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


@pytest.fixture
def desk(shop: Shop, browser: Browser) -> Iterator[Desk]:
    with at_desk(browser, shop, role="owner") as desk:
        yield desk


def wait_for_status(expected: int, shop: Shop, *, auth: tuple[str, str] | None = None, token: str = "") -> None:
    """Ask for the goals until the answer has this status: a process may know a key for 5 seconds more."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    deadline = time.monotonic() + PATIENCE
    while (got := shop.client.get("/api/goals", auth=auth, headers=headers).status_code) != expected:
        assert time.monotonic() < deadline, got
        time.sleep(0.1)


def copied(desk: Desk, label: str) -> str:
    """Return the text that the button beside a secret copies."""
    row = desk.page.locator(f'dt:text-is("{label}") + dd')
    return str(row.get_by_role("button", name="Copy").get_attribute("data-copy"))


@pytest.mark.promise("K-39", "A-01")
def test_copy__of_the_sitecode_and_of_a_write_key__fills_the_clipboard(shop: Shop, desk: Desk) -> None:
    page = desk.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    key = WriteKey.objects.filter(source__site__sitecode=shop.sitecode).earliest("pk").key
    for path, text in (("settings/", shop.sitecode), ("settings/sources/", key)):
        desk.open(path)
        page.locator(f'[data-copy="{text}"]').first.click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == text


def test_alert__made_and_tested__reaches_the_webhook_and_stands_in_the_log(desk: Desk) -> None:
    page = desk.page
    desk.open("settings/alerts/")
    page.get_by_role("link", name="Create alert").click()
    page.get_by_label("Name").fill("Slow digest")
    page.get_by_label("When the").select_option("lag")
    page.get_by_label("exceeds").fill("60")
    with receiving(200) as receiver:
        page.get_by_label("Webhook URL").fill(receiver.url)
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Alert saved. It is checked every 30 seconds.")).to_be_visible()

        page.get_by_role("button", name="Test Slow digest").click()
        expect(page.get_by_text("Test queued for 1 address")).to_be_visible()
        outbox.send_due(now=datetime.now(UTC), seconds=PATIENCE)  # as a worker does, and none runs here
        desk.open("settings/alerts/")

    told = page.get_by_role("region", name="Notification history").get_by_role("row", name="Slow digest")
    expect(told).to_contain_text(re.compile("sent.*test", re.DOTALL))
    ((headers, body),) = receiver.requests
    assert json.loads(body)["event"] == "test"
    assert "x-goalpost-signature" in headers


def test_keys__made_renewed_and_revoked__are_told_once_and_open_until_then(shop: Shop, desk: Desk) -> None:
    page = desk.page
    desk.open("settings/tokens/")
    page.get_by_label("Name").fill("Dashboard")
    page.get_by_role("button", name="Create token").click()
    token = copied(desk, "Token")
    assert copied(desk, "Header") == f"Authorization: Bearer {token}"
    wait_for_status(200, shop, token=token)

    page.get_by_role("link", name="Done").click()
    row = page.get_by_role("row", name="Dashboard")
    expect(row).to_contain_text("read")
    assert token not in page.content()
    row.get_by_role("button", name="Revoke Dashboard").click()
    page.get_by_role("button", name="Revoke token").click()
    expect(row.get_by_text("revoked")).to_be_visible()
    wait_for_status(401, shop, token=token)

    desk.open("settings/credentials/")
    page.get_by_label("Keep old secret for (hours)").fill("1")
    page.get_by_role("button", name="Rotate secret").click()
    expect(page.get_by_role("link", name="Cancel")).to_be_visible()  # it asks first
    page.get_by_role("button", name="Rotate secret").click()
    secret = copied(desk, "Secret")
    assert secret != shop.secret
    wait_for_status(200, shop, auth=(shop.client_id, secret))
    wait_for_status(200, shop, auth=(shop.client_id, shop.secret))

    page.get_by_role("link", name="Done").click()
    expect(page.get_by_text("Old secret", exact=True)).to_be_visible()
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke credential").click()
    expect(page.get_by_text("It is rejected within 5 seconds")).to_be_visible()
    wait_for_status(401, shop, auth=(shop.client_id, secret))
    wait_for_status(401, shop, auth=(shop.client_id, shop.secret))


@pytest.mark.promise("B-11", "N-08")
def test_rule__tried_then_saved__does_what_the_page_foretold(shop: Shop, desk: Desk) -> None:
    shop.send(shop.event(event="Test order", userId="u1"), shop.event(event="Order", userId="u1"))
    page = desk.page
    desk.open("settings/rules/")
    page.get_by_role("link", name="Create rule").click()
    page.get_by_label("Name (optional)").fill("No tests")
    page.get_by_label("and the name").select_option("prefix")
    page.get_by_label("Event name").fill("Test ")
    page.get_by_label("then").select_option("rename")
    page.get_by_label("New name").fill("Order")
    page.get_by_label("then").select_option("drop")
    expect(page.get_by_label("Reason (optional)")).to_be_empty()

    foretold = page.get_by_role("region", name="Forecast")
    expect(foretold.get_by_role("row", name="Conversions 2 1")).to_be_visible()
    expect(page.get_by_text("Conversions 2 → 1")).to_be_visible()
    page.get_by_label("Event name").fill("Other")
    page.get_by_label("Reason (optional)").focus()
    expect(foretold.get_by_role("row", name="Conversions 2 2")).to_be_visible()
    expect(page.get_by_label("Reason (optional)")).to_be_focused()
    page.get_by_label("Event name").fill("Test ")
    page.get_by_role("button", name="Preview").click()
    expect(foretold.get_by_role("row", name="Conversions 2 1")).to_be_visible()
    assert not Rule.objects.exists()

    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("link", name="If the name begins with “Test ”, then ignore the event.")).to_be_visible()
    shop.send(shop.event(event="Test order", userId="u2"), shop.event(event="Order", userId="u2"))
    assert shop.goals() == {"SegmentIO track – Order": ["u1", "u2"], "SegmentIO track – Test order": ["u1"]}


def test_tag__renamed__leads_to_the_same_goals(shop: Shop, desk: Desk) -> None:
    shop.send(shop.event(event="Order", userId="u1"))
    page = desk.page
    desk.open("goals/tags/")
    page.get_by_label("New name of segment.io").fill("from Segment")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_text("Tag segment.io renamed to from Segment.")).to_be_visible()
    page.get_by_role("link", name="from Segment").click()
    expect(page.get_by_role("link", name="track Order")).to_be_visible()


def test_site__changed_and_left__asks_first_and_is_silent_once_saved(desk: Desk) -> None:
    page = desk.page
    asked: list[str] = []

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    desk.open("settings/")
    save = page.get_by_role("button", name="Save")
    expect(page.get_by_text("You have unsaved changes.")).to_be_hidden()

    page.get_by_label("Site name").fill("Renamed")

    expect(page.get_by_text("You have unsaved changes.")).to_be_visible()
    expect(save).to_be_in_viewport()
    page.get_by_role("link", name="Keys", exact=True).click()
    page.wait_for_url("**/settings/keys/")
    assert asked == ["beforeunload"]
    desk.open("settings/")
    page.get_by_label("Site name").fill("Renamed")
    save.click()
    expect(page.get_by_text("Settings saved.")).to_be_visible()
    assert asked == ["beforeunload"]
