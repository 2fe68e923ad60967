"""Visitors of a period and of its steps, beside a slow count of the conversions."""

from collections import defaultdict
from datetime import datetime, timedelta

import pytest

from goals import merging
from goals.models import Conversion, Goal
from goals.reports.visitors_seen import SeenPeriod, SeenVisitors, count_visitors_seen
from tests.world import START, World

HOUR = timedelta(hours=1)
MIDNIGHT = START.replace(hour=0)
PERIODS = ((MIDNIGHT - timedelta(days=2), MIDNIGHT), (START, START + HOUR), (MIDNIGHT, None), (START + 99 * HOUR, None))
WHOLE = [SeenPeriod(*period) for period in PERIODS]
STARTS = [MIDNIGHT + number * HOUR for number in range(-48, 48)]


@pytest.fixture
def goals(world: World) -> list[Goal]:
    """Return three goals with conversions of the same visitors on two days; one of them is deleted."""
    for number, at in enumerate((-1_500, -1_490, -600, -181, -179, 0, 5, 12, 29, 59, 61, 200)):
        world.track(("Buy", "Order", "Gone")[number % 3], at=at * 60, userId=f"u{number % 5}")
    Goal.objects.filter(name__endswith="Gone").update(deleted_at=START)
    return list(Goal.objects.filter(deleted_at=None).order_by("name"))


def count_slowly(ids: list[int], begin: datetime, end: datetime | None) -> SeenVisitors:
    steps, visitors = defaultdict[datetime, set[str]](set), set[str]()
    for each in Conversion.objects.filter(goal__in=ids):
        if begin <= each.occurred_at and (end is None or each.occurred_at < end):
            visitors.add(each.visitor_code)
            steps[max(start for start in STARTS if start <= each.occurred_at)].add(each.visitor_code)
    return SeenVisitors(len(visitors), {start: len(codes) for start, codes in steps.items()})


def test_visitors_seen__of_any_goal_or_of_some__equal_a_recount(world: World, goals: list[Goal]) -> None:
    ids = [goal.pk for goal in goals]
    sides = [SeenPeriod(begin, end, chosen) for chosen in (None, ids[:1], ids) for begin, end in PERIODS]

    found = count_visitors_seen(world.site.pk, sides, starts=STARTS)

    assert found == [count_slowly(list(chosen or ids), begin, end) for begin, end, chosen in sides]


def test_visitors_seen__of_more_conversions_than_may_be_read__are_none(world: World, goals: list[Goal]) -> None:
    whole, edge = PERIODS[0], (START, START + HOUR / 4)
    size = Conversion.objects.filter(goal__in=goals, occurred_at__gte=whole[0], occurred_at__lt=whole[1]).count()

    (exact,) = count_visitors_seen(world.site.pk, [SeenPeriod(*whole)], most_read=size)
    periods = [SeenPeriod(*whole), SeenPeriod(*edge)]
    cut, short = count_visitors_seen(world.site.pk, periods, most_read=size - 1)

    ids = [goal.pk for goal in goals]
    assert exact == SeenVisitors(count_slowly(ids, *whole).visitors)
    assert (cut, short) == (None, SeenVisitors(count_slowly(ids, *edge).visitors))


def test_visitors_seen__of_another_site__do_not_count(world: World, goals: list[Goal]) -> None:
    assert count_visitors_seen(world.site.pk + 1, WHOLE) == [SeenVisitors()] * len(PERIODS)


def test_visitors_seen__of_a_goal_merged_into_another__count_once(world: World, goals: list[Goal]) -> None:
    before = count_visitors_seen(world.site.pk, WHOLE)

    merging.merge(goals[0], goals[1])

    assert count_visitors_seen(world.site.pk, WHOLE) == before
