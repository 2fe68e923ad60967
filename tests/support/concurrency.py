"""Threads of a test, and waits for what other threads and sessions do."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection

from api.http.database import fetch_all


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Do the same in several threads at once, each with a database connection of its own."""

    def alone(number: int) -> Any:
        try:
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(alone, range(count)))


def is_asleep() -> bool:
    """Return True if a worker's statement sleeps in the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()")
        return cursor.fetchone() is not None


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "waited a minute in vain"
        threading.Event().wait(0.05)


def count_lock_waits() -> int:
    (row,) = fetch_all(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity a USING (pid)"
        " WHERE NOT granted AND a.datname = current_database()",
        {},
    )
    return int(row[0])
