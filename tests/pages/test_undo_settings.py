"""Undo of changes of settings: the order of rules, roles of members, switches of sources; and of a worker's change."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from api.digest import goal_changes
from api.models import AuditEntry, GoalsChange, Membership, Rule, Source
from goals.models import Goal
from tests.support.goal_pages import BASE
from tests.support.pages import Enter, address, text_of
from tests.support.undo import press_undo
from tests.world import World


@pytest.fixture
def rules(world: World) -> list[Rule]:
    return [
        Rule.objects.create(site=world.site, position=place, name=name, action="no_goal")
        for place, name in enumerate(("a", "b", "c"))
    ]


def order() -> list[str]:
    return list(Rule.objects.values_list("name", flat=True))


@pytest.mark.parametrize(("do", "moved"), [("up", ["b", "a", "c"]), ("down", ["a", "c", "b"])])
def test_undo__of_a_moved_rule__gives_the_order_back(
    rules: list[Rule], enter: Enter, do: str, moved: list[str]
) -> None:
    owner = enter("owner")
    done = owner.post(address("settings/rules/change/"), {"do": do, "rule": rules[1].pk})
    assert order() == moved

    page = press_undo(owner, done)

    assert "Rule “b” moved back." in page
    assert order() == ["a", "b", "c"]
    newest, first = AuditEntry.objects.order_by("-pk")[:2]
    assert (newest.before, newest.after) == (first.after, first.before)


def test_undo__of_a_moved_rule_after_another_move__keeps_the_later_order(rules: list[Rule], enter: Enter) -> None:
    owner = enter("owner")
    done = owner.post(address("settings/rules/change/"), {"do": "up", "rule": rules[1].pk})
    rules[0].delete()

    assert "changed again meanwhile" in press_undo(owner, done)

    assert order() == ["b", "c"]


@pytest.fixture
def member(world: World) -> Membership:
    return Membership.objects.create(site=world.site, user=User.objects.create_user("ada"), role="editor")


def change_role(owner: Any, member: Membership, role: str) -> Any:
    return owner.post(address("settings/members/change/"), {"do": "role", "member": member.pk, "role": role})


def test_undo__of_a_role__gives_the_one_before_back(member: Membership, enter: Enter) -> None:
    owner = enter("owner")

    page = press_undo(owner, change_role(owner, member, "viewer"))

    assert "ada is editor again." in page
    member.refresh_from_db()
    assert member.role == "editor"
    assert AuditEntry.objects.latest("pk").after == {"role": "editor"}


@pytest.mark.parametrize("then", ["changed", "removed", "last owner"])
def test_undo__of_a_role_that_cannot_be_given_back__says_why(member: Membership, enter: Enter, then: str) -> None:
    owner = enter("owner")
    done = change_role(owner, member, "owner")
    if then == "changed":
        Membership.objects.filter(pk=member.pk).update(role="viewer")
    elif then == "removed":
        member.delete()
    else:
        User.objects.filter(username="owner").update(is_superuser=True)
        Membership.objects.exclude(pk=member.pk).delete()

    assert "Nothing was undone." in press_undo(owner, done)

    assert not Membership.objects.filter(pk=member.pk, role="editor").exists()


def save_source(owner: Any, source: Source, **fields: str) -> Any:
    return owner.post(
        address("settings/sources/change/"), {"do": "save", "source": source.pk, "name": source.name, **fields}
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"takes_track": "on"}, "Source “Segment destination” is off."),
        ({"is_enabled": "on"}, "Track events of “Segment destination” do not count."),
        ({"is_enabled": "on", "takes_track": "on", "name": "New"}, "Saved."),
    ],
)
def test_undo__of_a_changed_source__gives_its_fields_back(
    world: World, enter: Enter, fields: dict[str, str], says: str
) -> None:
    owner, source = enter("owner"), world.site.sources.get()
    before = Source.objects.values("name", "is_enabled", "takes_track").get()
    done = save_source(owner, source, **fields)
    assert says in text_of(owner.get(done.headers["Location"]))
    done = save_source(owner, source, is_enabled="on", takes_track="on")
    done = save_source(owner, source, **fields)

    press_undo(owner, done)

    assert Source.objects.values("name", "is_enabled", "takes_track").get() == before


def test_undo__of_a_source_that_was_changed_again__keeps_it(world: World, enter: Enter) -> None:
    owner, source = enter("owner"), world.site.sources.get()
    done = save_source(owner, source, takes_track="on")
    Source.objects.update(is_enabled=True)

    assert "changed again meanwhile" in press_undo(owner, done)

    assert not AuditEntry.objects.filter(before={"is_enabled": False}).exists()


@pytest.mark.parametrize("action", ["tag", "archive"])
def test_undo__of_a_change_that_a_worker_finished__is_on_the_page_of_its_progress(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr("api.pages.goals.changes.AT_ONCE", 0)
    monkeypatch.setattr(goal_changes, "CHUNK", 1)
    Goal.objects.bulk_create(Goal(site=world.site, name=f"Goal {number}") for number in range(3))
    ids = list(Goal.objects.values_list("pk", flat=True))
    editor, sent = enter("editor"), {"action": action, "goal": ids, "tag_name": "vip"}
    asked = editor.post(f"{BASE}change/", sent)
    progress = editor.post(asked.headers["Location"]).headers["Location"]
    change = GoalsChange.objects.get(action=action)
    assert change.finished_at is None
    assert ">Undo<" not in text_of(editor.get(progress))
    while change.finished_at is None:
        goal_changes.run_change(change, now=timezone.now(), seconds=1)

    (to,) = re.findall(r'<form method="post" action="([^"]*)">(?:(?!</form>).)*>Undo<', text_of(editor.get(progress)))
    assert "undo=" not in to
    editor.post(to)
    for back in GoalsChange.objects.filter(started_at__isnull=False, finished_at=None):
        goal_changes.run_change(back, now=timezone.now(), seconds=5)

    assert not Goal.objects.exclude(archived_at=None).exists()
    assert not Goal.objects.exclude(tags=None).exists()
    assert ">Undo<" not in text_of(editor.get(progress))
