"""Deletion of visits by age."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from api import tasks
from api.models import Site
from goals import visit_pruning
from goals.visit_models import Exposure, VisitActivity, VisitFact
from goals.visit_pruning import KEPT, prune_visits
from tests.support.outages import write_steady_clock
from tests.world import World

YOUNG = timedelta(days=390)
OLD = timedelta(days=401)


def make_visit(site: Site, visitor: str, *, age: timedelta, lasts: timedelta = timedelta()) -> None:
    at = datetime.now(UTC) - age
    of_visitor = {"site": site, "visitor_code": visitor, "is_user": False}
    VisitFact.objects.create(**of_visitor, type=1, occurred_at=at, position=0, message_id=visitor, fact={"href": "/"})
    VisitActivity.objects.create(**of_visitor, started_at=at, last_at=at + lasts)
    Exposure.objects.create(**of_visitor, experiment_id=1, variation_id=1, first_at=at)


def list_visitors() -> tuple[list[str], list[str]]:
    facts, activities = (model.objects.order_by("id") for model in (VisitFact, VisitActivity))
    return list(facts.values_list("visitor_code", flat=True)), list(activities.values_list("visitor_code", flat=True))


def test_visits__of_several_sites__are_deleted_by_age_except_for_exposures(world: World) -> None:
    other = Site.objects.create(name="Other", sitecode="otherother")
    for site in (world.site, other):
        make_visit(site, "old", age=OLD)
        make_visit(site, "young", age=YOUNG)
    make_visit(world.site, "long", age=OLD, lasts=OLD - YOUNG)

    write_steady_clock(hours=2)
    tasks.prune_visits()

    assert list_visitors() == (["young", "young"], ["young", "young", "long"])
    assert Exposure.objects.count() == 5


def test_visits__of_several_pages__are_deleted_up_to_the_first_page_without_an_old_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visit_pruning, "PAGE", 2)
    for visitor, age in (("1", OLD), ("2", OLD), ("3", YOUNG), ("4", OLD), ("5", YOUNG), ("6", YOUNG), ("7", OLD)):
        make_visit(world.site, visitor, age=age)

    pruned = prune_visits(now=datetime.now(UTC), until=time.monotonic() + 10)

    assert list_visitors() == (["3", "5", "6", "7"],) * 2
    assert pruned == 6


def test_visits__when_the_time_is_over__stay_for_the_next_run(world: World) -> None:
    make_visit(world.site, "old", age=KEPT + timedelta(seconds=5))

    assert prune_visits(now=datetime.now(UTC), until=time.monotonic()) == 0
    assert list_visitors() == (["old"],) * 2
