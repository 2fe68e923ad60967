"""Renames, changes, archiving and deletion of goals through the management API."""

from typing import Any

import pytest

from api.models import AuditEntry
from goals.models import Conversion, Goal, GoalBinding
from tests.support.management_api import Caller, body, make_goal, message, refusal
from tests.world import World


@pytest.mark.promise("K-15")
def test_rename__goal_made_by_an_event__is_not_found_again(world: World, owner: Caller) -> None:
    world.track("Old")
    goal = Goal.objects.get()

    response = owner.patch(f"/api/goals/{goal.pk}", {"name": "Kept"})
    world.track("Old")

    assert body(response)["name"] == "Kept"
    assert world.goals() == {"Kept": 1, "SegmentIO track – Old": 1}


@pytest.mark.promise("K-16")
def test_rename__event_renamed_likewise__converts_the_same_goal(world: World, owner: Caller) -> None:
    world.track("Old")

    owner.patch(f"/api/goals/{Goal.objects.get().pk}", {"name": "Foo"})
    world.track("Foo")

    assert world.goals() == {"Foo": 2}


@pytest.mark.promise("K-17")
def test_rename__to_the_convention_for_a_renamed_event__keeps_converting(world: World, owner: Caller) -> None:
    world.track("Old")

    owner.patch(f"/api/goals/{Goal.objects.get().pk}", {"name": "SegmentIO track – New"})
    world.track("New")

    assert world.goals() == {"SegmentIO track – New": 2}


@pytest.mark.promise("K-15")
def test_rename__keep_receiving__goes_on_converting(world: World, owner: Caller) -> None:
    world.track("Old")

    response = owner.patch(f"/api/goals/{Goal.objects.get().pk}", {"name": "Kept", "keepReceiving": True})
    world.track("Old")

    assert body(response)["boundEvents"] == [{"type": "track", "name": "Old"}]
    assert world.goals() == {"Kept": 2}


def test_rename__keep_receiving_under_a_taken_name__binds_nothing(world: World, owner: Caller) -> None:
    world.track("Old")
    goal = Goal.objects.get()
    make_goal(world, "Taken")

    response = owner.patch(f"/api/goals/{goal.pk}", {"name": "Taken", "keepReceiving": True})

    assert refusal(response) == (409, "name_taken")
    assert not GoalBinding.objects.exists()
    assert Goal.objects.get(pk=goal.pk).name == "SegmentIO track – Old"


def test_change__some_fields__leaves_the_others(world: World, owner: Caller) -> None:
    goal = make_goal(world, "Buy", "shop", description="What counts", has_multiple_conversions=True)

    changed = body(owner.patch(f"/api/goals/{goal.pk}", {"description": ""}))
    untagged = body(owner.patch(f"/api/goals/{goal.pk}", {"tags": []}))

    assert (changed["name"], changed["description"], changed["hasMultipleConversions"]) == ("Buy", "", True)
    assert changed["tags"] == ["shop"]
    assert untagged["tags"] == []


def test_change__goal_as_it_was_read__changes_nothing_and_is_taken(world: World, owner: Caller) -> None:
    goal = make_goal(world, "Buy", "shop")
    read = owner.get(f"/api/goals/{goal.pk}")

    response = owner.patch(f"/api/goals/{goal.pk}", read)

    assert response.status_code == 200
    assert {**body(response), "dateModified": ""} == {**read, "dateModified": ""}


@pytest.mark.parametrize(
    "sent", [{"status": "INACTIVE"}, {"isArchived": True}, {"siteId": 0}, {"sitecode": "a" * 10}, {"origin": "event"}]
)
def test_change__what_cannot_be_changed_so__is_refused_by_name(world: World, owner: Caller, sent: Any) -> None:
    goal = make_goal(world, "Buy")

    response = owner.patch(f"/api/goals/{goal.pk}", sent)

    assert refusal(response) == (400, "invalid_request")
    assert f"{next(iter(sent))}: " in message(response)


@pytest.mark.promise("K-19")
def test_archive__and_restore__flag_a_goal_that_converts_all_along(world: World, owner: Caller) -> None:
    world.track("Buy")
    path = f"/api/goals/{Goal.objects.get().pk}"

    archived = body(owner.post(f"{path}/archive"))
    world.track("Buy")
    restored = body(owner.post(f"{path}/restore/"))

    assert (archived["status"], restored["status"]) == ("INACTIVE", "ACTIVE")
    assert world.goals() == {"SegmentIO track – Buy": 2}


@pytest.mark.promise("K-18")
def test_delete__then_the_event_again__makes_an_empty_goal(world: World, owner: Caller) -> None:
    world.track("Buy")
    old = Goal.objects.get()

    owner.ask("DELETE", f"/api/goals/{old.pk}")
    world.track("Buy")

    (new,) = owner.get("/api/goals")
    assert new["id"] != old.pk
    assert len(owner.get(f"/api/goals/{new['id']}/conversions")["results"]) == 1
    assert len(owner.get("/api/visitors/user-1/conversions")["results"]) == 1
    assert Conversion.objects.count() == 2


def test_display_name__set_and_cleared__is_read_and_logged_and_matches_nothing(world: World, owner: Caller) -> None:
    world.track("Old")
    goal = Goal.objects.get()

    changed = owner.patch(f"/api/goals/{goal.pk}", {"displayName": "Nice"})
    found = owner.get("/api/goals?search=nice")
    entry = AuditEntry.objects.latest("pk")
    world.track("Nice")
    world.track("Old")
    cleared = owner.patch(f"/api/goals/{goal.pk}", {"displayName": ""})

    assert [body(changed)[name] for name in ("name", "displayName")] == ["SegmentIO track – Old", "Nice"]
    assert [each["id"] for each in found] == [goal.pk]
    assert (entry.before, entry.after) == ({"displayName": ""}, {"displayName": "Nice"})
    assert body(cleared)["displayName"] == ""
    assert world.goals() == {"SegmentIO track – Old": 2, "SegmentIO track – Nice": 1}


def test_display_name__too_long__is_refused(world: World, owner: Caller) -> None:
    goal = make_goal(world, "Kept")

    response = owner.patch(f"/api/goals/{goal.pk}", {"displayName": "x" * 201})

    assert response.status_code == 400
    assert Goal.objects.get().display_name == ""
