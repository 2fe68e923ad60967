"""A product manager finds the goals of Segment, renames one with its warning, merges two and takes it back."""

import re

import pytest
from playwright.sync_api import Browser, expect

from goals.models import Goal
from tests.browser.admin import at_desk
from tests.browser.chromium import needs_browser
from tests.contract.server import Shop

pytestmark = [needs_browser, pytest.mark.xdist_group("browser")]


@pytest.mark.promise("K-09", "K-15", "K-21")
def test_goals__in_a_browser__are_found_renamed_merged_and_taken_apart(shop: Shop, browser: Browser) -> None:
    shop.send(*(shop.event(event=name, userId=user) for name, user in (("Buy", "u1"), ("Buy", "u2"), ("Order", "u2"))))
    Goal.objects.create(site=Goal.objects.all()[0].site, name="By hand")

    with at_desk(browser, shop, role="editor") as desk:
        page = desk.page
        page.get_by_role("link", name=re.compile("Goals$")).first.click()  # its icon is a word, too
        expect(page.get_by_role("link", name="By hand")).to_be_visible()

        # By the tag
        page.locator("summary", has_text="Tag").click()
        page.get_by_role("checkbox", name="segment.io").check()  # acts at once
        expect(page.get_by_role("link", name="By hand")).to_have_count(0)
        assert "tag=segment.io" in page.url

        # Its page
        page.get_by_role("link", name="track Buy").click()
        expect(page.get_by_role("heading", name="Events that count")).to_be_visible()
        expect(page.get_by_role("img", name="Conversions by day")).to_be_visible()

        # A new name, with its warning
        page.get_by_role("link", name="Edit", exact=True).click()
        warning = page.get_by_role("heading", name="Renaming stops counting")
        expect(warning).to_be_hidden()
        page.get_by_label("Name", exact=True).fill("Purchase")
        expect(warning).to_be_visible()
        page.get_by_label("Name", exact=True).fill("SegmentIO track – Buy")
        expect(warning).to_be_hidden()
        page.get_by_label("Name", exact=True).fill("Purchase")
        page.get_by_role("checkbox", name="Keep receiving these events").check()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
        shop.send(shop.event(event="Buy", userId="u3"))
        assert {name: len(whose) for name, whose in shop.goals().items()} == {
            "By hand": 0,
            "Purchase": 3,
            "SegmentIO track – Order": 1,
        }

        # A view by its name, and a search while typing
        desk.open("goals/?tag=segment.io")
        page.get_by_text("Views", exact=True).click()
        page.get_by_label("Save this view as").fill("Ours")
        page.get_by_role("button", name="Save view").click()
        expect(page.get_by_text("View “Ours” saved.")).to_be_visible()
        desk.open("goals/")
        page.get_by_text("Views", exact=True).click()
        page.get_by_role("link", name="Ours").click()
        expect(page.get_by_role("link", name="Purchase")).to_be_visible()
        page.get_by_label("Search goals").fill("order")
        expect(page.get_by_role("link", name="Purchase")).to_have_count(0)
        expect(page.get_by_role("link", name="track Order")).to_be_visible()
        assert page.url.endswith("?range=28d&compare=previous&q=order&tag=segment.io")

        # Two as one, and two again
        desk.open("goals/?tag=segment.io")
        page.get_by_role("checkbox", name="Select Purchase").check()
        page.get_by_role("checkbox", name="Select track Order").check()
        page.get_by_label("Action").select_option("merge")
        page.get_by_role("button", name="Apply …").click()
        expect(page.get_by_role("row", name="Combined")).to_contain_text("4")
        page.get_by_role("button", name="Merge", exact=True).click()
        page.get_by_role("button", name="Undo merge of track Order").click()
        expect(page.get_by_text("Merge undone.")).to_be_visible()
        assert not Goal.objects.exclude(merged_into=None).exists()


@pytest.mark.promise("K-87")
def test_breakdown__in_a_browser__changes_with_a_choice_and_with_a_row(shop: Shop, browser: Browser) -> None:
    buys = [("u1", "pro"), ("u2", "free"), ("u3", "pro"), ("u4", "free")]
    shop.send(*(shop.event(event="Buy", userId=user, properties={"plan": plan}) for user, plan in buys))
    shop.send(shop.event("identify", userId="u1", traits={"tier": "gold"}))

    with at_desk(browser, shop, role="viewer") as desk:
        page = desk.page
        desk.open(f"goals/{Goal.objects.get().pk}/breakdown/")
        expect(page.get_by_role("row", name="pro 50 % 2 2")).to_be_visible()

        page.get_by_label("Break down by").first.select_option("trait:tier")  # acts at once
        row = page.get_by_role("row", name="gold 25 % 1 1")
        expect(row).to_be_visible()
        assert "by=trait%3Atier" in page.url

        row.click()  # anywhere in it
        expect(page.get_by_text("Filtered: 1 conversion")).to_be_visible()
        expect(page.get_by_role("row", name="pro 100 % 1 1")).to_be_visible()

        page.get_by_role("link", name="Conversions", exact=True).click()
        expect(page.get_by_role("link", name="Remove the filter tier = gold")).to_be_visible()
        page.get_by_role("link", name="Breakdown", exact=True).click()
        expect(page.get_by_text("Filtered: 1 conversion")).to_be_visible()
