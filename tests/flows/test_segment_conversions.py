"""Segments on conversions: all that count are read, also of a busy visitor, and none of a goal that was deleted."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from api.digest.goal_changes import STEPS
from api.models import GoalsChange
from goals import by_visitor
from goals.models import Goal
from tests.support.segments import assert_exact, keep_up, make_segment, members, set_clock
from tests.world import START, World

SEEN = {"on": "seen", "which": "last", "test": {"type": "date", "how": "since", "date": "2026-11-01"}}


def goal_of(world: World, name: str) -> Goal:
    return Goal.objects.get(site=world.site, name__endswith=name)


def test_membership__of_a_goal_before_many_conversions_of_another__counts_all(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = set_clock(monkeypatch, START + timedelta(hours=1))
    monkeypatch.setattr("goals.by_visitor.MOST_LATEST", 2)
    world.send(*(world.event(event=name, at=at) for at, name in enumerate(["Bought", "Bought", "See", "See", "See"])))
    condition = {"on": "goal", "goal": goal_of(world, "Bought").pk, "times": 2, "days": 1}

    segment = make_segment(world.site, [condition], is_filled=False)
    keep_up(clock.value)

    assert members(segment) == {"user-1"}
    assert_exact(world)


def test_membership__of_a_source_before_many_conversions_of_none__is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goals.by_visitor.MOST_LATEST", 1)
    world.track("Bought")
    goal_of(world, "Bought").conversions.update(source_id=7)
    world.track("Bought", at=1)
    goal_of(world, "Bought").conversions.exclude(source_id=7).update(source_id=None)

    assert members(make_segment(world.site, [{"on": "source", "source": 7}])) == {"user-1"}
    assert_exact(world)


def test_source__of_a_visitor_with_many_conversions__is_found_without_reading_them(world: World) -> None:
    world.track("Bought")
    (code,) = goal_of(world, "Bought").conversions.values_list("visitor_code", flat=True)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_conversion (site_id, goal_id, visitor_code, keyed_by, occurred_at, properties,
                                          message_key, source_id)
            SELECT site_id, goal_id, visitor_code, keyed_by, occurred_at, '{}', 'again-' || n, n % 2
              FROM goals_conversion, generate_series(1, 5000) AS n
            """
        )
        cursor.execute("ANALYZE goals_conversion")
    with CaptureQueriesContext(connection) as queries:
        found = by_visitor.load_sources(world.site.pk, [code], [1, 7])

    assert found == {code: [1]}
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + queries[0]["sql"])
        (plan,) = cursor.fetchone()[0]
    assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 20


@pytest.mark.parametrize("condition", [SEEN, {"on": "source", "source": 7}], ids=["seen", "source"])
def test_membership__of_the_conversions_of_a_goal_that_is_deleted__ends(world: World, condition: Any) -> None:
    world.track("Bought")
    goal = goal_of(world, "Bought")
    goal.conversions.update(source_id=7)
    segment = make_segment(world.site, [condition])
    assert members(segment) == {"user-1"}

    change = GoalsChange(site=world.site, action=GoalsChange.Action.DELETE)
    assert STEPS[GoalsChange.Action.DELETE](change, [goal.pk], timezone.now()) == 1
    keep_up()

    assert members(segment) == set()
    assert_exact(world)


@pytest.mark.parametrize(
    ("more", "reads"),
    [
        ({}, [True, False, False]),
        ({"times": 2}, [True, True, False]),
        ({"days": 7}, [True, True, True]),
        ({"revenue": "10", "currency": "USD"}, [True, True, True]),
    ],
)
def test_conversion__of_one_who_has_converted_often_enough__evaluates_nobody(
    world: World, more: dict[str, Any], reads: list[bool]
) -> None:
    world.send(world.event(event="Bought", userId="other"))
    world.identify()
    condition = {"on": "goal", "goal": goal_of(world, "Bought").pk, **more}
    segment = make_segment(world.site, [condition])
    make_segment(world.site, [{"on": "segment", "segment": segment.pk, "negated": True}], name="not")
    found = []
    for at in range(3):
        with CaptureQueriesContext(connection) as queries:
            world.send(world.event(at=1 + at, event="Bought"))
        found.append(any("FROM cohorts_segmentmember" in query["sql"] for query in queries))

    assert found == reads
    assert_exact(world)
