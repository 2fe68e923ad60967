"""Display names of goals: harmless to change, and shown wherever a page names a goal."""

import re

import pytest

from api.models import AuditEntry
from goals import catalogue
from goals.models import Goal
from goals.naming import TEMPLATE
from tests.support.goal_pages import BASE, NAME, edit, make, names_in, page_of
from tests.support.pages import Enter, address, text_of
from tests.world import World


def rename(goal: Goal, name: str) -> None:
    goal.display_name = name
    catalogue.change_goal(goal, fields=["display_name"], template=TEMPLATE)


def test_display_name__set_on_the_page_of_a_goal__is_shown_and_changes_no_count(
    world: World, goal: Goal, enter: Enter
) -> None:
    editor = enter("editor")

    editor.post(page_of(goal, "display-name/"), {"display_name": " Orders "})
    page = text_of(editor.get(page_of(goal)))
    world.track("Buy", at=2, userId="u3")

    assert re.search(r"<title>\s*Orders · ", page)
    assert f">{NAME}</code>" in page  # the full name
    assert "Display name saved. It changes no count." in page
    assert world.goals() == {NAME: 3}
    entry = AuditEntry.objects.latest("pk")
    assert (entry.before, entry.after) == ({"display_name": ""}, {"display_name": "Orders"})

    editor.post(page_of(goal, "display-name/"), {"display_name": ""})
    assert names_in(text_of(editor.get(BASE))) == ["track Buy"]


@pytest.mark.parametrize("name", ["x" * 201, "Orders"])
def test_display_name__too_long_or_the_same__changes_nothing(goal: Goal, enter: Enter, name: str) -> None:
    rename(goal, "Orders")
    before = AuditEntry.objects.count()

    enter("editor").post(page_of(goal, "display-name/"), {"display_name": name})

    goal.refresh_from_db()
    assert goal.display_name == "Orders"
    assert AuditEntry.objects.count() == before


def test_display_name__in_the_form_of_a_goal__needs_no_warning(world: World, goal: Goal, enter: Enter) -> None:
    edit(enter, goal, display_name="Orders")
    world.track("Buy", at=2, userId="u3")

    goal.refresh_from_db()
    assert (goal.name, goal.display_name, goal.is_named_by_event) == (NAME, "Orders", True)
    assert world.goals() == {NAME: 3}


def test_display_name__of_several_goals__need_not_differ_and_is_never_matched(world: World, goal: Goal) -> None:
    rename(goal, "Sell")
    rename(make(world, "By hand"), "Sell")

    world.track("Sell", at=2, userId="u3")

    assert world.goals() == {NAME: 2, "By hand": 0, "SegmentIO track – Sell": 1}


@pytest.mark.parametrize("query", ["q=orders", "q=ORD%C3%89RS", "q=segmentio+buy", "q=track+paid"])
def test_list__searched__looks_at_both_names(world: World, goal: Goal, enter: Enter, query: str) -> None:
    rename(goal, "Paid orders")
    make(world, "Other")

    assert names_in(text_of(enter("viewer").get(f"{BASE}?{query}"))) == ["Paid orders"]


def test_list__by_name__is_in_the_order_of_what_it_shows(
    world: World, goal: Goal, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.track("Alpha", at=3, userId="u1")
    rename(make(world, "Aardvark"), "Zulu")
    make(world, "Middle")
    monkeypatch.setattr("api.pages.goals.goal_list.PER_PAGE", 1)
    shown, query = list[str](), "sort=name"
    for _ in range(4):
        page = text_of(enter("viewer").get(f"{BASE}?{query}"))
        shown += names_in(page)
        query = "".join(re.findall(r'href="\?([^"]*)">Next page<', page)).replace("&amp;", "&")

    assert (shown, query) == (["track Alpha", "track Buy", "Middle", "Zulu"], "")


@pytest.mark.parametrize(
    ("place", "query"),
    [
        ("", ""),
        ("goals/", ""),
        ("goals/merge/", "?q=orders"),
        ("goals/{other}/breakdown/", "?by=goal"),
        ("goals/{goal}/conversions/", ""),
        ("people/person/", "?id=u1"),
        ("why/", "?person=u1&goal={goal}"),
        ("why/", "?goal=r"),
    ],
)
def test_pages__that_name_a_goal__show_its_display_name(
    world: World, goal: Goal, enter: Enter, place: str, query: str
) -> None:
    world.track("Buy", at=9, userId="u1")
    world.track("Other", at=10, userId="u1")
    rename(goal, "Orders")
    numbers = {"goal": goal.pk, "other": Goal.objects.exclude(pk=goal.pk).get().pk}

    page = text_of(enter("editor").get(address(place.format(**numbers)) + query.format(**numbers)))

    assert re.search("Orders", page)


def test_find_by_name__of_a_filter_or_of_why_not__takes_the_display_name(
    world: World, goal: Goal, enter: Enter
) -> None:
    world.track("Other", at=10, userId="u1")
    rename(goal, "Orders")
    other = Goal.objects.exclude(pk=goal.pk).get()

    broken_down = text_of(enter("viewer").get(page_of(other, "breakdown/?by=goal&only=goal&value=Orders")))
    answer = text_of(enter("viewer").get(address("why/?person=u1&goal=Orders")))

    assert "Remove the filter goal: Orders" in broken_down
    assert "conversion of “Orders” counts for this person" in answer
