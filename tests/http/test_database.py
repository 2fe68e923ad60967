"""Names and timeouts of database sessions, by the kind of process that opens them."""

import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from django.db import connection, connections

from api.http import database
from api.http.database import TIMEOUTS, SessionKind
from api.ingest import inbox
from api.tasks import keep_connections

SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
SERVED = (
    SessionKind.WEB,
    SessionKind.INBOX,
    SessionKind.READS,
    SessionKind.NOTES,
    SessionKind.WORKER,
    SessionKind.CLAIMS,
    SessionKind.BEAT,
    SessionKind.LOAD,
)


@pytest.fixture
def restored_kind(transactional_db: None) -> Iterator[None]:
    """Restore the kind of this process after the test."""
    before = connections["default"].settings_dict.copy()
    yield
    connections["default"].settings_dict.clear()
    connections["default"].settings_dict |= before


@pytest.mark.parametrize("kind", SessionKind)
def test_session__of_each_kind__has_its_name_and_limits(kind: SessionKind, transactional_db: None) -> None:
    expected = {**database.as_settings(TIMEOUTS[kind]), "application_name": f"goalpost {kind}"}
    with closing(database.connect(kind)) as session:
        assert dict(session.execute(SETTINGS, [list(expected)]).fetchall()) == expected


@pytest.mark.parametrize("kind", SERVED)
def test_limits__of_whatever_runs_for_days__are_all_set(kind: SessionKind) -> None:
    limits = TIMEOUTS[kind]
    assert min(limits.lock, limits.statement, limits.idle) > 0
    assert limits.lock <= limits.statement


def test_limits__of_what_stores_events__end_before_a_request_leaves() -> None:
    limits = TIMEOUTS[SessionKind.INBOX]
    assert limits.statement < inbox.MAX_SECONDS < inbox.PATIENCE


def test_django__in_a_worker__has_the_limits_of_a_worker(restored_kind: None) -> None:
    connection.close()
    keep_connections()

    expected = {**database.as_settings(TIMEOUTS[SessionKind.WORKER]), "application_name": "goalpost worker"}
    with connection.cursor() as cursor:
        cursor.execute(SETTINGS, [list(expected)])
        assert dict(cursor.fetchall()) == expected


def test_command__that_names_its_work__has_other_limits(restored_kind: None) -> None:
    database.configure_open_connection(SessionKind.UPKEEP)

    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("3s",)


def test_connection__to_a_pooler__names_no_options(transactional_db: None) -> None:
    """PgBouncer refuses connections with `options`."""
    assert "options" not in database.connection_parameters()


def test_reader__behind_a_locked_table__gives_up_at_once(transactional_db: None) -> None:
    """A second attempt, or one for each request, would keep the other requests waiting."""
    with psycopg.connect(**database.connection_parameters()) as other:
        other.execute("LOCK TABLE api_site IN ACCESS EXCLUSIVE MODE")
        begun = time.monotonic()
        with pytest.raises(database.DatabaseDownError):
            database.fetch_all("SELECT %(one)s FROM api_site", {"one": 1})
    assert time.monotonic() - begun < 2 * TIMEOUTS[SessionKind.READS].lock
