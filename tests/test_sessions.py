"""Settings, advisory locks and lists of sessions, which only `sessions.py` uses."""

import re
from pathlib import Path
from typing import Final

import psycopg
import pytest
from django.db import connection, transaction

from api.http.database import connect
from sessions import (
    LockSpace,
    lock_lowest_free,
    lock_until_commit,
    read_next_transaction,
    read_oldest_transaction,
    set_for_transaction,
)
from tests.support.site_law import ROOT

OF_SESSIONS: Final = re.compile(
    r"pg_(?:try_)?advisory\w*|set_config|SET (?:LOCAL|SESSION)\b|pg_stat_activity|pg_locks|pg_backend_pid|"
    r"pg_blocking_pids|pg_postmaster_start_time|pg_current_snapshot|pg_current_xact_id"
)


def list_product_files() -> list[Path]:
    files = [
        *ROOT.glob("*.py"),
        *(path for folder in ("api", "goals", "cohorts") for path in (ROOT / folder).rglob("*")),
    ]
    return [path for path in files if path.suffix in {".py", ".sql"} and "migrations" not in path.parts]


def test_features_of_sessions__in_the_product__are_in_one_module() -> None:
    found = {str(path.relative_to(ROOT)) for path in list_product_files() if OF_SESSIONS.search(path.read_text())}

    assert found == {"sessions.py"}


@pytest.mark.django_db
def test_settings__of_a_transaction__are_set_together() -> None:
    with connection.cursor() as cursor:
        set_for_transaction({"lock_timeout": "1234", "enable_seqscan": "off", "application_name": "it's"})
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("1234ms",)
        cursor.execute("SHOW application_name")
        assert cursor.fetchone() == ("it's",)


def test_lock__of_a_transaction__ends_with_it(transactional_db: None) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = 7"
    with connection.cursor() as cursor:
        with transaction.atomic():
            lock_until_commit(LockSpace.GOAL_NAMES, 7)
            cursor.execute(held, [LockSpace.GOAL_NAMES.value])
            assert cursor.fetchone() == (1,)
        cursor.execute(held, [LockSpace.GOAL_NAMES.value])
        assert cursor.fetchone() == (0,)


def test_lowest_free_lock__while_others_hold_some__is_the_next(transactional_db: None) -> None:
    take = "SELECT pg_advisory_xact_lock(%s, %s)"
    with psycopg.connect(**connection.get_connection_params()) as other, transaction.atomic():
        other.execute(take, [LockSpace.GOAL_TOTALS.value, 0])
        assert lock_lowest_free(LockSpace.GOAL_TOTALS, count=3) == 1
        other.execute(take, [LockSpace.GOAL_TOTALS.value, 2])
        assert lock_lowest_free(LockSpace.GOAL_TOTALS, count=3) == 1  # its own
        other.commit()
        assert lock_lowest_free(LockSpace.GOAL_TOTALS, count=3) == 0


@pytest.mark.django_db
def test_number__that_is_above_all_transactions__is_above_those_that_have_not_ended() -> None:
    """The second transaction to begin is still at work, and nothing has ended since."""
    with connect() as one, connect() as other:
        one.execute("BEGIN")
        other.execute("BEGIN")
        numbers = [session.execute("SELECT pg_current_xact_id()::text::bigint").fetchone() for session in (one, other)]
        one.commit()

        above, oldest = read_next_transaction(), read_oldest_transaction()

    running = numbers[1][0]  # type: ignore[index]  # one row
    assert oldest <= running < above
