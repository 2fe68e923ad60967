"""Cancelled conversions in every figure of goals."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from api.models import Message
from goals import merging
from goals.list_order import GoalOrder, find_goal_ids
from goals.models import Goal
from goals.queries import GoalFilter
from goals.reports.series import SeriesPoint, SeriesStep, load_series
from goals.reports.summaries import load_figures, sum_totals, summarise_goals
from goals.totals import recount_goal
from tests.goals.recount import assert_exact
from tests.support.sdk import conversion, post_lines
from tests.support.verifying import execute, found_by_verify
from tests.world import START, World

NOW = START + timedelta(hours=2)
DAY = timedelta(days=1)


def send(world: World, at: datetime, *lines: str) -> None:
    """POST lines of SDKs and digest them as of a time."""
    assert post_lines(world, *lines).status_code == 204
    Message.objects.filter(status="pending").update(occurred_at=at)
    world.digest()


@pytest.fixture
def goal(world: World) -> Goal:
    """Return a goal that earned 10 two days ago and 5 today, of which 4 were taken back yesterday and 3 today."""
    goal = Goal.objects.create(site=world.site, name="Order")
    send(world, START - 2 * DAY, conversion(goal.pk, revenue=10))
    send(world, START - DAY, conversion(goal.pk, revenue=4, negative=True))
    send(world, START, conversion(goal.pk, "v2", revenue=5), conversion(goal.pk, revenue=3, negative=True))
    return goal


@pytest.mark.parametrize("step", [SeriesStep.DAY, SeriesStep.HOUR])
def test_series__of_a_goal_with_cancellations__subtracts_each_at_its_time(goal: Goal, step: SeriesStep) -> None:
    points = load_series(goal, begin=START - 2 * DAY, end=NOW, step=step, zone=UTC)

    seen = [(point.conversions, point.cancellations, point.revenue["USD"]) for point in points if point.revenue]
    assert seen == [(1, 0, Decimal(10)), (0, 1, Decimal(-4)), (1, 1, Decimal(2))]


def test_figures__of_a_goal_with_cancellations__agree_with_its_series(goal: Goal) -> None:
    summary = summarise_goals(goal.site_id, [goal], now=NOW)[goal.pk]
    (week,) = load_series(goal, begin=START - 2 * DAY, end=START + timedelta(hours=1), step=SeriesStep.WEEK, zone=UTC)

    day, month, ever = summary.last_24_hours, summary.last_30_days, summary.ever
    assert (day.conversions, day.visits, day.visitors, day.cancellations) == (1, 1, 1, 1)
    assert [figures.revenue for figures in (day, month, ever)] == [{"USD": Decimal(amount)} for amount in (2, 8, 8)]
    assert [figures.cancellations for figures in (month, ever)] == [2, 2]
    assert week == SeriesPoint(week.begin, 2, 2, {"USD": Decimal(8)}, 2)


def test_sums__of_goals_with_cancellations__are_those_of_their_pages(world: World, goal: Goal) -> None:
    other = Goal.objects.create(site=world.site, name="Other")
    send(world, START, conversion(other.pk, revenue=1, negative=True))  # it has no conversion

    together = sum_totals(goal.site_id, [goal.pk, other.pk])

    assert (together.conversions, together.cancellations, together.revenue) == (2, 3, {"USD": Decimal(7)})
    summary = summarise_goals(goal.site_id, [other], now=NOW)[other.pk]
    for figures in (summary.ever, summary.last_30_days, summary.last_24_hours):
        assert (figures.conversions, figures.cancellations, figures.revenue) == (0, 1, {"USD": Decimal(-1)})
    merging.merge(other, goal)
    united = load_figures(goal.site_id, {0: [goal.pk, other.pk]})[0]
    assert (united.conversions, united.cancellations, united.revenue) == (2, 3, {"USD": Decimal(7)})
    assert found_by_verify() == []


def test_order__by_revenue__is_that_without_cancelled_revenue(world: World, goal: Goal) -> None:
    other = Goal.objects.create(site=world.site, name="Other")
    send(world, START, conversion(other.pk, revenue=9))

    ids = find_goal_ids([goal.site_id], GoalFilter(), now=NOW, order=GoalOrder("revenue", is_descending=True))

    assert ids == [other.pk, goal.pk]


def test_recount__of_a_goal_with_cancellations__changes_nothing(world: World, goal: Goal) -> None:
    other = Goal.objects.create(site=world.site, name="Other")
    send(world, START, conversion(other.pk, negative=True))
    assert_exact()
    execute("UPDATE goals_goalday SET cancellations = 7 WHERE cancellations = 1")
    execute("UPDATE goals_goaltotal SET cancellations = 0, revenue = '{}'")
    assert found_by_verify() == [
        f"goal {goal.pk}: the day 2026-11-21",
        f"goal {goal.pk}: the day 2026-11-22",
        f"goal {goal.pk}: its totals",
        f"goal {other.pk}: the day 2026-11-22",
        f"goal {other.pk}: its totals",
    ]

    assert [recount_goal(each.site_id, each.pk) for each in (goal, other)] == [2, 0]

    assert_exact()
    assert found_by_verify() == []
