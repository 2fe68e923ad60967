"""Figures of goals in any period, beside a slow count of the conversions."""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api.models import Message
from goals import merging
from goals.models import Cancellation, Conversion, Goal
from goals.reports.figures import GoalFigures
from goals.reports.periods import load_period, load_periods
from tests.goals.recount import visits_of
from tests.support.sdk import conversion, post_lines
from tests.world import START, World

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MIDNIGHT = START.replace(hour=0)
PERIODS = (
    (MIDNIGHT - 2 * DAY, MIDNIGHT),  # whole days
    (MIDNIGHT - 2 * DAY, None),
    (START - 3 * DAY + HOUR / 3, START + HOUR / 2),  # with edges
    (START - 3 * DAY + HOUR / 3, None),
    (START - HOUR, START + HOUR),  # of one day
    (START + HOUR / 6, None),
    (MIDNIGHT - HOUR / 4, MIDNIGHT + HOUR / 4),  # without a whole day
    (START + 9 * DAY, START + 12 * DAY),  # of nothing
    (START - 900 * DAY, START - 800 * DAY),
)


@pytest.fixture
def goals(world: World) -> list[Goal]:
    """Return two goals with conversions around midnight and in the same visits; one was cancelled twice."""
    minutes = (-4_330, -4_300, -2_900, -2_885, -200, -181, -179, -150, 0, 5, 12, 29, 61, 200)
    for number, at in enumerate(minutes):
        money = {"revenue": number, "currency": "EUR" if number % 3 else "USD"}
        world.track(("Buy", "Order")[number % 2], at=at * 60, userId=f"u{number % 3}", properties=money)
    buy, order = Goal.objects.order_by("name")
    post_lines(world, conversion(buy.pk, revenue=4, negative=True), conversion(buy.pk, revenue=1))
    Message.objects.filter(status="pending").update(occurred_at=START)
    world.digest()
    return [buy, order]


def count_slowly(ids: list[int], begin: datetime, end: datetime | None) -> GoalFigures:
    """Return the figures of some goals as one from every conversion."""
    times = defaultdict[str, list[datetime]](list)
    money = Counter[str]()
    visitors, conversions = set[str](), 0
    for each in Conversion.objects.filter(goal__in=ids):
        times[each.visitor_code].append(each.occurred_at)
        if begin <= each.occurred_at and (end is None or each.occurred_at < end):
            conversions += 1
            visitors.add(each.visitor_code)
            if each.revenue is not None:
                money[each.currency or ""] += each.revenue  # type: ignore[assignment]  # a Decimal
    cancelled = [
        each
        for each in Cancellation.objects.filter(goal__in=ids)
        if begin <= each.occurred_at and (end is None or each.occurred_at < end)
    ]
    for taken in cancelled:
        money[taken.currency or ""] -= taken.revenue or 0  # type: ignore[assignment]  # a Decimal
    starts = [at for its in times.values() for at in visits_of(its) if begin <= at and (end is None or at < end)]
    revenue = {currency: Decimal(amount) for currency, amount in sorted(money.items())}
    return GoalFigures(conversions, len(starts), len(visitors), revenue, len(cancelled))


@pytest.mark.parametrize(("begin", "end"), PERIODS)
def test_period__of_goals__is_what_a_slow_count_says(goals: list[Goal], begin: datetime, end: datetime | None) -> None:
    found = load_period(goals[0].site_id, goals, begin=begin, end=end)

    assert found == {goal.pk: count_slowly([goal.pk], begin, end) for goal in goals}


@pytest.mark.parametrize(("begin", "end"), PERIODS)
def test_period__of_merged_goals__counts_them_as_one(goals: list[Goal], begin: datetime, end: datetime | None) -> None:
    into, other = goals[1], goals[0]
    merging.merge(other, into)

    found = load_period(into.site_id, [into], begin=begin, end=end)

    assert found == {into.pk: count_slowly([into.pk, other.pk], begin, end)}


def test_period__of_cancellations__subtracts_them(world: World) -> None:
    goal = Goal.objects.create(site=world.site, name="Order")
    post_lines(world, conversion(goal.pk, revenue=10), conversion(goal.pk, "v2", revenue=4, negative=True))
    world.digest()
    at = Cancellation.objects.get().occurred_at

    for end in (None, at + HOUR):
        for begin in (at - DAY, at - HOUR):
            assert load_period(goal.site_id, [goal], begin=begin, end=end)[goal.pk] == GoalFigures(
                1, 1, 1, {"USD": Decimal("6.000000")}, 1
            )


@pytest.mark.parametrize("is_merged", [True, False])
def test_period__without_visits__has_what_adds_up(goals: list[Goal], *, is_merged: bool) -> None:
    into, other = goals[1], goals[0]
    if is_merged:
        merging.merge(other, into)
    begin, shown = START - 3 * DAY, [into] if is_merged else goals

    with CaptureQueriesContext(connection) as queries:
        found = load_period(into.site_id, shown, begin=begin, end=None, counts_visits=False)

    whole = load_period(into.site_id, shown, begin=begin, end=None)
    assert found == {id_: replace(figures, visits=0, visitors=0) for id_, figures in whole.items()}
    assert sum(figures.conversions for figures in found.values()) > 0
    assert not any("goals_goalvisitor" in query["sql"] for query in queries)
    assert load_period(goals[0].site_id, [], begin=START, end=None) == {}


def test_periods__at_once__are_those_one_by_one(goals: list[Goal]) -> None:
    found = load_periods(goals[0].site_id, goals, PERIODS)

    assert found == [load_period(goals[0].site_id, goals, begin=begin, end=end) for begin, end in PERIODS]
