"""Cancelled conversions on the pages of goals."""

import re

import pytest

from goals.models import Goal
from tests.support.goal_pages import BASE, make, page_of
from tests.support.pages import Enter, text_of
from tests.support.sdk import conversion, send_lines
from tests.world import World


@pytest.fixture
def cancelled(world: World) -> Goal:
    """Return a goal that earned 10 and 5, of which 3 and nothing were taken back."""
    goal, _ = make(world, "Order"), make(world, "Other")
    send_lines(world, conversion(goal.pk, revenue=10), conversion(goal.pk, "v2", revenue=5))
    send_lines(world, conversion(goal.pk, revenue=3, negative=True), conversion(goal.pk, "v9", negative=True))
    return goal


def words_of(page: str) -> str:
    """Return the text of a page with single spaces."""
    return " ".join(re.sub(r"<.*?>", " ", page).split())


def test_list__of_a_goal_with_cancellations__counts_them_beside_conversions(cancelled: Goal, enter: Enter) -> None:
    page = words_of(text_of(enter("viewer").get(BASE)))

    assert "2 −2" in page
    assert page.count("−") == 1  # the other goal has none


def test_chart__of_a_goal_with_cancellations__has_a_line_of_them(cancelled: Goal, enter: Enter) -> None:
    page = text_of(enter("viewer").get(page_of(cancelled)))

    assert '<th scope="col" class="gp-number">Cancelled conversions</th>' in page
    assert "<span>Cancelled conversions</span><b>2</b>" in page
    assert page.count("2 cancelled conversions") == 1  # of all time
    assert page.count("USD 12.00") == 2  # of the range and of all time


def test_breakdown__of_a_goal_with_cancellations__says_that_they_are_in_no_row(cancelled: Goal, enter: Enter) -> None:
    page = words_of(text_of(enter("viewer").get(page_of(cancelled, "breakdown/?by=currency"))))

    said = "The goal has 2 cancelled conversions in this time. Rows count conversions and subtract no revenue of"
    assert f"{said} cancelled ones: USD 3.00." in page
    assert re.search(r"USD 100 % 2 [^A-Z]*USD 15\.00", page)


def test_deletion__of_a_goal_with_cancellations__names_them(cancelled: Goal, enter: Enter) -> None:
    page = words_of(text_of(enter("editor").get(page_of(cancelled, "delete/"))))

    assert "2 conversions of 2 visitors with USD 12.00 after 2 cancelled conversions, and can" in page


def test_change__of_goals_with_cancellations__names_them(cancelled: Goal, enter: Enter) -> None:
    sent = {"goal": [cancelled.pk], "action": "delete", "query": ""}
    editor = enter("editor")

    page = words_of(text_of(editor.get(editor.post(f"{BASE}change/", sent).headers["Location"])))

    assert "2 conversions with USD 12.00 after 2 cancelled conversions, and can" in page


def test_merge__of_a_goal_with_cancellations__previews_them(cancelled: Goal, enter: Enter) -> None:
    other = Goal.objects.get(name="Other")
    sent = {"goal": [cancelled.pk, other.pk], "action": "merge"}
    editor = enter("editor")

    page = text_of(editor.get(editor.post(f"{BASE}change/", sent).headers["Location"]))

    union = page.partition('<tr id="union">')[2].partition("</tr>")[0]
    assert words_of(union) == "Combined 2 2 cancelled 2 2 USD 12.00"
