"""Findings of `manage.py doctor`. Its answer for a healthy installation is tested in tests/runtime."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from api.http import database, heartbeats
from api.http.health import REFUSALS
from api.ingest.provisioning import create_source
from api.insight import sessions
from api.management.commands import doctor
from api.models import DatabaseClock, DuplicateSources, Heartbeat, Message
from tests.support.concurrency import wait_until
from tests.support.outages import read_only_database
from tests.world import World

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.django_db
def test_doctor__no_worker__fails_with_what_to_do() -> None:
    output = StringIO()
    with pytest.raises(CommandError, match=r"not well: beat, worker$"):
        call_command("doctor", stdout=output)
    levels = [line.split()[0] for line in output.getvalue().splitlines() if not line.startswith(" ")]
    assert levels == ["ok", "ok", "warn", "ok", "ok", "FAIL", "FAIL", "ok", "ok", "ok", "ok", "ok"]
    assert output.getvalue().count("-> start one") == 2


def test_doctor__everything_down__says_so_without_a_traceback() -> None:
    down = {"DATABASE_URL": "postgresql://me:geheim@127.0.0.1:1/goalpost", "REDIS_URL": "redis://127.0.0.1:1/0"}
    report = subprocess.run(
        [sys.executable, "manage.py", "doctor"],
        cwd=ROOT,
        env=os.environ | down,
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.returncode == 1
    assert report.stderr == "CommandError: not well: broker, database\n"
    assert "geheim" not in report.stdout
    levels = [line.split()[0] for line in report.stdout.splitlines() if not line.startswith(" ")]
    assert levels == ["FAIL", "warn", "warn", "warn", "FAIL", "warn", "warn", "warn", "warn", "warn", "warn", "ok"]


@pytest.mark.parametrize(("waiting", "level"), [(5, "ok"), (60, "warn"), (3600, "FAIL")])
def test_inbox__oldest_message_waits__grades_the_lag(world: World, waiting: int, level: str) -> None:
    world.post(world.event())
    Message.objects.update(received_at=datetime.now(UTC) - timedelta(seconds=waiting))
    finding = doctor.look_at_inbox()
    assert finding.level == level
    assert bool(finding.advice) == (level != "ok")


@pytest.fixture
def holder(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[psycopg.Connection[Any]]:
    """Yield an idle session in a transaction, with a lock on a person and the person's id in its last statement."""
    monkeypatch.setattr(sessions, "IDLE", timedelta(0))
    monkeypatch.setattr(doctor, "HELD_WARNING", timedelta(0))
    world.identify(userId="ada@example.com")
    with suppress(psycopg.errors.AdminShutdown), psycopg.connect(**database.connection_parameters()) as session:
        session.execute("SET application_name = 'psql'")
        session.execute("SELECT 1 FROM cohorts_identity WHERE value = 'ada@example.com' FOR UPDATE")
        yield session


def test_locks__held_by_an_idle_session__are_named_with_what_ends_it(
    world: World, holder: psycopg.Connection[Any]
) -> None:
    """The finding does not need a waiting session, because Goalpost's own statements give up after a short wait."""
    world.post(world.event(userId="ada@example.com"))
    Message.objects.update(received_at=datetime.now(UTC) - timedelta(seconds=60))

    finding = doctor.look_at_locks()

    assert (finding.level, f"session {holder.info.backend_pid} of the user" in finding.text) == ("warn", True)
    assert "psql" in finding.text
    assert "idle in transaction for 0 s" in finding.text
    assert f"`SELECT pg_terminate_backend({holder.info.backend_pid})`" in finding.advice
    assert "ada" not in finding.text + finding.advice
    assert doctor.look_at_inbox().advice == "end what locks says"
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [holder.info.backend_pid])
    assert doctor.look_at_locks().level == "ok"


def test_locks__that_others_wait_for__are_named_by_their_holder(world: World, holder: psycopg.Connection[Any]) -> None:
    """The second session waits for the first, but only the holder that blocks both is the cause."""

    def wait(_: int) -> None:
        with suppress(psycopg.OperationalError), psycopg.connect(**database.connection_parameters()) as session:
            session.execute("SET application_name = 'waits'")
            session.execute("SELECT 1 FROM cohorts_identity FOR UPDATE")

    with ThreadPoolExecutor(2) as threads:
        waiting = list(map(threads.submit, [wait, wait], [1, 2]))
        wait_until(lambda: sum(holder.waiting for holder in sessions.find_holders()) == 2)
        (session,) = sessions.find_holders()
        holder.rollback()
        for future in waiting:
            future.result(60)
    assert (session.pid, session.application) == (holder.info.backend_pid, "psql")


@pytest.mark.promise("B-06")
@pytest.mark.parametrize(("hours", "level"), [(1, "warn"), (25, "ok")])
def test_sources__two_that_send_the_same__are_named_for_a_day(world: World, hours: int, level: str) -> None:
    one, other = (create_source(world.site, name=name, kind="server") for name in ("Shop", "Web"))
    last_seen_at = datetime.now(UTC) - timedelta(hours=hours)
    DuplicateSources.objects.create(
        site=world.site, one=one, other=other, event_name="Buy", count=1, last_seen_at=last_seen_at
    )

    finding = doctor.look_at_sources()

    assert finding.level == level
    assert ("Shop and Web of Shop (1q2w3e4r5t)" in finding.text) == (level == "warn")


@pytest.mark.django_db
def test_migrations__one_is_missing__names_it() -> None:
    MigrationRecorder.Migration.objects.filter(app="sessions", name="0001_initial").delete()
    finding = doctor.look_at_migrations()
    assert (finding.level, finding.text) == ("FAIL", "1 not applied: sessions.0001_initial")


@pytest.mark.django_db
def test_database__with_a_linguistic_order__is_warned_of() -> None:
    """The embedded server has no such order."""
    assert doctor.look_at_database().level == "ok"

    finding = doctor.grade_order("PostgreSQL 18 answers", is_by_code_points=False)

    assert (finding.level, "code points" in finding.text) == ("warn", True)


def test_clock__beyond_a_minute__fails() -> None:
    finding = doctor.grade(61.0, doctor.CLOCK_WARNING, doctor.CLOCK_FAILURE, "61 s", "synchronise")
    assert finding == doctor.Finding("FAIL", "61 s", "synchronise")


def sign(role: str, *, age: float, clock_ahead: float = 0.0) -> None:
    """Write a heartbeat of this process that is `age` seconds old."""
    heartbeats.write_heartbeat(role, expected=None)
    at = datetime.now(UTC) - timedelta(seconds=age)
    Heartbeat.objects.filter(role=role).update(at=at, clock_ahead=clock_ahead)


@pytest.mark.parametrize(("role", "look"), [("worker", doctor.look_at_worker), ("beat", doctor.look_at_beat)])
def test_role__gave_a_sign_just_now__is_well(world: World, role: str, look: Callable[[], doctor.Finding]) -> None:
    sign(role, age=3)

    finding = look()

    assert finding.level == "ok"
    assert re.fullmatch(r"gave a sign of life \d+ s ago", finding.text)


@pytest.mark.parametrize(("role", "look"), [("worker", doctor.look_at_worker), ("beat", doctor.look_at_beat)])
def test_role__silent_with_an_open_session__is_called_frozen(
    world: World, role: str, look: Callable[[], doctor.Finding]
) -> None:
    sign(role, age=40)

    finding = look()

    assert finding.level == "FAIL"
    assert re.match(rf"frozen for 4\d s, though its session is open \(process {os.getpid()} of ", finding.text)
    assert f"kill -CONT {os.getpid()}" in finding.advice


@pytest.mark.parametrize(("role", "look"), [("worker", doctor.look_at_worker), ("beat", doctor.look_at_beat)])
def test_role__silent_and_its_session_is_gone__is_called_absent(
    world: World, role: str, look: Callable[[], doctor.Finding]
) -> None:
    sign(role, age=40)
    Heartbeat.objects.update(backend=-1)

    finding = look()

    assert finding.level == "FAIL"
    assert re.match(r"none runs for 4\d s: ", finding.text)


def test_clock__of_a_workers_host_is_ahead__names_the_host(world: World) -> None:
    sign("worker", age=3, clock_ahead=259_200)

    finding = doctor.look_at_clock()

    assert (finding.level, finding.text) == (
        "FAIL",
        f"the worker's on {socket.gethostname()} is +259200.000 s from the database's",
    )


@pytest.mark.parametrize("seconds", [259_200, -259_200])
def test_clock__of_the_database_jumped__is_named_for_an_hour(world: World, seconds: int) -> None:
    heartbeats.write_heartbeat("beat", expected=datetime.now(UTC) - timedelta(seconds=seconds))
    finding = doctor.look_at_clock()
    DatabaseClock.objects.update(jumped_at=datetime.now(UTC) - timedelta(hours=2))

    assert (finding.level, finding.text.partition(",")[0]) == ("warn", f"the database's jumped by {seconds:+} s")
    assert doctor.look_at_clock().level == "ok"


def test_writes__database_is_read_only__fails_with_what_to_do(world: World) -> None:
    with read_only_database():
        finding = doctor.look_at_writes()

    assert (finding.level, finding.text) == ("FAIL", "The database takes no writes")
    assert finding.advice.startswith("make it writable")
    assert doctor.look_at_writes().level == "ok"


def test_doctor__database_that_stores_nothing__has_a_finding_and_an_advice_for_each_reason() -> None:
    for refusal in REFUSALS.values():
        text, _, advice = refusal.message.partition(": ")
        assert text
        assert advice
