"""The quota under a burst, kept by several processes with wrong clocks, looked at in all of the ledger."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import Count
from hypothesis import given
from hypothesis import strategies as st

from api.models import Message
from goals import quota
from goals.models import Conversion, Goal, WaitingName
from tests.contract.server import environment_of_the_test
from tests.support.concurrency import in_threads
from tests.world import START, World

WINDOWS = quota.build_windows(per_10_seconds=50, per_hour=1000)
PATIENCE = 120.0  # seconds that working off a burst may take on a slow machine


@given(
    seconds=st.lists(st.integers(0, 60), max_size=40).map(sorted),
    span=st.integers(1, 20),
)
def test_fullest__of_any_ledger__is_what_counting_from_every_moment_finds(seconds: list[int], span: int) -> None:
    times = [START + timedelta(seconds=each) for each in seconds]
    counts = [sum(begin <= each < begin + span for each in seconds) for begin in range(-1, 61)]

    most, since = quota.find_peak(times, timedelta(seconds=span))

    assert most == max(counts)
    assert since == (START + timedelta(seconds=min(s for s in seconds if counts[s + 1] == most)) if seconds else None)


@contextmanager
def workers(*shifts: float, directory: Path) -> Iterator[None]:
    """Run worker processes with clocks that are off by these seconds, without a broker, ready before the block."""
    environment = {
        **environment_of_the_test(directory),
        "DJANGO_SETTINGS_MODULE": "api.settings",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    with ExitStack() as running:
        started = []
        for shift in shifts:
            command = [sys.executable, "-m", "tests.flows.worker", str(shift)]
            worker = running.enter_context(
                subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            running.callback(worker.kill)
            started.append(worker)
        for shift, worker in zip(shifts, started, strict=True):
            assert worker.stdout is not None
            off = float(worker.stdout.readline()) - time.time()
            assert abs(off - shift) < 15, "its clock is not shifted"
        yield
        for worker in started:
            assert worker.stdin is not None
            worker.stdin.close()
        assert [worker.wait(PATIENCE) for worker in started] == [0] * len(started)


def database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def await_none(status: str) -> None:
    """Wait until no message has this status."""
    until = time.monotonic() + PATIENCE
    while Message.objects.filter(status=status).exists():
        assert time.monotonic() < until, Message.objects.values("status").annotate(Count("id"))
        time.sleep(0.05)


@pytest.mark.promise("K-26", "K-27", "K-28", "K-30", "K-31", "N-01")
def test_burst__of_1200_names__four_processes_with_wrong_clocks_make_each_goal_within_the_limits(
    world: World, tmp_path: Path
) -> None:
    events = [world.event(event=f"E{number:04}", at=number - 5000) for number in range(1200)]
    chooser, until = random.Random(7), time.monotonic() + PATIENCE

    with workers(-30, 30, -30, 30, directory=tmp_path):
        began = database_time()
        answers = in_threads(8, lambda client: [world.post(event).status_code for event in events[client::8]])
        await_none("pending")
        ended = database_time()

        first, queue = (
            world.creations(),
            list(WaitingName.objects.order_by("arrival", "id").values_list("name", flat=True)),
        )
        assert began < min(first) <= max(first) < ended  # by the database's clock, whoever made them
        while WaitingName.objects.exists():
            assert time.monotonic() < until, "the queue never empties"
            if quota.count_free(world.site.pk, WINDOWS, now=database_time()):
                time.sleep(0.02)
            else:  # time goes by when nothing else can happen: the hour must be full before it is over
                world.pass_time(chooser.choice([1, 3, 7]) if Goal.objects.count() < 1000 else 600)
        await_none("pending")

    assert {status for each in answers for status in each} == {200}
    assert set(world.statuses()) == {("done", "")}
    assert len(world.creations()) == 1200
    assert [quota.find_peak(world.creations(), window.span)[0] for window in WINDOWS] == [50, 1000]
    made = Conversion.objects.order_by("occurred_at").values_list("goal__name", "occurred_at")
    assert list(made) == [
        (f"SegmentIO track – E{number:04}", START + timedelta(seconds=number - 5000)) for number in range(1200)
    ]
    # Fifty names have their turn at a time. Among these the faster worker is first.
    order = list(Goal.objects.filter(name__in=queue).order_by("id").values_list("name", flat=True))
    places = {name: place for place, name in enumerate(queue)}
    assert sorted(order) == sorted(queue)
    assert all(places[name] < place + 50 for place, name in enumerate(order))
