"""Rows that a clock wrote while it was ahead stop nothing after it was set right."""

from datetime import UTC, datetime, timedelta

from django.db import transaction

from api.alerts import outbox
from api.erasure import erase
from api.models import Alert, AlertDelivery, Erasure
from goals import quota
from goals.models import Goal, GoalCreation
from tests.world import World

AHEAD = timedelta(days=3)
LIMITS = quota.build_windows(per_10_seconds=50, per_hour=1_000)


def test_quota__goals_were_made_by_a_clock_that_was_ahead__has_places_again_soon(world: World) -> None:
    now = datetime.now(UTC)
    creations = [now + AHEAD - timedelta(milliseconds=number) for number in range(50)]
    GoalCreation.objects.bulk_create(GoalCreation(site=world.site, created_at=each) for each in creations)
    world.post(world.event(event="New"))
    world.digest()
    with transaction.atomic():
        locked_at = quota.lock_names(world.site.pk)
        moved = quota.move_back_future_creations(world.site.pk, now=locked_at)

    assert not Goal.objects.filter(name__contains="New").exists()  # the windows were full
    assert moved in {0, 50}  # the worker may have been faster
    dates = sorted(GoalCreation.objects.values_list("created_at", flat=True))
    assert dates[-1] <= locked_at
    assert dates[-1] - dates[0] == timedelta(milliseconds=49)
    assert quota.count_free_by_window(world.site.pk, LIMITS, now=locked_at) == [0, 950]
    assert quota.count_free_by_window(world.site.pk, LIMITS, now=locked_at + timedelta(seconds=10)) == [50, 950]


def test_queue__goals_were_made_by_a_clock_that_was_ahead__brings_them_back(world: World) -> None:
    now = datetime.now(UTC)
    GoalCreation.objects.bulk_create(GoalCreation(site=world.site, created_at=now + AHEAD) for _ in range(50))
    world.post(world.event(event="New"))
    world.digest()

    world.tend()

    assert max(GoalCreation.objects.values_list("created_at", flat=True)) < now + timedelta(hours=1)


def test_erasure__waits_for_work_of_a_clock_that_was_ahead__goes_on(world: World) -> None:
    now = datetime.now(UTC)
    world.post(world.event(userId="ada"))
    world.digest()
    receipt = erase.erase(world.site, "ada", by="admin", now=now)
    assert receipt is not None
    Erasure.objects.update(waits_for=now + AHEAD)

    for _ in range(100):
        erase.sweep(now=now)

    assert Erasure.objects.get().finished_at is not None


def test_alert__next_try_is_later_than_any_pause__is_sent(world: World) -> None:
    now = datetime.now(UTC)
    alert = Alert.objects.create(site=world.site, name="Quota", condition="quota")
    for days in (0, 3):
        AlertDelivery.objects.create(
            site=world.site,
            alert=alert,
            event="fired",
            channel="webhook",
            at=now,
            next_try_at=now + timedelta(days=days),
        )
    AlertDelivery.objects.create(
        site=world.site, alert=alert, event="fired", channel="webhook", at=now, next_try_at=now + timedelta(minutes=59)
    )

    assert outbox.send_due(now=now, seconds=5) == 2
