"""Changes of many goals: what was asked for is shown in figures, started once, and done in steps to the last goal."""

import html
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.digest import goal_changes
from api.models import AuditEntry, GoalsChange
from api.tasks import change_goals
from goals import catalogue, merging
from goals.matching import EventName
from goals.models import Conversion, Goal, GoalBinding, Tag
from goals.naming import TEMPLATE
from tests.support.pages import Enter, text_of
from tests.world import SITECODE, World

BASE = f"/admin/s/{SITECODE}/goals/"


def make(world: World, *names: str, tags: tuple[str, ...] = ("shop",)) -> list[Goal]:
    return [catalogue.create_goal(Goal(site=world.site, name=name), tags=tags, template=TEMPLATE) for name in names]


def make_many(world: World, count: int) -> None:
    Goal.objects.bulk_create(Goal(site=world.site, name=f"Goal {number}") for number in range(count))


def ask(enter: Enter, **form: Any) -> Any:
    """Send the list's form and return the page that follows."""
    editor = enter("editor")
    response = editor.post(f"{BASE}change/", form)
    assert response.headers["Location"].startswith(f"{BASE}changes/"), response.headers
    return editor.get(response.headers["Location"])


def start(enter: Enter, page: Any) -> Any:
    """Press the button that says what happens."""
    return enter("editor").post(f"{page.request['PATH_INFO']}?{page.request['QUERY_STRING']}")


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


@pytest.mark.parametrize(
    ("action", "tag", "tags", "is_archived"),
    [
        ("tag", "new", {"new", "shop"}, False),
        ("untag", "shop", set(), False),
        ("archive", "", {"shop"}, True),
        ("restore", "", {"shop"}, False),
    ],
)
def test_picked_goals__changed_after_a_question__are_all_of_them(
    world: World, enter: Enter, action: str, tag: str, tags: set[str], *, is_archived: bool
) -> None:
    goals = make(world, "One", "Two")
    if action == "restore":
        Goal.objects.update(archived_at=timezone.now())
    (other,) = make(world, "Other")
    before = list(Goal.objects.order_by("pk").values_list("archived_at", flat=True))

    page = ask(enter, goal=[goal.pk for goal in goals], action=action, tag_name=tag, query="tag=shop&q=")
    assert "<strong>2 goals</strong>" in text_of(page)
    assert list(Goal.objects.order_by("pk").values_list("archived_at", flat=True)) == before
    assert not AuditEntry.objects.exists()
    response = start(enter, page)

    assert (response.status_code, response.headers["Location"]) == (302, f"{BASE}?tag=shop&q=")
    for goal in goals:
        goal.refresh_from_db()
        assert ({each.name for each in goal.tags.all()}, goal.archived_at is not None) == (tags, is_archived)
    other.refresh_from_db()
    assert ([each.name for each in other.tags.all()], other.archived_at) == (["shop"], None)
    entry = AuditEntry.objects.get()
    assert entry.after is not None
    assert (entry.who, entry.user, entry.after["goals"]) == ("editor", User.objects.get(username="editor"), 2)
    assert entry.after["first"] == [f"{goal.pk}: {goal.name}" for goal in goals]


@pytest.mark.parametrize(
    "sent",
    [
        {"action": "tag", "tag_name": ""},
        {"action": "tag", "tag_name": "x" * 101},
        {"action": "no such"},
        {"action": "archive", "goal": ["x", "9" * 30]},
        {"action": "merge", "scope": "all"},
        {"action": "delete", "scope": "all", "query": "q=no+goal+is+called+so"},
    ],
    ids=str,
)
def test_picked_goals__when_something_is_missing__nothing_is_asked(world: World, enter: Enter, sent: Any) -> None:
    (goal,) = make(world, "One")

    response = enter("editor").post(f"{BASE}change/", {"goal": [goal.pk], **sent}, follow=True)

    (message,) = response.context["messages"]
    assert message.level_tag == "error"
    assert not GoalsChange.objects.exists()


def test_list__with_a_filter__is_changed_whole_and_nothing_else(world: World, enter: Enter) -> None:
    make(world, *(f"Shoe {number}" for number in range(70)))
    make(world, "Hat", "Scarf")
    assert "all 70 that match" in text_of(enter("editor").get(f"{BASE}?q=shoe"))

    page = ask(enter, action="archive", scope="all", query="q=shoe&after=Shoe+5&id=1")
    make(world, "Shoe, made after the question")

    assert "Archive: 70 goals" in text_of(page)
    start(enter, page)
    assert sorted(Goal.objects.filter(archived_at=None).values_list("name", flat=True)) == [
        "Hat",
        "Scarf",
        "Shoe, made after the question",
    ]


def test_deletion__of_goals_with_conversions__says_what_is_lost(world: World, enter: Enter) -> None:
    world.track("Buy", properties={"revenue": "1234.5", "currency": "EUR"})
    world.track("Bought", at=1, properties={"revenue": "2", "currency": "USD"})
    world.track("Look", at=2)
    buy, bought, look = Goal.objects.order_by("pk")
    merging.merge(bought, buy)
    catalogue.bind_event(bought, EventName("track", "Purchase"), template=TEMPLATE)
    gone = make(world, "Gone")[0]
    asked = {"goal": [buy.pk, gone.pk], "action": "delete", "query": ""}

    catalogue.delete_goal(gone, now=timezone.now())
    page = ask(enter, **asked)
    shown = re.sub(r"<.*?>", "", text_of(page))

    assert (
        "This permanently deletes 1 goal and 2 conversions with EUR 1,234.50, USD 2.00, and can't be undone." in shown
    )
    assert "1 goal merged into it" in shown
    assert "1 of the 2 goals selected" in shown
    assert "Delete: 1 goal" in shown
    start(enter, page)
    assert world.goals() == {look.name: 1}
    assert not GoalBinding.objects.exists()
    world.track("Buy", at=9)
    assert world.goals()["SegmentIO track – Buy"] == 1


def test_deletion__archived_instead__loses_nothing(world: World, enter: Enter) -> None:
    goals = make(world, "One", "Two")
    page = ask(enter, goal=[goal.pk for goal in goals], action="delete", query="")

    again = enter("editor").post(page.request["PATH_INFO"], {"do": "archive"}, follow=True)

    assert "Archive: 2 goals" in text_of(again)
    start(enter, page)
    assert Goal.objects.filter(deleted_at=None).exclude(archived_at=None).count() == 2


def test_form__of_more_fields_than_are_read__is_refused_in_words(world: World, enter: Enter) -> None:
    response = enter("editor").post(f"{BASE}change/", {f"field-{number}": "x" for number in range(1_500)})

    assert response.status_code == 400
    assert b"the form has more than 1,000 fields. Nothing was changed." in response.content


def test_change__with_nothing_to_do__offers_no_button(world: World, enter: Enter) -> None:
    goals = make(world, "One", "Two")

    page = ask(enter, goal=[goal.pk for goal in goals], action="restore", query="")

    assert "Nothing to change: all 2 goals are already like that or deleted." in text_of(page)
    assert 'method="post"' not in text_of(page).partition('class="gp"')[2]


def test_ten_thousand_goals__deleted__go_in_the_background_with_one_entry(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_many(world, 10_000)
    make(world, "Kept")
    monkeypatch.setattr("api.pages.goals.changes.AT_ONCE", 0)

    page = ask(enter, action="delete", scope="all", query="q=goal")
    assert "<strong>10,000 goals</strong>" in text_of(page)
    response = start(enter, page)
    assert response.headers["Location"].partition("?")[0] == page.request["PATH_INFO"]
    running = enter("editor").get(page.request["PATH_INFO"])
    assert "500 of 10,000 goals are done" in text_of(running)
    assert "data-running" in text_of(running)
    while goal_changes.run_any_step(now=timezone.now()):
        pass

    done = enter("editor").get(page.request["PATH_INFO"])
    assert "Deleted 10,000 goals." in text_of(done)
    assert "data-running" not in text_of(done)
    assert list(Goal.objects.filter(deleted_at=None).values_list("name", flat=True)) == ["Kept"]
    assert [entry.what for entry in AuditEntry.objects.all()] == ["Deleted 10,000 goals"]


def test_change__interrupted__goes_on_where_it_was_and_is_started_once(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goal_changes, "CHUNK", 3)
    monkeypatch.setattr("api.pages.goals.changes.AT_ONCE", 0)
    make_many(world, 9)
    page = ask(enter, action="tag", tag_name="new", scope="all", query="q=goal&sort=name")
    start(enter, page)
    start(enter, page)  # a second click does a step at most
    broken = goal_changes.STEPS["tag"]
    monkeypatch.setattr(goal_changes, "STEPS", {"tag": lambda *_: 1 / 0})
    with pytest.raises(ZeroDivisionError):
        goal_changes.run_any_step(now=timezone.now())
    monkeypatch.setattr(goal_changes, "STEPS", {"tag": broken})
    Goal.objects.filter(name="Goal 8").update(deleted_at=timezone.now())

    change_goals()

    change = GoalsChange.objects.get(action="tag")
    assert (change.place, change.changed, change.finished_at is not None) == (9, 8, True)
    assert Tag.objects.get(name="new").goals.count() == 8
    assert AuditEntry.objects.count() == 1


def test_steps__of_many_goals__cost_the_same_however_many(world: World, enter: Enter) -> None:
    make_many(world, 1_000)
    user = User.objects.create(username="ada")
    ids = list(Goal.objects.order_by("pk").values_list("pk", flat=True))
    costs = []
    for size in (10, 500):
        for action in goal_changes.Action:
            change = goal_changes.prepare_change(world.site, action, ids[:size], tag="t", user=user)
            goal_changes.start_change(change, user=user, now=timezone.now())
            with CaptureQueriesContext(connection) as queries:
                goal_changes.run_change(change, now=timezone.now(), seconds=10)
            costs.append(len(queries))
            Goal.objects.update(deleted_at=None)

    assert max(costs) <= 24, costs


def test_changes__never_started_or_long_done__are_pruned(world: World, enter: Enter) -> None:
    goals = make(world, "One")
    user = User.objects.create(username="ada")
    for _ in range(4):
        goal_changes.prepare_change(world.site, goal_changes.Action.ARCHIVE, [goals[0].pk], user=user)
    now = timezone.now()
    young, old, running, done = GoalsChange.objects.order_by("pk")
    GoalsChange.objects.filter(pk=old.pk).update(created_at=now - timedelta(days=2))
    GoalsChange.objects.filter(pk=running.pk).update(created_at=now - timedelta(days=99), started_at=now)
    past = now - timedelta(days=31)
    GoalsChange.objects.filter(pk=done.pk).update(created_at=past, started_at=past, finished_at=past)

    goal_changes.prune(now=now)

    assert set(GoalsChange.objects.all()) == {young, running}


def test_totals__of_goals__are_exact(world: World, enter: Enter) -> None:
    for number in range(3):
        world.track("Buy", at=number, userId=f"u{number}", properties={"revenue": "0.1", "currency": "EUR"})
    page = ask(enter, goal=[Goal.objects.get().pk], action="delete", query="")

    assert page.context["question"].figures.revenue == {"EUR": Decimal("0.3")}
    assert page.context["question"].figures.conversions == Conversion.objects.count()
    assert "EUR 0.30" in html.unescape(text_of(page))
