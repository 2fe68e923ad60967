"""Counts of visitors that the cache keeps for conversion rates."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext

from api.insight import rates
from api.insight.rates import OLD, RateBase, WantedCount, count_and_keep, is_too_many, load_seen, round_down
from goals.models import Goal
from goals.reports.visitors_seen import SeenVisitors
from tests.world import START, World

BEGIN: Final = round_down(START) - timedelta(days=1)
ENDED: Final = BEGIN + timedelta(days=2)


@pytest.fixture
def seen(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world with 3 visitors, more than a request reads."""
    cache.clear()
    monkeypatch.setattr(rates, "MOST_READ", 2)
    for number in range(3):
        world.track("View", userId=f"u{number}")
    return world


def wanted(world: World, end: datetime | None, goal_ids: tuple[int, ...] | None = None) -> WantedCount:
    return WantedCount(world.site.pk, goal_ids, BEGIN, end, ())


def look(world: World, end: datetime | None, *, after: timedelta = timedelta(0)) -> int | None:
    """Return the visitors that a request finds some time after now."""
    ((found,),) = load_seen(world.site.pk, [RateBase()], [(BEGIN, end)], now=datetime.now(UTC) + after)
    for thread in threading.enumerate():
        if thread.name == rates.THREAD:
            thread.join(30)
    return found.visitors if found else None


@pytest.mark.parametrize(
    ("end", "expected"),
    [(None, [3, 3, None, 4]), (ENDED, [3, 3, 3, 4]), (datetime(2200, 1, 1, tzinfo=UTC), [3, 3, None, 4])],
    ids=["running", "ended", "in the future"],
)
def test_kept_count__of_a_period_that_goes_on__is_dropped_when_it_is_old(
    seen: World, end: datetime | None, expected: Sequence[int | None]
) -> None:
    count_and_keep([wanted(seen, end)])
    cache.delete(f"{wanted(seen, end).key}:claim")
    seen.track("View", userId="late")

    found = [look(seen, end), look(seen, end, after=OLD - timedelta(seconds=30))]
    cache.set(wanted(seen, end).key, (3, {}, datetime.now(UTC) - OLD), timeout=60)
    cache.delete(f"{wanted(seen, end).key}:claim")

    assert [*found, look(seen, end, after=timedelta(seconds=1)), look(seen, end)] == expected


def test_count__of_too_many_conversions__is_not_repeated(seen: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "MOST_COUNTED", 2)

    assert not is_too_many(seen.site.pk, RateBase(), (BEGIN, ENDED))
    assert look(seen, ENDED) is None
    assert is_too_many(seen.site.pk, RateBase(), (BEGIN, ENDED))
    with CaptureQueriesContext(connection) as queries:
        assert load_seen(seen.site.pk, [RateBase()], [(BEGIN, ENDED)], now=datetime.now(UTC)) == [[None]]
    assert not queries.captured_queries
    assert rates.THREAD not in {thread.name for thread in threading.enumerate()}


def test_count__that_another_process_has_begun__is_left_to_it(seen: World) -> None:
    count_and_keep([wanted(seen, ENDED)])
    cache.delete(wanted(seen, ENDED).key)

    count_and_keep([wanted(seen, ENDED)])

    assert look(seen, ENDED) is None
    cache.delete(f"{wanted(seen, ENDED).key}:claim")
    assert [look(seen, ENDED), look(seen, ENDED)] == [None, 3]


def test_count__of_merged_goals__is_found_in_any_order(seen: World) -> None:
    (view,) = Goal.objects.values_list("pk", flat=True)
    count_and_keep([wanted(seen, ENDED, goal_ids=(view, view + 1))])

    both = [RateBase(), RateBase(goal_ids=[view + 1, view])]
    _, (found,) = load_seen(seen.site.pk, both, [(BEGIN, ENDED)], now=datetime.now(UTC))

    assert found == SeenVisitors(3)


def test_threads__for_both_sides_of_a_rate__run_at_the_same_time(seen: World, monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Barrier(2)
    monkeypatch.setattr(rates, "_count_and_close", lambda _: started.wait(5))

    for goal_ids in (None, (1,)):
        rates.begin_to_count([wanted(seen, ENDED, goal_ids)])

    running = [thread for thread in threading.enumerate() if thread.name == rates.THREAD]
    for thread in running:
        thread.join(10)
    assert not started.broken
