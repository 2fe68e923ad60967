"""Names with IDs, combined into one goal by a rule."""

import re
from typing import Any

import pytest

from api.models import Rule
from goals.models import Goal
from tests.support.goal_pages import BASE, make, names_in, page_of
from tests.support.pages import Enter, text_of
from tests.world import World


@pytest.fixture
def orders(world: World) -> list[Goal]:
    """Three goals of one pattern, with 3, 1 and 1 conversions."""
    for at, number in enumerate((1234, 1234, 1234, 5678, 91011)):
        world.track(f"Viewed order {number}", at=at * 3600)
    return list(Goal.objects.order_by("pk"))


def test_name__with_an_identifier__is_pointed_out_and_grouped_after_a_look(
    world: World, enter: Enter, orders: list[Goal]
) -> None:
    editor = enter("editor")
    assert "ID in name" in text_of(editor.get(BASE))
    assert "<code>Viewed order {n}</code>" in text_of(editor.get(page_of(orders[0])))

    page = editor.get(page_of(orders[0], "group-names/"))
    shown = " ".join(re.sub(r"<.*?>", " ", text_of(page)).split())
    assert "Nothing is saved yet." in shown
    assert "track Viewed order {n} new 0 5" in shown
    assert "A new goal, track Viewed order {n} , created by the next event" in shown
    assert "3 existing goals Archive them, except a goal chosen above. 5 conversions stay" in shown
    assert [goal for goal, _ in page.context["offered"]] == orders
    assert not Rule.objects.exists()

    for _ in range(2):  # a second click adds nothing
        assert editor.post(page_of(orders[0], "group-names/"), {"into": "", "old": "archive"}).status_code == 302

    world.track("Viewed order 5678", at=90_000)
    world.track("Viewed order 42424", at=90_001)
    assert world.goals()["SegmentIO track – Viewed order {n}"] == 2
    assert (Rule.objects.get().argument, Rule.objects.get().event_type) == ("Viewed order {n}", "track")
    assert names_in(text_of(editor.get(BASE))) == ["track Viewed order {n}"]
    assert "ID in name" not in text_of(editor.get(f"{BASE}?status=all"))


@pytest.mark.parametrize("way", ["a member", "by name"])
def test_names__grouped_under_a_goal_there_is__convert_that_one(
    world: World, enter: Enter, orders: list[Goal], way: str
) -> None:
    into = orders[1] if way == "a member" else make(world, "Order viewed")
    chosen = {"into": str(into.pk)} if way == "a member" else {"into": "other", "other": "Order viewed"}

    answer = enter("editor").post(page_of(orders[0], "group-names/"), {**chosen, "old": "archive"})

    assert answer.headers["Location"] == page_of(into)
    world.track("Viewed order 42424", at=90_000)
    assert world.goals()[into.name] == (2 if way == "a member" else 1)
    assert set(Goal.objects.filter(archived_at=None)) == {into}


def test_names__grouped_and_left__stay_in_the_list_without_a_badge(
    world: World, enter: Enter, orders: list[Goal]
) -> None:
    editor = enter("editor")

    editor.post(page_of(orders[0], "group-names/"), {"into": "", "old": "keep"})

    assert len(names_in(text_of(editor.get(BASE)))) == 3
    assert "ID in name" not in text_of(editor.get(BASE))
    assert "group-names" not in text_of(editor.get(f"{BASE}cleanup/"))


def test_names__grouped_under_a_goal_that_is_not_there__are_not_and_near_ones_are_told(
    world: World, enter: Enter, orders: list[Goal]
) -> None:
    make(world, "Order viewed")

    page: Any = enter("editor").post(page_of(orders[0], "group-names/"), {"into": "other", "other": "viewed ORDER"})

    assert page.status_code == 400
    assert "exact name “viewed ORDER”. Did you mean: Order viewed" in page.content.decode()
    assert not Rule.objects.exists()


def test_name__of_a_person__is_not_pointed_out(world: World, enter: Enter) -> None:
    goal = make(world, "Viewed order 1234")
    editor = enter("editor")

    assert "identifier" not in text_of(editor.get(page_of(goal)))
    editor.post(page_of(goal, "group-names/"))
    assert not Rule.objects.exists()
