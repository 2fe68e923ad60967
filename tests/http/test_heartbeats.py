"""Heartbeats of processes. While the clock may be wrong, no row is deleted because of its age."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from api import tasks
from api.http import heartbeats
from api.http.database import connect
from api.http.heartbeats import (
    INTERVAL_SECONDS,
    HeartbeatWriter,
    LastHeartbeat,
    Role,
    RoleState,
    read_steady_time,
    role_state,
)
from api.models import DatabaseClock, Heartbeat, Message
from tests.support.outages import write_steady_clock
from tests.world import World

OLD = timedelta(days=40)


def done_message(world: World, *, received: timedelta = OLD, digested: timedelta = OLD) -> None:
    world.post(world.event())
    world.digest()
    now = datetime.now(UTC)
    Message.objects.update(received_at=now - received, digested_at=now - digested)


def test_heart__beats_often__writes_one_row_every_few_seconds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now, heart, written = 100.0, HeartbeatWriter(Role.WORKER), []
    monkeypatch.setattr(heartbeats, "uptime", lambda: now)
    for _ in range(20):
        heart.beat()
        written.append(Heartbeat.objects.get().at)
        now += 1
    heart.stop()

    assert len(set(written)) == 4


def test_heart__database_takes_nothing__rests_and_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now, heart = 100.0, HeartbeatWriter(Role.WORKER)
    monkeypatch.setattr(heartbeats, "uptime", lambda: now)
    with connect() as session:
        session.execute("ALTER TABLE api_heartbeat RENAME TO api_heartbeat_away")
        heart.beat()
        session.execute("ALTER TABLE api_heartbeat_away RENAME TO api_heartbeat")
    heart.beat()
    assert not Heartbeat.objects.exists()  # otherwise every task would wait for the locked row

    now += INTERVAL_SECONDS
    heart.beat()

    assert Heartbeat.objects.count() == 1
    heart.stop()


def test_heart__session_is_ended__beats_again_on_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now, heart = 100.0, HeartbeatWriter(Role.WORKER)
    monkeypatch.setattr(heartbeats, "uptime", lambda: now)
    heart.beat()
    first = Heartbeat.objects.get()
    with connect() as session:
        session.execute("SELECT pg_terminate_backend(%s, 5000)", [first.backend])
    for _ in range(2):
        now += INTERVAL_SECONDS
        heart.beat()
    heart.stop()

    assert Heartbeat.objects.get().backend != first.backend


def test_worker__its_last_task_is_over__still_has_the_session_of_its_heart(world: World) -> None:
    """Celery closes Django's session after each task, so by that session a frozen worker would look absent."""
    heartbeats.heartbeat_writer.cache_clear()
    tasks.digest()
    connection.close()

    assert [sign.is_connected for sign in heartbeats.load_heartbeats()] == [True]
    heartbeats.heartbeat_writer(Role.WORKER).stop()


def test_heart__first_beat__forgets_hosts_whose_sessions_ended(world: World) -> None:
    heartbeats.write_heartbeat(Role.WORKER, expected=None)
    Heartbeat.objects.update(host="gone", backend=-1)
    heartbeats.write_heartbeat(Role.BEAT, expected=None)
    Heartbeat.objects.filter(role=Role.BEAT).update(host="gone", backend=-1)

    heart = HeartbeatWriter(Role.WORKER)
    heart.beat()
    heart.stop()

    assert set(Heartbeat.objects.values_list("role", flat=True)) == {"worker", "beat"}
    assert not Heartbeat.objects.filter(role=Role.WORKER, host="gone").exists()


def test_worker__digests__gives_a_sign_of_life(world: World) -> None:
    heartbeats.heartbeat_writer.cache_clear()
    tasks.digest()

    assert [sign.role for sign in heartbeats.load_heartbeats()] == ["worker"]
    heartbeats.heartbeat_writer(Role.WORKER).stop()


@pytest.mark.parametrize(
    ("ages", "connected", "state"),
    [
        ([], False, RoleState.ABSENT),
        ([3], True, RoleState.ALIVE),
        ([40, 3], True, RoleState.ALIVE),
        ([40], True, RoleState.FROZEN),
        ([40], False, RoleState.ABSENT),
        ([-259_200], False, RoleState.ABSENT),  # the clock was ahead when it wrote
        ([-259_200], True, RoleState.FROZEN),
    ],
)
def test_state__by_the_last_signs__is_told(ages: list[int], connected: object, state: RoleState) -> None:
    signs = [LastHeartbeat("worker", "host", 1, timedelta(seconds=age), bool(connected), 0.0) for age in ages]

    assert role_state(signs) is state


def test_clock__after_a_commit_that_took_long__stays_steady(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write_steady_clock(hours=2)
    now, heart = 100.0, HeartbeatWriter(Role.WORKER)
    monkeypatch.setattr(heartbeats, "uptime", lambda: now)
    write = heartbeats.write_heartbeat

    def write_slowly(*args: Any, **more: Any) -> datetime:
        nonlocal now
        at = write(*args, **more)
        now += 8  # the disk was blocked
        return at - timedelta(seconds=8)  # the statement began before that

    monkeypatch.setattr(heartbeats, "write_heartbeat", write_slowly)
    heart.beat()
    heart.beat()
    heart.stop()

    assert heartbeats.load_last_jump() is None
    assert read_steady_time() is not None


@pytest.mark.parametrize("seconds", [2_678_400, -2_678_400])
def test_clock__jumps__is_unsteady_from_then_on(world: World, seconds: int) -> None:
    write_steady_clock(hours=2)
    assert read_steady_time() is not None

    heartbeats.write_heartbeat(Role.BEAT, expected=datetime.now(UTC) - timedelta(seconds=seconds))

    assert read_steady_time() is None
    jump = heartbeats.load_last_jump()
    assert jump is not None
    assert abs(jump.seconds - seconds) < 60


def test_clock__runs_as_expected__stays_steady(world: World) -> None:
    write_steady_clock(hours=2)
    heartbeats.write_heartbeat(Role.BEAT, expected=datetime.now(UTC))
    heartbeats.write_heartbeat(Role.WORKER, expected=None)

    assert read_steady_time() is not None
    assert heartbeats.load_last_jump() is None


def test_clock__was_not_watched_for_some_minutes__is_unsteady(world: World) -> None:
    """The clock may have jumped while no process watched it."""
    write_steady_clock(hours=2)
    DatabaseClock.objects.update(seen_at=datetime.now(UTC) - timedelta(minutes=2))
    assert read_steady_time() is None

    heartbeats.write_heartbeat(Role.BEAT, expected=None)

    assert read_steady_time() is None
    assert heartbeats.load_last_jump() is None


def test_clock__is_set_back_before_a_start__is_a_jump(world: World) -> None:
    write_steady_clock(hours=2)
    DatabaseClock.objects.update(seen_at=datetime.now(UTC) + timedelta(days=3))

    heartbeats.write_heartbeat(Role.BEAT, expected=None)

    jump = heartbeats.load_last_jump()
    assert jump is not None
    assert jump.seconds < -250_000


@pytest.mark.parametrize(("minutes", "left"), [(59, 1), (61, 0)])
def test_prune__clock_steady_for_some_time__waits_for_an_hour(world: World, minutes: int, left: int) -> None:
    done_message(world)
    write_steady_clock(minutes=minutes)

    tasks.prune_messages()
    tasks.prune_notifications()

    assert Message.objects.count() == left


def test_prune__workers_clock_was_behind__keeps_what_was_received_since(world: World) -> None:
    done_message(world, received=timedelta(days=1))
    write_steady_clock(hours=2)

    tasks.prune_messages()

    assert Message.objects.count() == 1
