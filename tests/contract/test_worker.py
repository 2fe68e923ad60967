"""End-to-end tests with the real web server, Celery worker, beat, PostgreSQL and Valkey."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from api import tasks
from api.ingest.nudge import broker
from api.models import Alert, Message, Site
from tests.contract.captured import GOALS, remote_data, send_captured
from tests.contract.server import Shop, running_worker
from tests.support.outages import write_steady_clock

PATIENCE = 60.0


@pytest.mark.promise("B-05", "K-01", "K-03", "K-22", "K-67")
def test_worker__beside_the_server__makes_goals_and_remote_data_of_events(shop: Shop) -> None:
    send_captured(shop)

    with running_worker(shop.server):
        deadline = time.monotonic() + PATIENCE
        while shop.goals() != GOALS and time.monotonic() < deadline:
            time.sleep(0.1)
        known = remote_data(shop)
        shop.post(shop.event("identify", userId="user-1", properties={"plan": "scale"}))
        while shop.read("IDENTIFY_user-1") == known["IDENTIFY_user-1"] and time.monotonic() < deadline:
            time.sleep(0.05)

    assert shop.goals() == GOALS
    assert known["IDENTIFY_anon-1"]["groupId"] == "group-1"
    assert known["COHORTS_vc0123456789abcd"] == {"big_spenders": False}
    assert known["common"] == {"cohorts": ["big_spenders"]}
    assert shop.read("IDENTIFY_vc0123456789abcd")["traits"]["plan"] == "scale"


def test_worker__with_a_long_queue__prunes_beside_it(shop: Shop) -> None:
    """Under steady load tasks arrive faster than they are finished."""
    shop.send(shop.event())
    old = datetime.now(UTC) - timedelta(days=40)
    Message.objects.update(received_at=old, digested_at=old)
    tasks.prune_messages.apply_async(queue=tasks.UPKEEP)
    write_steady_clock(hours=2)

    with running_worker(shop.server):
        deadline = time.monotonic() + PATIENCE
        while Message.objects.exists() and time.monotonic() < deadline:
            while broker().llen("goalpost") < 1_000:
                tasks.tend_queues.apply_async()
            time.sleep(0.05)
        is_pruned = not Message.objects.exists()
    broker().delete("goalpost")

    assert is_pruned, shop.server.log.with_name("worker.log").read_text()[-4_000:]


def test_worker__beside_beats_timetable__looks_at_alerts(shop: Shop) -> None:
    alert = Alert.objects.create(site=Site.objects.get(sitecode=shop.sitecode), name="Quota", condition="quota")
    tasks.evaluate_alerts.apply_async(queue=tasks.UPKEEP)

    with running_worker(shop.server):
        deadline = time.monotonic() + PATIENCE
        while not Alert.objects.get(pk=alert.pk).checked_at and time.monotonic() < deadline:
            time.sleep(0.05)

    assert Alert.objects.get(pk=alert.pk).checked_at is not None
