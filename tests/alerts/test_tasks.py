"""Beat has the alerts looked at, and a worker does."""

from datetime import UTC, datetime, timedelta

from api.alerts import tasks
from api.celery import app
from api.models import Alert, AlertDelivery
from tests.world import World


def test_beat__its_timetable__has_the_alerts_in_the_seldom_queue() -> None:
    app.finalize()
    schedule = app.conf.beat_schedule

    for name, (task, seconds) in tasks.EVERY.items():
        assert task in app.tasks
        entry = schedule[name]
        assert (entry["task"], float(entry["schedule"])) == (task, seconds)
        assert (entry["options"]["queue"], entry["options"]["expires"]) == ("goalpost-seldom", seconds)
    assert tasks.EVERY["alerts"][1] == 30.0


def test_tasks__done_by_a_worker__look_at_alerts_and_prune_what_was_told(world: World) -> None:
    alert = Alert.objects.create(site=world.site, name="Quota", condition="quota")
    for days in (91, 89):
        at = datetime.now(UTC) - timedelta(days=days)
        AlertDelivery.objects.create(site=world.site, alert=alert, event="test", way="webhook", at=at, next_try_at=at)

    tasks.watch()
    tasks.prune()

    alert.refresh_from_db()
    assert alert.checked_at is not None
    assert AlertDelivery.objects.get().outcome == "failed"  # it was due, and has no webhook
