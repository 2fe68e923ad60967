"""Beat schedules the evaluation of alerts, and a worker runs it."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from api import tasks
from api.alerts import outbox, webhook
from api.celery import app
from api.models import Alert, AlertDelivery
from tests.alerts.receivers import receiving
from tests.support.outages import write_steady_clock
from tests.world import World


def finish_watching() -> None:
    """Wait for the background threads of a worker."""
    for thread in threading.enumerate():
        if thread.name == tasks.ALERTS_THREAD:
            thread.join(60)
            assert not thread.is_alive()


def test_schedule__of_beat__is_the_table_of_tasks() -> None:
    app.finalize()
    schedule = app.conf.beat_schedule

    assert set(schedule) == {name for name, _, _ in tasks.SCHEDULE}
    for name, seconds, queue in tasks.SCHEDULE:
        entry = schedule[name]
        assert entry["task"] in app.tasks
        assert (entry["task"], float(entry["schedule"])) == (f"api.tasks.{name}", seconds)
        assert entry["options"] == {"queue": queue}
    assert ("evaluate_alerts", 30.0, "goalpost-seldom") in tasks.SCHEDULE


def test_tasks__done_by_a_worker__look_at_alerts_and_prune_what_was_told(world: World) -> None:
    alert = Alert.objects.create(site=world.site, name="Quota", condition="quota")
    for days in (91, 89):
        at = datetime.now(UTC) - timedelta(days=days)
        AlertDelivery.objects.create(site=world.site, alert=alert, event="test", channel="email", at=at, next_try_at=at)

    write_steady_clock(hours=2)

    tasks.evaluate_alerts()
    finish_watching()
    tasks.prune_notifications()

    alert.refresh_from_db()
    assert alert.checked_at is not None
    assert AlertDelivery.objects.get().outcome == "failed"  # it was due and has no webhook


def test_evaluate_alerts__a_webhook_that_does_not_answer__keeps_no_task_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 60.0)
    silence = threading.Event()
    with receiving(200, hang=silence) as receiver:
        alert = Alert.objects.create(site=world.site, name="Quota", condition="quota", webhook_url=receiver.url)
        outbox.enqueue(alert, "fired", "All are made.", since=None, now=datetime.now(UTC))

        tasks.evaluate_alerts()
        tasks.evaluate_alerts()  # the next evaluation, while the first is running

        assert AlertDelivery.objects.get().outcome == "waiting"  # the worker continues
        silence.set()
        finish_watching()
    delivery = AlertDelivery.objects.get()
    assert (delivery.outcome, delivery.attempts, len(receiver.requests)) == ("sent", 1, 1)
