"""Undo: a message after a change has a button that gives back what was taken away."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from api.models import Alert, AuditEntry, GoalView, Membership, Rule
from goals import catalogue, merging
from goals.flags.models import FeatureFlag
from goals.models import Goal, GoalBinding, GoalTag, Tag
from tests.pages.catalogue import Place
from tests.support.goal_pages import BASE, make, page_of
from tests.support.pages import Enter, address, text_of
from tests.support.undo import TOAST, press_undo
from tests.world import World


def save(editor: Client, goal: Goal, **changes: Any) -> Any:
    """Change fields of a goal by its form."""
    sent = {"name": goal.name, "type": "CUSTOM", "has_multiple_conversions": "False"}
    return editor.post(page_of(goal, "edit/"), {**sent, **changes})


def test_undo__of_the_archive__restores_the_goal(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")

    page = press_undo(editor, editor.post(page_of(goal, "archive/")))

    assert Goal.objects.get().archived_at is None
    assert "Restored." in page
    assert TOAST.search(page), "what was undone can be done again"


def test_undo__of_a_display_name__gives_the_old_one_back(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    editor.post(page_of(goal, "display-name/"), {"display_name": "First “&"})

    press_undo(editor, editor.post(page_of(goal, "display-name/"), {"display_name": "Second"}))

    assert Goal.objects.get().display_name == "First “&"


def test_undo__of_an_edit__gives_back_name_and_tags_and_removes_its_links(world: World, enter: Enter) -> None:
    world.track("Buy")
    goal = Goal.objects.get()
    catalogue.set_tags(goal, ["old"])

    editor = enter("editor")
    changed = save(editor, goal, name="Another", tags="new", keeps_receiving="on", description="Text")
    assert (Goal.objects.get().name, GoalBinding.objects.count()) == ("Another", 1)
    press_undo(editor, changed)

    undone = Goal.objects.get()
    assert (undone.name, undone.description, undone.is_named_by_event) == (goal.name, "", True)
    assert [tag.name for tag in undone.tags.all()] == ["old"]
    assert not GoalBinding.objects.exists()
    assert AuditEntry.objects.latest("pk").after["name"] == goal.name  # type: ignore[index]


@pytest.mark.parametrize("then", [{"description": "Second", "tags": "one"}, {"description": "First", "tags": "two"}])
def test_undo__of_an_edit_that_another_followed__keeps_the_later(
    world: World, enter: Enter, then: dict[str, str]
) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    changed = save(editor, goal, description="First", tags="one")
    save(editor, goal, **then)

    assert "Nothing was undone. The goal was changed again meanwhile." in press_undo(editor, changed, toast=0)
    now = Goal.objects.get()
    assert (now.description, [tag.name for tag in now.tags.all()]) == (then["description"], [then["tags"]])


def test_undo__of_an_edit_of_a_goal_that_was_deleted__says_so(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    save(editor, goal, description="First")
    catalogue.delete_goal(goal, now=timezone.now())

    sent = {"kept": next(iter(editor.session["undo"]))}
    assert "Nothing was undone. The goal was deleted." in text_of(editor.post(address("undo/"), sent, follow=True))


def test_undo__of_a_display_name_that_was_changed_again__keeps_it(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    changed = editor.post(page_of(goal, "display-name/"), {"display_name": "First"})
    editor.post(page_of(goal, "display-name/"), {"display_name": "Second"})

    assert "Nothing was undone." in press_undo(editor, changed, toast=0)
    assert Goal.objects.get().display_name == "Second"


def test_undo__of_a_name_that_another_goal_has_now__says_so(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    changed = save(editor, goal, name="Another")
    other = make(world, "Buy")

    page = press_undo(editor, changed)

    assert f"Nothing was undone. Goal {other.pk} of this site has this name." in page
    assert Goal.objects.get(pk=goal.pk).name == "Another"


def test_undo__of_a_name_whose_events_made_a_goal_since__says_so(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    changed = save(editor, goal, name="Another")
    world.track("Buy")
    made = Goal.objects.exclude(pk=goal.pk).get()

    page = press_undo(editor, changed)

    assert f"Nothing was undone. Events of the old name count for goal {made.pk} now." in page
    assert Goal.objects.get(pk=goal.pk).name == "Another"


def test_undo__of_a_merge_of_three__undoes_it_whole(world: World, enter: Enter) -> None:
    one, two, into = (make(world, name) for name in ("One", "Two", "Into"))
    editor = enter("editor")
    sent = {"goal": [one.pk, two.pk, into.pk], "into": into.pk}

    press_undo(editor, editor.post(f"{BASE}merge/", sent))

    assert not Goal.objects.exclude(merged_into=None).exists()


def test_undo__of_an_undone_merge__merges_again(world: World, enter: Enter) -> None:
    one, into, editor = make(world, "One"), make(world, "Into"), enter("editor")
    merging.merge(one, into)

    press_undo(editor, editor.post(page_of(one, "unmerge/")))

    assert Goal.objects.get(pk=one.pk).merged_into == into


@pytest.mark.parametrize("action", ["tag", "untag", "archive", "restore"])
def test_undo__of_a_change_of_many__changes_back_those_that_it_changed(world: World, enter: Enter, action: str) -> None:
    one, other = make(world, "One", "vip"), make(world, "Other")
    catalogue.archive_goal(one, now=timezone.now())
    before = {(goal.name, goal.archived_at is None, goal.tags.count()) for goal in Goal.objects.all()}
    editor, sent = enter("editor"), {"action": action, "goal": [one.pk, other.pk], "tag_name": "vip"}
    asked = editor.post(f"{BASE}change/", sent)

    done = editor.post(asked.headers["Location"])
    assert before != {(goal.name, goal.archived_at is None, goal.tags.count()) for goal in Goal.objects.all()}
    press_undo(editor, done)

    assert before == {(goal.name, goal.archived_at is None, goal.tags.count()) for goal in Goal.objects.all()}


def test_undo__of_a_renamed_tag__gives_the_old_name_back(world: World, enter: Enter) -> None:
    make(world, "One", "vip")
    editor, tag = enter("editor"), Tag.objects.get()

    press_undo(editor, editor.post(f"{BASE}tags/{tag.pk}/change/", {"do": "rename", "name": "people"}))

    assert Tag.objects.get().name == "vip"


def test_undo__of_a_removed_tag__gives_it_back_to_its_goals(world: World, enter: Enter) -> None:
    goal, deleted, owner = make(world, "One", "vip"), make(world, "Two", "vip"), enter("owner")
    removed = owner.post(f"{BASE}tags/{Tag.objects.get().pk}/remove/", {"confirmed": "yes"})
    catalogue.delete_goal(deleted, now=timezone.now())

    press_undo(owner, removed)

    assert [(row.goal, row.tag.name) for row in GoalTag.objects.all()] == [(goal, "vip")]


def test_undo__of_a_removed_view__saves_it_again_once(world: World, enter: Enter) -> None:
    viewer = enter("viewer")
    viewer.post(f"{BASE}views/save/", {"name": "Mine", "query": "q=a"})
    view = GoalView.objects.get()
    removed = viewer.post(f"{BASE}views/{view.pk}/remove/")
    assert not GoalView.objects.exists()
    (token,) = viewer.session["undo"]

    press_undo(viewer, removed)

    assert (GoalView.objects.get().name, GoalView.objects.get().query) == (view.name, view.query)
    GoalView.objects.all().delete()
    assert "this was undone already" in text_of(viewer.post(address("undo/"), {"kept": token}, follow=True))
    assert not GoalView.objects.exists()


def test_undo__of_a_deleted_rule__creates_it_as_it_was_in_its_place(place: Place, world: World, enter: Enter) -> None:
    source = world.site.sources.get(pk=place.numbers["source_id"])
    first = {"name": "Last", "action": "group", "argument": "a {n}", "name_test": "pattern", "name_value": "b {n}"}
    Rule.objects.create(site=world.site, source=source, position=5, is_enabled=False, group_traits={"a": "b"}, **first)
    before, owner = list(Rule.objects.values()), enter("owner")
    sent = {"do": "delete", "confirmed": "yes", "rule": before[-1]["id"]}

    page = press_undo(owner, owner.post(address("settings/rules/change/"), sent))

    assert "Rule “Last” restored." in page
    after = list(Rule.objects.values())
    assert [{**row, "created_at": None} for row in after] == [{**row, "created_at": None} for row in before]


def test_undo__of_a_rule_switched_off__switches_it_on(place: Place, enter: Enter) -> None:
    owner = enter("owner")

    press_undo(owner, owner.post(address("settings/rules/change/"), {"do": "switch", "rule": place.numbers["rule_id"]}))

    assert Rule.objects.get().is_enabled


@pytest.mark.parametrize("kind", ["rule", "alert"])
def test_undo__of_a_switch_twice__is_as_once(place: Place, enter: Enter, kind: str) -> None:
    owner, model = enter("owner"), {"rule": Rule, "alert": Alert}[kind]
    sent = {"do": "switch", kind: place.numbers[f"{kind}_id"]}

    press_undo(owner, owner.post(address(f"settings/{kind}s/change/"), sent), times=2)

    assert model.objects.get().is_enabled  # type: ignore[attr-defined]


def test_undo__at_the_same_moment_twice__is_as_once(place: Place, enter: Enter) -> None:
    owner, rule = enter("owner"), place.numbers["rule_id"]
    owner.post(address("settings/rules/change/"), {"do": "delete", "confirmed": "yes", "rule": rule})
    kept = owner.session["undo"]
    owner.post(address("undo/"), {"kept": next(iter(kept))})
    session = owner.session
    session["undo"] = kept
    session.save()

    page = text_of(owner.post(address("undo/"), {"kept": next(iter(kept))}, follow=True))

    assert "This was undone already." in page
    assert Rule.objects.count() == 1


def test_undo__of_a_deleted_alert__keeps_its_secret_out_of_pages_and_log(place: Place, enter: Enter) -> None:
    alert, owner = Alert.objects.get(), enter("owner")
    Alert.objects.update(emails=["a@example.com"], webhook_url="https://example.com/")
    sent = {"do": "delete", "confirmed": "yes", "alert": alert.pk}

    deleted = owner.post(address("settings/alerts/change/"), sent)
    assert alert.secret not in text_of(owner.get(deleted.headers["Location"]))
    owner.post(address("undo/"), {"kept": next(iter(owner.session["undo"]))})

    again = Alert.objects.get()
    assert (again.pk, again.secret, again.emails) == (alert.pk, alert.secret, ["a@example.com"])
    assert not AuditEntry.objects.filter(after__icontains=alert.secret).exists()


def test_undo__of_an_unlinked_event__links_it_again(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    binding = GoalBinding.objects.create(site=world.site, goal=goal, event_type="track", event_name="Order")

    press_undo(editor, editor.post(page_of(goal, f"events/{binding.pk}/unbind/"), {"confirmed": "yes"}))

    again = GoalBinding.objects.get()
    assert (again.goal, again.event_type, again.event_name) == (goal, "track", "Order")


def test_undo__of_an_unlinked_event_that_made_a_goal_since__leaves_it_there(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    binding = GoalBinding.objects.create(site=world.site, goal=goal, event_type="track", event_name="Order")
    changed = editor.post(page_of(goal, f"events/{binding.pk}/unbind/"), {"confirmed": "yes"})
    world.track("Order")
    made = Goal.objects.exclude(pk=goal.pk).get()

    assert f"Nothing was undone. Order counts for goal {made.pk} now." in press_undo(editor, changed)
    assert not GoalBinding.objects.exists()


def test_undo__of_an_unlinked_event_that_another_goal_got__links_it_again(world: World, enter: Enter) -> None:
    world.track("Order")
    goal, editor = make(world, "Buy"), enter("editor")
    binding = GoalBinding.objects.create(site=world.site, goal=goal, event_type="track", event_name="Order")

    press_undo(editor, editor.post(page_of(goal, f"events/{binding.pk}/unbind/"), {"confirmed": "yes"}))

    assert GoalBinding.objects.get().goal == goal


def test_undo__of_a_flag_switched_on__switches_it_off(place: Place, enter: Enter) -> None:
    editor, flag = enter("editor"), FeatureFlag.objects.get()
    sent = {"do": "switch", "flag": flag.pk, "environment": "staging"}

    page = press_undo(editor, editor.post(address("settings/flags/change/"), sent))

    assert "Flag “checkout” is off in staging." in page
    assert FeatureFlag.objects.get().enabled_in == flag.enabled_in


def test_undo__of_a_flag_that_another_switched_off__leaves_it_off(place: Place, enter: Enter) -> None:
    editor, flag = enter("editor"), FeatureFlag.objects.get()
    sent = {"do": "switch", "flag": flag.pk, "environment": "staging"}
    switched_on = editor.post(address("settings/flags/change/"), sent)
    enter("owner").post(address("settings/flags/change/"), sent)

    press_undo(editor, switched_on)

    assert FeatureFlag.objects.get().enabled_in == flag.enabled_in


def test_undo__of_another_person_or_after_an_hour__does_nothing(place: Place, world: World, enter: Enter) -> None:
    owner, rule = enter("owner"), place.numbers["rule_id"]
    owner.post(address("settings/rules/change/"), {"do": "delete", "confirmed": "yes", "rule": rule})
    token = next(iter(owner.session["undo"]))

    enter("superuser").post(address("undo/"), {"kept": token})
    assert not Rule.objects.exists()

    session = owner.session
    session["undo"][token]["at"] = (timezone.now() - timedelta(hours=1, seconds=1)).isoformat()
    session.save()
    assert "more than an hour has passed" in text_of(owner.post(address("undo/"), {"kept": token}, follow=True))
    assert not Rule.objects.exists()


def test_undo__of_who_lost_the_role__is_refused(place: Place, enter: Enter) -> None:
    owner = enter("owner")
    owner.post(
        address("settings/rules/change/"), {"do": "delete", "confirmed": "yes", "rule": place.numbers["rule_id"]}
    )
    Membership.objects.filter(user__username="owner").update(role="editor")

    response = owner.post(address("undo/"), {"kept": next(iter(owner.session["undo"]))})

    assert response.status_code == 403
    assert not Rule.objects.exists()


def test_undo__of_many_changes__keeps_the_latest_five(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    for number in range(7):
        last = save(editor, goal, name=f"Sell {number}")
    assert len(editor.session["undo"]) == 5

    press_undo(editor, last)

    assert Goal.objects.get().name == "Sell 5"
