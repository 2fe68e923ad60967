"""An editor builds a segment with and without the script, sees whom it holds, and follows a member to why."""

import pytest
from playwright.sync_api import Browser, expect

from cohorts.segment_tables import Segment
from tests.browser.admin import at_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop
from tests.support.segments import make_segment

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]
CONDITIONS = [[{"on": "trait", "path": ["age"], "test": {"type": "number", "how": "at_least", "number": "30"}}]]


def send_people(shop: Shop) -> None:
    shop.send(
        shop.event("identify", userId="ada-king", properties={"age": 36}),
        shop.event("identify", userId="bob", properties={"age": 20}),
    )


def test_segment__built_in_a_browser__holds_whom_its_preview_showed(shop: Shop, browser: Browser) -> None:
    send_people(shop)
    with at_desk(browser, shop, role="editor") as desk:
        page = desk.page
        desk.open("segments/")
        page.get_by_role("link", name="New segment").click()
        page.get_by_label("Name").fill("Grown up")
        page.get_by_label("Trait", exact=True).fill("age")
        page.keyboard.press("Tab")
        page.get_by_label("Number", exact=True).fill("30")  # the type of the trait has chosen the test
        page.get_by_role("button", name="Add “or” condition to group 1").click()
        second = page.get_by_role("group", name="Condition 2 of group 1")
        expect(second.get_by_label("Condition on")).to_be_focused()
        second.get_by_label("Condition on").select_option("group")
        second.get_by_label("Group IDs").fill("acme")
        page.get_by_role("button", name="Remove condition 2 of group 1").click()
        expect(second).to_be_hidden()
        expect(page.get_by_label("Number", exact=True)).to_have_value("30")
        desk.page.context.set_offline(True)
        page.get_by_label("Number", exact=True).press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("Nothing is lost")
        desk.page.context.set_offline(False)
        desk.complaints.clear()  # of the request that failed
        page.get_by_label("Number", exact=True).press("Enter")
        preview = page.get_by_role("region", name="Preview")
        expect(preview).to_be_focused()
        expect(preview.get_by_role("row", name="ada-king")).to_contain_text("Trait age is at least 30")
        page.get_by_role("button", name="Save segment").click()
        expect(page.get_by_text("A worker is looking for its members.")).to_be_visible()
        segment = Segment.objects.get()
        assert segment.conditions == CONDITIONS

        make_segment(segment.site, *CONDITIONS, name="Another")  # and does the work of the background
        page.get_by_role("link", name="Members", exact=True).click()
        page.get_by_role("link", name="ada-king").click()
        page.locator(".gp").get_by_role("link", name="Segments").click()
        expect(page.get_by_text("Trait age is at least 30").first).to_be_visible()

        # Removal asks.
        desk.open(f"segments/{segment.pk}/")
        page.get_by_role("button", name="Delete …").click()
        page.get_by_role("button", name="Delete segment").click()
        expect(page.get_by_text("Segment “Grown up” deleted.")).to_be_visible()
    assert [each.name for each in Segment.objects.all()] == ["Another"]


def test_segment__built_without_scripts__is_the_same(shop: Shop, browser: Browser) -> None:
    send_people(shop)
    with at_desk(browser, shop, role="editor") as desk:
        signed_in = desk.page.context.storage_state()
        page = browser.new_context(java_script_enabled=False, storage_state=signed_in).new_page()
        page.goto(f"{desk.base}segments/new/")
        page.get_by_label("Name").fill("Grown up")
        page.get_by_label("Trait", exact=True).fill("age")
        page.get_by_role("button", name="Update fields").click()
        page.get_by_label("Number", exact=True).fill("30")
        page.get_by_role("button", name="Add “and” group").click()
        page.get_by_role("button", name="Remove condition 1 of group 2").click()
        page.get_by_role("button", name="Preview").last.click()
        expect(page.get_by_role("region", name="Preview").get_by_role("row", name="ada-king")).to_be_visible()
        page.get_by_role("button", name="Save segment").click()
        expect(page.get_by_role("heading", name="Conditions")).to_be_visible()
        page.context.close()
    assert Segment.objects.get().conditions == CONDITIONS
