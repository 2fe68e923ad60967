"""Annotations in the management API: a deploy writes one."""

from typing import Any

import pytest
from django.utils import timezone

from api.http.tokens import make_token
from api.ingest.provisioning import create_site
from api.insight import annotations
from api.models import Annotation, AuditEntry
from goals import merging
from goals.models import Goal
from tests.support.management_api import Caller, body, message
from tests.world import SITECODE, World, owner_of

PATH = f"/api/sites/{SITECODE}/annotations"


def test_annotation__of_a_deploy__is_now_of_all_goals_and_by_its_caller(world: World, owner: Caller) -> None:
    began = timezone.now()
    answer = owner.post(PATH, {"text": " Deploy 12 "})

    made = body(answer)
    assert answer.status_code == 201
    row = Annotation.objects.get()
    assert (made["text"], made["goal"], row.goal) == ("Deploy 12", None, None)
    assert began <= row.at <= timezone.now()
    entry = AuditEntry.objects.get()
    assert (entry.what, entry.who, made["who"]) == (f"Created the annotation {row.pk}", made["who"], entry.who)


def test_annotations__listed__are_by_time_in_pages_and_of_a_period_or_goal(world: World, owner: Caller) -> None:
    goal = Goal.objects.create(site=world.site, name="Buy")
    for hour in (3, 1, 2, 2):
        at = f"2026-11-20T0{hour}:00:00+01:00"
        owner.post(PATH, {"text": str(hour), "at": at, "goal": goal.pk if hour == 1 else None})

    def texts(query: str) -> list[str]:
        return [row["text"] for row in owner.get(f"{PATH}?{query}")["results"]]

    seen, cursor = [], ""
    while cursor is not None:
        page: Any = owner.get(f"{PATH}?limit=1{cursor and f'&cursor={cursor}'}")
        seen += [(row["text"], row["id"]) for row in page["results"]]
        cursor = page["next"]
    assert [text for text, _ in seen] == ["3", "2", "2", "1"]
    assert len(set(seen)) == 4
    assert texts("since=2026-11-20T01:00:00Z&until=2026-11-20T02:00:00Z") == ["2", "2"]
    assert texts(f"goal={goal.pk}") == ["1"]


def test_annotation__changed__keeps_its_author_and_other_fields(world: World, owner: Caller) -> None:
    row = Annotation.objects.create(site=world.site, at=timezone.now(), text="Deploy", who="ada")

    changed = body(owner.patch(f"{PATH}/{row.pk}", {"text": "Deploy 2"}))

    assert (changed["text"], changed["who"]) == ("Deploy 2", "ada")
    assert owner.get(f"{PATH}/{row.pk}") == changed
    assert AuditEntry.objects.get().after == {"text": "Deploy 2"}


def test_annotation__of_a_merged_goal__may_keep_its_goal(world: World, owner: Caller) -> None:
    one, into = (Goal.objects.create(site=world.site, name=name) for name in ("One", "Into"))
    row = Annotation.objects.create(site=world.site, goal=one, at=timezone.now(), text="Deploy", who="ada")
    merging.merge(one, into)

    assert body(owner.patch(f"{PATH}/{row.pk}", {"text": "Deploy 2", "goal": one.pk}))["text"] == "Deploy 2"


def test_annotation__without_the_scope_for_people__hides_its_author(world: World, owner: Caller) -> None:
    row = Annotation.objects.create(site=world.site, at=timezone.now(), text="Deploy", who="ada")
    ada = owner_of(world.site)
    _, value = make_token([world.site], description="CI", scopes=["read"], made_by=ada, expires_at=None)
    owner.authorization = f"Bearer {value}"

    assert owner.get(f"{PATH}/{row.pk}")["who"] is None
    assert [each["who"] for each in owner.get(PATH)["results"]] == [None]


@pytest.mark.parametrize(
    ("field", "value"),
    [("text", ""), ("text", "a" * 201), ("at", "1999-12-31T00:00:00Z"), ("at", "2400-01-01T00:00:00Z"), ("goal", 0)],
    ids=["empty", "long", "early", "late", "none"],
)
def test_annotation__that_cannot_be__is_400_and_names_the_field(
    world: World, owner: Caller, field: str, value: object
) -> None:
    answer = owner.post(PATH, {"text": "Deploy", field: value})

    assert answer.status_code == 400
    assert field in message(answer)
    assert not Annotation.objects.exists()


def test_annotation__of_another_sites_goal__is_400(world: World, owner: Caller) -> None:
    other = Goal.objects.create(site=create_site(name="Other"), name="Buy")

    answer = owner.post(PATH, {"text": "Deploy", "goal": other.pk})

    assert (answer.status_code, Annotation.objects.exists()) == (400, False)


def test_annotations__beyond_the_limit__are_400(world: World, owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(annotations, "MOST_ANNOTATIONS", 0)

    assert annotations.TOO_MANY in message(owner.post(PATH, {"text": "Deploy"}))
