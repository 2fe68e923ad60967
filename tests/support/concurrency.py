"""Threads of a test, and waits for what other threads and sessions do."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection

from api.http.database import connection_parameters, fetch_all
from api.models import Message
from tests.world import World


def in_threads(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work` with the numbers of several threads, each with its own database connection, and return the results."""

    def alone(number: int) -> Any:
        try:
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(alone, range(count)))


@contextmanager
def holding(statement: str, *parameters: Any) -> Iterator[psycopg.Connection[Any]]:
    """Hold the locks of a statement during the block, like a forgotten open transaction."""
    with psycopg.connect(**connection_parameters()) as other:
        other.execute(statement, parameters)
        yield other
        other.rollback()


def is_asleep() -> bool:
    """Return True if a worker's statement sleeps in the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()")
        return cursor.fetchone() is not None


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true, a minute at most."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "waited a minute in vain"
        threading.Event().wait(0.05)


def count_lock_waits() -> int:
    """Return the number of locks for which sessions of the test database wait."""
    (row,) = fetch_all(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity a USING (pid)"
        " WHERE NOT granted AND a.datname = current_database()",
        {},
    )
    return int(row[0])


def are_done(*message_ids: str) -> bool:
    return set(Message.objects.filter(message_id__in=message_ids).values_list("status", flat=True)) == {"done"}


def digest_until(world: World, condition: Callable[[], bool]) -> None:
    """Digest and do the work of beat until a condition is true."""

    def look() -> bool:
        world.digest()
        world.tend()
        return condition()

    wait_until(look)
