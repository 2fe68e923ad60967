"""Merging goals, and the tags of goals."""

import re

import pytest

from api.models import AuditEntry
from goals.models import Goal
from tests.support.goal_pages import BASE, SHOWN, make, names_in, page_of
from tests.support.pages import Enter, text_of
from tests.world import World


def test_goals__merged__are_previewed_counted_as_one_and_taken_back(world: World, goal: Goal, enter: Enter) -> None:
    world.track("Bought", at=60, userId="u2", properties={"revenue": 2, "currency": "USD"})
    other = Goal.objects.get(name__endswith="Bought")
    editor = enter("editor")
    picked = {"goal": [goal.pk, other.pk], "action": "merge"}

    preview = editor.get(editor.post(f"{BASE}change/", picked).headers["Location"])
    row = text_of(preview).partition('<tr id="union">')[2].partition("</tr>")[0]
    assert re.findall(r"<strong>(.*?)</strong>", row) == ["3", "2", "2", "EUR 1,234.50", "USD 2.00"]
    assert preview.context["into"] == goal  # the larger one

    merged = editor.post(f"{BASE}merge/", {**picked, "into": goal.pk})
    assert merged.headers["Location"] == page_of(goal)
    assert editor.get(page_of(other)).headers["Location"] == page_of(goal)
    page = editor.get(page_of(goal))
    assert "Undo merge of track Bought" in text_of(page)
    assert page.context["ever"].conversions == 3
    assert names_in(text_of(editor.get(BASE))) == [SHOWN]
    assert len(editor.get(page_of(goal, "conversions/")).context["rows"]) == 3

    assert editor.post(page_of(other, "unmerge/")).headers["Location"] == page_of(other)
    assert [editor.get(page_of(each)).context["ever"].conversions for each in (goal, other)] == [2, 1]
    assert editor.post(page_of(other, "unmerge/")).status_code == 404
    assert [entry.after for entry in AuditEntry.objects.order_by("id")] == [
        {"merged_into": goal.pk},
        {"merged_into": None},
    ]


def test_merge__of_one_goal__offers_others_by_name(world: World, goal: Goal, enter: Enter) -> None:
    other, _ = make(world, "Other & more"), make(world, "Third")

    page = text_of(enter("editor").get(f"{BASE}merge/?goal={goal.pk}&q=other"))

    assert f'href="?goal={goal.pk}&amp;goal={other.pk}"' in page
    assert "Third" not in page


@pytest.mark.parametrize("into", ["", "x", "other's"])
def test_merge__without_a_goal_of_its_own_to_keep__asks_again(
    world: World, goal: Goal, enter: Enter, into: str
) -> None:
    other = make(world, "Other")
    asked = {"goal": [goal.pk], "into": other.pk if into == "other's" else into}

    assert "with which goal?" in text_of(enter("editor").post(f"{BASE}merge/", asked))
    assert not Goal.objects.exclude(merged_into=None).exists()


def test_tag__renamed__is_renamed_on_its_goals(world: World, goal: Goal, enter: Enter) -> None:
    tag = goal.tags.get()

    enter("editor").post(f"{BASE}tags/{tag.pk}/change/", {"name": "segment"})

    assert [each.name for each in goal.tags.all()] == ["segment"]
    assert AuditEntry.objects.get().after == {"name": "segment"}
    world.track("Other", at=9)  # goals made from now on have the site's tag all the same
    assert [each.name for each in Goal.objects.get(name__endswith="Other").tags.all()] == ["segment.io"]


def test_tag__given_the_name_of_another__is_put_into_it_after_a_question(
    world: World, goal: Goal, enter: Enter
) -> None:
    both = make(world, "Both", "shop", "segment.io")
    address, editor = f"{BASE}tags/{goal.tags.get().pk}/change/", enter("editor")

    assert "on 1 goal. The 2 goals tagged" in text_of(editor.post(address, {"name": "shop"}))
    assert {each.name for each in both.tags.all()} == {"shop", "segment.io"}

    editor.post(address, {"name": "shop", "merges": "on"})
    assert [[each.name for each in its.tags.all()] for its in (goal, both)] == [["shop"], ["shop"]]
    assert "segment.io" not in [tag.name for tag in editor.get(f"{BASE}tags/").context["tags"]]


@pytest.mark.parametrize("name", ["", "x" * 101, "segment.io"])
def test_tag__with_no_other_name__stays(world: World, goal: Goal, enter: Enter, name: str) -> None:
    enter("editor").post(f"{BASE}tags/{goal.tags.get().pk}/change/", {"name": name})

    assert [each.name for each in goal.tags.all()] == ["segment.io"]
    assert not AuditEntry.objects.exists()


def test_tags__listed__say_how_many_goals_they_have(world: World, goal: Goal, enter: Enter) -> None:
    make(world, "Shop", "shop", "segment.io")

    page = enter("viewer").get(f"{BASE}tags/?q=s")

    assert [(tag.name, tag.size) for tag in page.context["tags"]] == [("segment.io", 2), ("shop", 1)]
    assert "Rename" not in text_of(page)
