"""Beat's schedule sends due tasks whatever the wall clock says and whether or not a worker takes them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from celery.beat import Scheduler, Service

from api import tasks
from api.celery import app
from api.ingest.nudge import MAX_QUEUED, broker

QUEUES = ("goalpost", "goalpost-seldom")
FREQUENT = 3  # tasks that are due every second


@pytest.fixture
def timetable(transactional_db: None, tmp_path: Path) -> Iterator[Scheduler]:
    """Yield the scheduler that `celery beat` uses, with empty queues."""
    broker().delete(*QUEUES)
    tasks.schedule_tasks(app)  # normally done when beat starts
    notes = str(tmp_path / "beat-schedule")
    scheduler = Service(app, schedule_filename=notes, scheduler_cls=app.conf.beat_scheduler).get_scheduler()
    yield scheduler
    scheduler.close()
    broker().delete(*QUEUES)


def count_queued() -> int:
    return sum(broker().llen(queue) for queue in QUEUES)


def tick(timetable: Scheduler, monkeypatch: pytest.MonkeyPatch, *, at: float) -> float:
    monkeypatch.setattr(type(timetable), "clock", staticmethod(lambda: at), raising=False)
    return timetable.tick()


def tasks_in(queue: str) -> bytes:
    return b"".join(task for task in broker().lrange(queue, 0, -1) if isinstance(task, bytes))


def run_for(timetable: Scheduler, seconds: float, monkeypatch: pytest.MonkeyPatch, *, begin: float) -> int:
    """Run the schedule as beat would, but without pauses. Empty the queues; return how many tasks were sent."""
    now, until, sent = begin, begin + seconds, 0
    while now < until:
        now += max(tick(timetable, monkeypatch, at=now), 0.01)
        sent += count_queued()
        broker().delete(*QUEUES)
    return sent


def test_timetable__wall_clock_is_ahead_and_then_right__sends_as_before(
    timetable: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = app.now
    run_for(timetable, 5, monkeypatch, begin=0)
    calm = run_for(timetable, 8, monkeypatch, begin=5)

    monkeypatch.setattr(app, "now", lambda: right() + timedelta(days=3))
    ahead = run_for(timetable, 8, monkeypatch, begin=13)
    monkeypatch.setattr(app, "now", right)
    after = run_for(timetable, 8, monkeypatch, begin=21)

    assert min(calm, ahead, after) >= 8 * FREQUENT


def test_timetable__another_start__needs_no_notes(timetable: Scheduler, tmp_path: Path) -> None:
    timetable.tick()

    assert count_queued() > FREQUENT
    assert not list(tmp_path.iterdir())


def test_timetable__nobody_takes_what_is_sent__queues_stay_short(
    timetable: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(100):
        tick(timetable, monkeypatch, at=second)

    assert {broker().llen(queue) for queue in QUEUES} == {MAX_QUEUED}


def test_timetable__queue_was_full__whoever_waited_longest_goes_first(
    timetable: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is due every second must not take every free place."""
    for second in range(100):
        tick(timetable, monkeypatch, at=second)
    upkeep = [name for name, _, queue in tasks.SCHEDULE if queue == tasks.UPKEEP]
    taken = []
    for second in range(100, 100 + len(upkeep)):
        taken.append(broker().rpop("goalpost-seldom"))
        tick(timetable, monkeypatch, at=second)
    newest = broker().lrange("goalpost-seldom", 0, len(upkeep) - 1)

    assert sum(name.encode() in task for name in upkeep for task in newest) == len(upkeep)
    assert None not in taken


def test_tasks__sent_by_a_clock_that_is_behind__do_not_expire(timetable: Scheduler) -> None:
    """A worker drops what has expired by its own clock; one that is ahead would drop everything."""
    timetable.tick()

    assert b"".join(tasks_in(queue) for queue in QUEUES).count(b'"expires": null') == count_queued() > FREQUENT
