"""The page of what to tidy in the goals: twins, patterns, stale goals (promise N-15)."""

import html
import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from goals.models import Goal, GoalCreation
from goals.naming import name_goal
from tests.support.pages import Enter, text_of
from tests.world import SITECODE, World

BASE = f"/admin/s/{SITECODE}/goals/"


def make(world: World, *names: str, days_ago: int = 0) -> None:
    goals = [
        Goal(site=world.site, name=name_goal("track", name), origin=Goal.Origin.EVENT, is_named_by_event=True)
        for name in names
    ]
    Goal.objects.bulk_create(goals)
    Goal.objects.filter(pk__in=[goal.pk for goal in goals]).update(created_at=timezone.now() - timedelta(days=days_ago))


@pytest.mark.promise("N-15")
def test_cleanup__of_goals_called_alike__lead_to_their_merge(world: World, enter: Enter) -> None:
    make(world, "Sign Up", "sign_up", "Signed Up", "Other")
    editor = enter("editor")

    page = text_of(editor.get(f"{BASE}cleanup/"))

    (address,) = re.findall(r'href="(\S+/merge/\S+)"', page)
    preview = text_of(editor.get(html.unescape(address)))
    assert len(re.findall('aria-label="Keep ', preview)) == 3
    assert "cleanup/" in text_of(editor.get(BASE))
    assert "/merge/" not in text_of(enter("viewer").get(f"{BASE}cleanup/"))


@pytest.mark.promise("N-15")
def test_cleanup__of_ten_thousand_names_with_ids__suggest_one_pattern_and_spare_the_quota(
    world: World, enter: Enter
) -> None:
    make(world, *(f"Viewed order {10_000 + number}" for number in range(10_000)))
    editor = enter("editor")

    page = text_of(editor.get(f"{BASE}cleanup/"))
    patterns = re.findall(r"<li><code>(.*?)</code> <span[^>]*>(.*?)</span>", page)
    (action,) = re.findall(r'href="(\S+/group-names/)"', page)
    assert "10,000 existing goals" in text_of(editor.get(action)).replace("<legend>", "")
    editor.post(action)
    world.send(*(world.event("track", event=f"Viewed order {50_000 + n}", userId="u") for n in range(60)))

    assert patterns == [("Viewed order {n}", "10,000 goals")]
    assert GoalCreation.objects.count() == 1  # that of the pattern: 60 would be more than 10 seconds may make
    assert Goal.objects.get(name__endswith="{n}").conversions.count() == 60
    assert "group-names" not in text_of(editor.get(f"{BASE}cleanup/"))


@pytest.mark.promise("N-15")
@pytest.mark.parametrize("whole", [True, False])
def test_cleanup__of_stale_goals__archive_them_at_once(world: World, enter: Enter, whole: bool) -> None:  # noqa: FBT001
    make(world, "Old", "Older", days_ago=100)
    make(world, "Young")
    editor = enter("editor")
    page = text_of(editor.get(f"{BASE}cleanup/"))
    ids = re.findall(r'<button class="gp-button" name="goal" value="(\d+)"', page)

    asked = editor.post(f"{BASE}change/", {"action": "archive", "back": "cleanup", "goal": ids if whole else ids[:1]})
    assert not Goal.objects.exclude(archived_at=None).exists()
    answer = editor.post(asked["Location"])

    assert answer["Location"] == f"{BASE}cleanup/"
    assert set(Goal.objects.exclude(archived_at=None).values_list("pk", flat=True)) == {
        int(each) for each in (ids if whole else ids[:1])
    }
    assert len(ids) == 2


def test_cleanup__of_a_tidy_site__say_so_in_few_queries(world: World, enter: Enter) -> None:
    viewer = enter("viewer")
    viewer.get(BASE)

    with CaptureQueriesContext(connection) as queries:
        page = text_of(viewer.get(f"{BASE}cleanup/"))

    assert "No active goals have similar names." in page
    assert "converted in the last 90 days" in page
    assert len(queries) <= 12
