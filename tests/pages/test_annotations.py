"""Annotations of a goal's charts: written on its page, shown in charts and tables, undone."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from api.insight import annotations
from api.models import Annotation, AuditEntry
from goals import merging
from goals.models import Goal
from tests.support.goal_pages import make, page_of
from tests.support.pages import Enter, address, text_of
from tests.world import World

FORM = {"at": "2026-11-21T23:30", "text": "Sale “begins”"}
PERIOD = "?from=2026-11-15&to=2026-11-22"


def write(enter: Enter, goal: Goal, **fields: Any) -> str:
    return text_of(enter("editor").post(page_of(goal, "annotations/new/"), {**FORM, **fields}, follow=True))


def texts_of(client: Client, goal: Goal) -> list[str]:
    page: Any = client.get(page_of(goal, PERIOD))
    return [mark.text for mark in page.context["seen"].annotations]


def test_annotation__written_in_the_zone_of_the_site__is_at_its_day_in_chart_and_table(
    world: World, enter: Enter
) -> None:
    world.site.time_zone = "Europe/Zurich"
    world.site.save()
    goal = make(world, "Buy")

    assert "Annotation saved." in write(enter, goal)
    page = text_of(enter("viewer").get(page_of(goal, PERIOD)))

    assert Annotation.objects.get().at == datetime(2026, 11, 21, 22, 30, tzinfo=UTC)
    assert re.search(r"21 Nov 2026, 23:30.*?</span>\s*<span[^>]*>Sale “begins”</span>\s*<span[^>]*>editor", page)
    (chart,) = re.findall(r'data-chart="([^"]*)"', page)[:1]
    (mark,) = json.loads(chart.replace("&quot;", '"'))["marks"]
    assert mark == {"at": 6, "text": "Sale “begins” (editor)"}
    row = re.search(r'<tr><td class="gp-name">2026-11-21</td>.*?</tr>', page, re.DOTALL)
    assert row is not None
    assert "Sale “begins” (editor)" in row[0]
    assert "Edit Sale" not in page, "a viewer changes nothing"


def test_annotation__of_one_goal_or_all__is_in_the_charts_of_these(world: World, enter: Enter) -> None:
    one, other, merged = make(world, "One"), make(world, "Other"), make(world, "Merged")
    write(enter, one, text="Of one")
    write(enter, other, text="Of all", is_of_site="on")
    write(enter, merged, text="Of merged")
    merging.merge(merged, one)

    assert texts_of(enter("viewer"), one) == ["Of one", "Of all", "Of merged"]
    assert texts_of(enter("viewer"), other) == ["Of all"]
    row = Annotation.objects.get(text="Of merged")
    form = {"at": "2026-11-21T22:30", "text": "Of merged 2"}
    assert enter("editor").post(page_of(one, f"annotations/{row.pk}/"), form).status_code == 302
    assert Annotation.objects.get(pk=row.pk).text == "Of merged 2"
    assert not AuditEntry.objects.filter(what__contains="annotation", after=None).exists()


@pytest.mark.parametrize(
    ("fields", "trouble"),
    [
        ({"text": " "}, "This field is required."),
        ({"text": "a" * 201}, "at most 200 characters"),
        ({"at": "1999-12-31T23:00"}, "Enter a time from 2000 until a year from now."),
        ({"at": "soon"}, "Enter a valid date/time."),
    ],
)
def test_annotation__with_a_wrong_field__is_shown_again_with_the_reason(
    world: World, enter: Enter, fields: dict[str, str], trouble: str
) -> None:
    page = write(enter, make(world, "Buy"), **fields)

    assert trouble in page
    assert not Annotation.objects.exists()


def test_annotation__edited__keeps_author_and_seconds(world: World, enter: Enter) -> None:
    goal, at = make(world, "Buy"), datetime(2026, 11, 21, 22, 30, 59, tzinfo=UTC)
    row = Annotation.objects.create(site=world.site, goal=None, at=at, text="Deploy", who="token 1 “CI”")

    form = {"at": "2026-11-21T22:30", "text": "Deploy 7", "is_of_site": "on"}
    enter("editor").post(page_of(goal, f"annotations/{row.pk}/"), form)

    again = Annotation.objects.get()
    assert (again.at, again.text, again.who, again.goal) == (at, "Deploy 7", "token 1 “CI”", None)
    entry = AuditEntry.objects.latest("pk")
    assert (entry.before, entry.after) == ({"text": "Deploy"}, {"text": "Deploy 7"})


def test_annotation__deleted__comes_back_with_undo(world: World, enter: Enter) -> None:
    goal, editor = make(world, "Buy"), enter("editor")
    write(enter, goal)
    before = Annotation.objects.values().get()

    editor.post(page_of(goal, f"annotations/{before['id']}/delete/"))
    assert not Annotation.objects.exists()
    editor.post(address("undo/"), {"kept": next(iter(editor.session["undo"]))})

    after = Annotation.objects.values().get()
    assert {**after, "created_at": None} == {**before, "created_at": None}


def test_annotation__of_another_goal__is_absent(world: World, enter: Enter) -> None:
    one, other = make(world, "One"), make(world, "Other")
    row = Annotation.objects.create(site=world.site, goal=other, at=timezone.now(), text="Deploy", who="ada")

    assert enter("editor").get(page_of(one, f"annotations/{row.pk}/")).status_code == 404
    assert enter("editor").post(page_of(one, f"annotations/{row.pk}/delete/")).status_code == 404


def test_annotations__beyond_the_limit__are_refused(
    world: World, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = make(world, "Buy")
    write(enter, goal)
    monkeypatch.setattr(annotations, "MOST_ANNOTATIONS", 1)

    assert annotations.TOO_MANY in write(enter, goal)
    assert Annotation.objects.count() == 1


def test_annotations__of_a_period_with_many__are_the_latest_fifty(world: World) -> None:
    begin = datetime(2026, 11, 1, tzinfo=UTC)
    Annotation.objects.bulk_create(
        Annotation(site=world.site, at=begin + timedelta(minutes=minute), text=f"{minute}", who="ada")
        for minute in range(60)
    )

    found = annotations.find_annotations(world.site, [], begin=begin, end=begin + timedelta(minutes=59))

    assert [mark.text for mark in found] == [f"{minute}" for minute in range(9, 59)]
