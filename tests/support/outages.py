"""Faults of PostgreSQL and what the processes remember of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
from django.db import connection

from api.http import database, heartbeats
from api.http.heartbeats import Role
from api.ingest import nudge
from api.models import DatabaseClock
from tests.support.concurrency import wait_until


@contextmanager
def poison(condition: str, sqlstate: str = "P0001") -> Iterator[None]:
    """Make PostgreSQL itself refuse conversions that meet a condition."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF {condition} THEN RAISE EXCEPTION 'poisoned' USING ERRCODE = '{sqlstate}'; END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER poison BEFORE INSERT ON goals_conversion FOR EACH ROW EXECUTE FUNCTION poison();
            """
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER poison ON goals_conversion; DROP FUNCTION poison();")


@contextmanager
def database_down() -> Iterator[None]:
    """Close the test database during the block: end its connections and refuse new ones."""
    parameters = database.connection_parameters()
    name = parameters["dbname"]
    connection.close()
    with psycopg.connect(**{**parameters, "dbname": "postgres"}, autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            other.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


def forget_backlog() -> None:
    """Let this process count pending messages again, because it may remember those of an earlier test."""
    nudge.nudge()
    wait_until(lambda: not nudge.refuses_senders())


@contextmanager
def read_only_database() -> Iterator[None]:
    """Make the test database read-only during the block, also for the sessions of other processes."""
    name = connection.settings_dict["NAME"]
    others = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = %s AND application_name LIKE 'goalpost%%' AND pid <> pg_backend_pid()"
    )
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        cursor.execute(others, [name])
        try:
            yield
        finally:
            cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            cursor.execute(others, [name])


@contextmanager
def full_disk() -> Iterator[None]:
    """Let PostgreSQL refuse each message during the block, as when its disk is full."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$;
            -- Of statements: a trigger of rows is one of each partition, and to drop it could deadlock with an INSERT.
            CREATE TRIGGER refuse BEFORE INSERT ON api_message FOR EACH STATEMENT EXECUTE FUNCTION refuse();
            """
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuse ON api_message; DROP FUNCTION refuse();")


def write_steady_clock(**since: float) -> None:
    """Store that the database's clock has been steady for this long and that the last heartbeat is new."""
    heartbeats.write_heartbeat(Role.BEAT, expected=None)
    DatabaseClock.objects.update(steady_since=datetime.now(UTC) - timedelta(**since))
