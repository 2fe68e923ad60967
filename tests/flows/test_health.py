"""Health checks for the supervisor of a process."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper
from pytest_django import Settings

from api.http import health, heartbeats
from api.http.database import connect
from api.http.health import probe_write, readiness
from api.management.commands.prepare import record_key
from api.models import Heartbeat
from tests.support.outages import read_only_database
from tests.world import World


@contextmanager
def renamed(table: str) -> Iterator[None]:
    """Without a table, for a while."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE {table}_away RENAME TO {table}")


def ready(world: World) -> httpx.Response:
    """Return a fresh answer without the cache of the previous second."""
    readiness().forget()
    return world.client.get("/health/ready")


def test_ready__on_an_empty_database__says_what_is_missing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with renamed("django_migrations"):
        answer = ready(world)

    assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")
    assert "request.failed" not in caplog.text
    assert ready(world).json().get("code") is None


def test_ready__worker_or_beat_are_missing__is_degraded_and_stays_ready(world: World) -> None:
    """Events are accepted all the same: a load balancer must not take the web servers away."""
    answers = [ready(world)]
    for role in ("worker", "beat"):
        heartbeats.write_heartbeat(role, expected=None)
        answers.append(ready(world))
    Heartbeat.objects.filter(role="beat").update(at=datetime.now(UTC) - timedelta(seconds=31))
    answers.append(ready(world))
    Heartbeat.objects.filter(role="beat").update(at=datetime.now(UTC) + timedelta(days=3))  # the clock was ahead
    answers.append(ready(world))

    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json().get("missing") for answer in answers] == [
        ["beat", "worker"],
        ["beat"],
        None,
        ["beat"],
        ["beat"],
    ]
    assert [answer.json()["status"] for answer in answers][2] == "ok"


def test_ready__database_takes_no_writes__says_so(world: World) -> None:
    with read_only_database():
        answer = ready(world)

    assert (answer.status_code, answer.json()["code"]) == (503, "read_only")
    assert answer.headers["Retry-After"]
    assert ready(world).json().get("code") is None


def test_ready__disk_of_the_database_is_full__says_so(world: World) -> None:
    """PostgreSQL reports a full disk when a file cannot grow, which a trigger says here in its place."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END$$"
        )
        cursor.execute("CREATE TRIGGER full_disk BEFORE INSERT ON api_probe EXECUTE FUNCTION full_disk()")
        try:
            answer = ready(world)
        finally:
            cursor.execute("DROP FUNCTION full_disk CASCADE")

    assert (answer.status_code, answer.json()["code"]) == (503, "disk_full")
    assert ready(world).json().get("code") is None


def test_ready__another_secret_key__says_so(world: World, settings: Settings) -> None:
    record_key()
    settings.SECRET_KEY = "another one"

    assert (ready(world).status_code, ready(world).json()["code"]) == (503, "other_secret_key")


def test_ready__asked_often__looks_once_a_second(world: World) -> None:
    ready(world)
    with connection.cursor() as cursor:
        before = file_size(cursor)
        for _ in range(20):
            assert world.client.get("/health/ready").status_code == 200
        assert file_size(cursor) - before <= PAGE * 3  # looks; a slow machine may take some seconds


def test_probe__each_time__makes_the_file_grow_and_waits_for_the_disk(world: World) -> None:
    with connect() as session, connection.cursor() as cursor:
        before = file_size(cursor)
        for _ in range(3):
            probe_write(session)
        assert file_size(cursor) - before == PAGE * 3
        begun = session.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        probe_write(session)
        flushed = session.execute("SELECT pg_current_wal_flush_lsn() > %s::pg_lsn", begun).fetchone()
        rows = session.execute("SELECT count(*) FROM api_probe").fetchone()

    assert (flushed, rows) == ((True,), (0,))


PAGE = 8192


def file_size(cursor: CursorWrapper) -> int:
    cursor.execute("SELECT pg_relation_size('api_probe')")
    return int(cursor.fetchone()[0])


def test_health__of_a_working_process__is_ok(world: World) -> None:
    for role in heartbeats.Role:
        heartbeats.write_heartbeat(role, expected=None)
    health.readiness().forget()

    assert world.client.get("/health/live").json() == {"status": "ok"}
    assert world.client.get("/health/ready").json() == {"status": "ok"}
