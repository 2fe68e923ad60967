"""The last 14 days of a condition, from which people choose a threshold."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from api.alerts import history
from api.alerts.conditions import Readings, check_condition
from api.alerts.history import ConditionHistory, count_fires, find_history, limit_of
from api.ingest.provisioning import create_source
from api.insight import delivery
from api.models import Alert, SourceCount
from goals.models import GoalCreation
from tests.support.messages import store_received as store
from tests.world import World


@pytest.fixture
def hour() -> datetime:
    return timezone.now().replace(minute=0, second=0, microsecond=0)


def find(
    world: World, condition: str, threshold: float | None, source_id: int | None = None, now: datetime | None = None
) -> ConditionHistory:
    return find_history(world.site, condition, threshold, source_id=source_id, now=now or timezone.now())


@pytest.mark.parametrize(
    ("holds", "calm", "fired"),
    [("", 1, 0), ("..", 1, 0), ("xx", 1, 1), (".x.x", 1, 2), ("x.x", 2, 1), ("x..x", 2, 2), ("xx.xx", 1, 2)],
)
def test_fires__of_steps__are_counted_after_calm(holds: str, calm: int, fired: int) -> None:
    assert count_fires([each == "x" for each in holds], calm=calm) == fired


def test_success__of_14_days__is_that_of_the_check_and_fires_for_each_fall(world: World, hour: datetime) -> None:
    alert = Alert(site=world.site, name="A", condition="success", threshold=60)
    for back in (250, 100, 1):
        at = hour - timedelta(hours=back)
        store(world.site, status="failed", reason="worker_died", took=1, at=at)
        store(world.site, status="done", effects=["converted"], took=1, at=at + timedelta(seconds=1))

    found = find(world, "success", 60)
    before = timezone.now()

    assert (len(found.times), found.fired, found.since) == (14 * 24, 3, None)
    assert (found.values[-1], found.values[-30]) == (50.0, 100.0)
    assert check_condition(alert, Readings(world.site, before)).holds
    assert find(world, "success", 40).fired == 0


def test_success__of_a_source__leaves_the_others_out(world: World, hour: datetime) -> None:
    source = create_source(world.site, name="Server", kind="server")
    store(world.site, status="failed", reason="worker_died", took=1, at=hour)
    store(world.site, source=source, status="done", effects=["converted"], took=1, at=hour)

    assert find(world, "success", 95, source.pk).values[-1] == 100
    assert find(world, "success", 95).values[-1] == 50


def test_success__of_more_events_than_are_looked_at__says_since_when(
    world: World, hour: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "OUTCOMES_LOOK", 1)
    for back in (2, 1):
        store(world.site, status="failed", reason="worker_died", took=1, at=hour - timedelta(hours=back))

    assert find(world, "success", 95).since == hour - timedelta(hours=1)


def test_lag__of_14_days__is_the_highest_of_each_hour(
    world: World, hour: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minutes, took in ((0, 9), (20, 30), (21, 2)):
        at = hour - timedelta(hours=5) + timedelta(minutes=minutes)
        store(world.site, status="done", effects=["converted"], took=took, at=at)
    store(world.site, status="done", took=900, at=hour - timedelta(hours=5), has_waited=True)

    found = find(world, "lag", 8)

    assert ([value for value in found.values if value], found.fired) == ([30], 2)
    assert found.values[-6] == 30
    assert find(world, "lag", 20).fired == 1
    monkeypatch.setattr(history, "OUTCOMES_LOOK", 3)
    assert find(world, "lag", 20).since == hour - timedelta(hours=5) + timedelta(minutes=20, seconds=30)


def test_silence__of_14_days__is_that_of_the_most_silent_source(world: World, hour: datetime) -> None:
    first, other = (create_source(world.site, name=name, kind="server") for name in "AB")
    for source, hours in ((first, (9, 4)), (other, (9,))):
        for back in hours:
            at = hour - timedelta(hours=back)
            SourceCount.objects.create(
                site=world.site, source=source, hour=at, received=1, duplicates=0, rejected=0, last_received_at=at
            )
    now = hour + timedelta(minutes=30)

    all_sources, one = find(world, "silence", 200, now=now), find(world, "silence", 200, first.pk, now=now)

    assert (all_sources.values[-1], all_sources.fired) == (570, 1)
    assert (one.values[-1], one.values[-5], one.values[-6], one.fired) == (270, 60, 300, 2)
    assert one.values[-11] == 0


@pytest.mark.parametrize(("is_enabled", "fires_now"), [(True, True), (False, False)])
def test_silence__of_a_source_without_events__fires_now_as_in_the_check(
    world: World, *, is_enabled: bool, fires_now: bool
) -> None:
    source = create_source(world.site, name="A", kind="server")
    source.is_enabled = is_enabled
    source.save(update_fields=["is_enabled"])
    alert = Alert(site=world.site, name="A", condition="silence", threshold=30, source=source)

    assert find(world, "silence", 30, source.pk).fires_now is fires_now
    assert check_condition(alert, Readings(world.site, timezone.now())).holds is fires_now
    assert not find(world, "silence", 30).fires_now


def test_quota__of_14_days__counts_goals_by_the_hour(world: World, hour: datetime) -> None:
    world.change_site(goals_per_hour=2)
    GoalCreation.objects.bulk_create(
        GoalCreation(site=world.site, created_at=hour - timedelta(hours=back)) for back in (3, 3, 2, 1, 1, 1)
    )

    found = find(world, "quota", None)

    assert (list(found.values[-4:]), found.fired) == ([2, 1, 3, 0], 2)
    assert limit_of(world.site, "quota", None) == ("2 an hour", 2)
    assert limit_of(world.site, "success", 95) == ("95 %", 95)
    assert limit_of(world.site, "success", None) is None
