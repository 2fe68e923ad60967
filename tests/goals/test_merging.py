"""Merges of goals are pointers: counts of the union, undone for nothing (promise N-06)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from goals import catalogue, merging
from goals.models import Goal
from goals.queries import list_goal_conversions, live_goals
from goals.reports.breakdown import BreakdownField, load_breakdown
from goals.reports.figures import GoalFigures
from goals.reports.series import SeriesStep, load_series
from goals.reports.summaries import GoalSummary, load_figures, summarise_goals
from tests.world import START, World

NOW = START + timedelta(hours=2)
TEMPLATE = "SegmentIO {type} – {name}"


def headline(goal: Goal) -> GoalSummary:
    return summarise_goals(goal.site_id, [goal], now=NOW)[goal.pk]


@pytest.fixture
def goals(world: World) -> tuple[Goal, Goal, Goal]:
    """Return A and B, of which two visitors hit both within a visit; and C without conversions."""
    for name, at, user, price in (
        ("A", 0, "u1", 1),
        ("A", 1_200, "u2", 2),
        ("B", 1_000, "u1", 4),
        ("B", 2_900, "u1", 8),
        ("B", 600, "u2", 16),
        ("B", -3 * 86_400, "u3", 32),
    ):
        world.track(name, at=at, userId=user, properties={"revenue": price, "currency": "EUR", "of": name})
    Goal.objects.create(site=world.site, name="C")
    a, b, c = Goal.objects.order_by("id")
    return a, b, c


@pytest.mark.promise("N-06")
def test_merge__of_overlapping_goals__counts_the_union_and_is_undone(
    world: World, goals: tuple[Goal, Goal, Goal]
) -> None:
    a, b, _ = goals
    before = (headline(a), headline(b))
    figures = load_figures(a.site_id, {1: [a.pk], 2: [b.pk], 3: [a.pk, b.pk]})
    assert (figures[1], figures[2]) == (before[0].ever, before[1].ever)

    assert merging.merge(a, b) == b

    after = headline(b)
    assert after == GoalSummary(
        GoalFigures(5, 3, 2, {"EUR": Decimal(31)}),
        GoalFigures(6, 4, 3, {"EUR": Decimal(63)}),
        GoalFigures(6, 4, 3, {"EUR": Decimal(63)}),
        START + timedelta(seconds=2_900),
        (*[0] * 26, 1, 0, 0, 3),
    )
    assert figures[3] == after.ever
    for step in SeriesStep:
        points = load_series(b, begin=START - timedelta(days=3), end=NOW, step=step, zone=UTC)
        assert sum(point.conversions for point in points) == 6
        assert sum(point.visits for point in points) == 4
    assert [part.value for part in load_breakdown(b, BreakdownField.PROPERTY, path=["of"]).parts] == ["B", "A"]
    assert [each.goal_id for each in list_goal_conversions(b, after=None, limit=3)] == [b.pk, a.pk, b.pk]
    live = {goal.pk: vars(goal)["last_conversion_at"] for goal in live_goals(world.site.pk)}
    assert a.pk not in live
    assert live[b.pk] == after.last_conversion_at

    merging.unmerge(a)
    assert (headline(a), headline(b)) == before


@pytest.mark.promise("N-06")
def test_merge__events_meanwhile__convert_the_target_and_go_back_with_their_goal(
    world: World, goals: tuple[Goal, Goal, Goal]
) -> None:
    a, b, c = goals
    merging.merge(a, b)
    assert merging.merge(b, c) == c  # a chain

    world.track("A", at=7_000, userId="u9", properties={"revenue": 64, "currency": "EUR"})
    assert Goal.objects.count() == 3
    assert headline(c).ever == GoalFigures(7, 5, 4, {"EUR": Decimal(127)})
    assert headline(c).last_conversion_at == START + timedelta(seconds=7_000)

    merging.unmerge(b)
    assert headline(c) == GoalSummary()
    assert headline(b).ever.conversions == 7  # a goal merged into it stays merged
    merging.unmerge(a)
    assert headline(a).ever == GoalFigures(3, 3, 3, {"EUR": Decimal(67)})
    assert headline(b).ever.conversions == 4


def test_merge__that_makes_no_sense__is_refused(world: World, goals: tuple[Goal, Goal, Goal]) -> None:
    a, b, c = goals
    with pytest.raises(merging.MergeError, match="itself"):
        merging.merge(a, a)
    merging.merge(a, b)
    with pytest.raises(merging.MergeError, match="itself"):
        merging.merge(b, a)
    with pytest.raises(merging.MergeError, match="merged already"):
        merging.merge(a, c)
    catalogue.delete_goal(c, now=datetime.now(UTC))
    with pytest.raises(merging.MergeError, match="deleted"):
        merging.merge(b, c)
    other = replace(world, site=type(world.site).objects.create(name="Other", sitecode="bbbbbbbbbb")).site
    with pytest.raises(merging.MergeError, match="two sites"):
        merging.merge(b, Goal.objects.create(site=other, name="D"))


@pytest.mark.promise("K-18")
def test_delete__of_a_goal_with_merged_ones__takes_them_along(world: World, goals: tuple[Goal, Goal, Goal]) -> None:
    a, b, _ = goals
    merging.merge(a, b)

    catalogue.delete_goal(b, now=datetime.now(UTC))
    world.track("A", at=0)
    while catalogue.purge_deleted():
        pass

    new = Goal.objects.get(name=a.name)
    assert new.pk not in {a.pk, b.pk}
    assert headline(new).ever.conversions == 1
    assert not Goal.objects.filter(pk__in=[a.pk, b.pk]).exists()


def test_archived_target__of_a_merged_goal__flags_what_converts_it(
    world: World, goals: tuple[Goal, Goal, Goal]
) -> None:
    a, b, _ = goals
    merging.merge(a, b)
    catalogue.archive_goal(b, now=NOW)
    world.track("A")
    assert world.last_message().warnings == ["archived_goal"]
