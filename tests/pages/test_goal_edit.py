"""Changes of one goal: create, rename, unlink, archive, delete."""

import pytest

from api.models import AuditEntry
from goals import catalogue
from goals.matching import EventName
from goals.models import Goal, GoalBinding, GoalCreation
from goals.naming import TEMPLATE
from tests.support.goal_pages import BASE, NAME, edit, make, page_of
from tests.support.pages import Enter, text_of
from tests.world import World


@pytest.mark.promise("K-32")
def test_goal__made_by_hand__has_its_tags_and_uses_no_quota(world: World, enter: Enter) -> None:
    sent = {"name": " Purchase", "tags": "shop\r\na, b", "has_multiple_conversions": "True", "type": "CUSTOM"}

    response = enter("editor").post(f"{BASE}new/", sent)

    made = Goal.objects.get()
    assert response.headers["Location"] == page_of(made)
    assert (made.name, made.origin, made.is_named_by_event) == (" Purchase", Goal.Origin.PERSON, False)
    assert made.has_multiple_conversions
    assert {tag.name for tag in made.tags.all()} == {"shop", "a, b"}
    assert not GoalCreation.objects.exists()
    world.track(" Purchase")
    assert world.goals() == {" Purchase": 1}


@pytest.mark.promise("K-19")
@pytest.mark.parametrize("page", ["new/", "edit/"])
def test_goal__name_of_another__is_refused_on_the_page(world: World, goal: Goal, enter: Enter, page: str) -> None:
    other = make(world, "Other")
    sent = {"name": NAME, "tags": "x", "has_multiple_conversions": "False", "type": "CUSTOM"}

    response = enter("editor").post(f"{BASE}{page}" if page == "new/" else page_of(other, page), sent)

    assert f"Goal {goal.pk} of this site has this name." in text_of(response)
    assert sorted(world.goals()) == ["Other", NAME]
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("page", ["new/", "edit/"])
def test_goal__named_as_an_event_of_another__asks_first_and_is_in_the_charts_of_both(
    world: World, goal: Goal, enter: Enter, page: str
) -> None:
    address = f"{BASE}new/" if page == "new/" else page_of(make(world, "Other"), page)
    sent = {"name": "Buy", "tags": "x", "has_multiple_conversions": "False", "type": "CUSTOM"}

    asked = text_of(enter("editor").post(address, sent))

    assert "Track events “Buy” count for track Buy now: 2 conversions in 30 days." in asked
    assert "Buy" not in world.goals()

    assert enter("editor").post(address, {**sent, "confirmed": "yes"}).status_code == 302
    world.track("Buy", at=9)
    assert world.goals() | {"Other": 0} == {NAME: 2, "Buy": 1, "Other": 0}
    taker = Goal.objects.get(name="Buy")
    for each in (goal, taker):
        shown = text_of(enter("viewer").get(f"{page_of(each)}?range=7d"))
        assert f"Moved events of the goal {goal.pk} to the goal {taker.pk}" in shown


def test_goal__named_as_linked_events__takes_none_and_asks_nothing(world: World, goal: Goal, enter: Enter) -> None:
    catalogue.bind_event(goal, EventName("track", "Buy"), template=TEMPLATE)
    sent = {"name": "Buy", "tags": "", "has_multiple_conversions": "False", "type": "CUSTOM"}

    assert enter("editor").post(f"{BASE}new/", sent).status_code == 302

    world.track("Buy", at=9)
    assert world.goals() == {NAME: 3, "Buy": 0}


@pytest.mark.promise("K-15")
def test_goal__renamed__is_told_what_it_means_and_means_it(world: World, goal: Goal, enter: Enter) -> None:
    page = text_of(enter("editor").get(page_of(goal, "edit/")))
    assert f"creates a new goal, <code>{NAME}</code>, starting at 0. This goal keeps its 2 conversions" in page

    assert edit(enter, goal, name="Purchase").status_code == 302

    world.track("Buy", at=9)
    assert world.goals() == {"Purchase": 2, NAME: 1}
    entry = AuditEntry.objects.get()
    assert (entry.before, entry.after) == ({"name": NAME}, {"name": "Purchase"})


@pytest.mark.promise("K-15")
def test_goal__renamed_and_keeping_its_events__goes_on(world: World, goal: Goal, enter: Enter) -> None:
    edit(enter, goal, name="Purchase", keeps_receiving="on")

    world.track("Buy", at=9)

    assert world.goals() == {"Purchase": 3}


@pytest.mark.promise("K-16")
def test_goal__renamed_as_its_event_is__goes_on(world: World, goal: Goal, enter: Enter) -> None:
    edit(enter, goal, name="Purchase")

    world.track("Purchase", at=9)

    assert world.goals() == {"Purchase": 3}


@pytest.mark.promise("K-17")
def test_goal__renamed_along_with_its_event__goes_on(world: World, goal: Goal, enter: Enter) -> None:
    edit(enter, goal, name="SegmentIO track – New")

    world.track("New", at=9)

    assert world.goals() == {"SegmentIO track – New": 3}


@pytest.mark.parametrize("name", [NAME, " x ", "a\nb", "a\r\nb"])
def test_goal__saved_without_a_new_name__keeps_it_to_the_byte(
    world: World, goal: Goal, enter: Enter, name: str
) -> None:
    Goal.objects.update(name=name)

    # A browser's text field loses line ends.
    sent = name.replace("\r", "").replace("\n", "")
    response = edit(enter, goal, name=sent, description="What counts", tags="", keeps_receiving="on")

    assert response.status_code == 302
    goal.refresh_from_db()
    assert (goal.name, goal.is_named_by_event, goal.description) == (name, True, "What counts")
    assert not goal.tags.exists()
    assert not GoalBinding.objects.exists()


def test_event__let_go__finds_its_goal_by_name_again(world: World, goal: Goal, enter: Enter) -> None:
    edit(enter, goal, name="Purchase", keeps_receiving="on")

    address = page_of(goal, f"events/{GoalBinding.objects.get().pk}/unbind/")
    response = enter("editor").post(address, {"confirmed": "yes"})

    assert response.headers["Location"] == page_of(goal)
    world.track("Buy", at=9)
    assert world.goals() == {"Purchase": 2, NAME: 1}


@pytest.mark.promise("K-19")
def test_goal__archived_and_restored__still_converts_and_is_flagged(world: World, goal: Goal, enter: Enter) -> None:
    editor = enter("editor")

    editor.post(page_of(goal, "archive/"))
    world.track("Buy", at=9)

    assert world.goals() == {NAME: 3}
    assert "Archived. It still counts conversions" in text_of(editor.get(page_of(goal)))
    editor.post(page_of(goal, "restore/"))
    goal.refresh_from_db()
    assert goal.archived_at is None


@pytest.mark.promise("K-18")
def test_goal__deleted__after_being_told_what_is_lost(world: World, goal: Goal, enter: Enter) -> None:
    editor = enter("editor")

    page = text_of(editor.get(page_of(goal, "delete/")))
    assert "and <strong>2 conversions</strong> of 2 visitors with EUR 1,234.50" in page
    assert "Archive instead" in page
    assert world.goals() == {NAME: 2}

    assert editor.post(page_of(goal, "delete/")).headers["Location"] == BASE
    assert world.goals() == {}
    world.track("Buy", at=9)
    assert world.goals() == {NAME: 1}
    assert not Goal.objects.filter(deleted_at=None, pk=goal.pk).exists()
