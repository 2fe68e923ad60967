"""Telling the workers that something waits, after the commit and beside the request: the broker may be away for hours.

A nudge carries nothing and is never retried: beat nudges every second besides. The same thread watches how much waits,
and writes once a second what came in through each source: in the commits themselves it cost a tenth of each.
"""

import threading
import time
from contextlib import suppress
from typing import Any, Final

import psycopg
import redis
import structlog
from django.conf import settings

from api.celery import app
from api.database import connect, once
from api.ingest import tally

GATHER: Final = 0.02  # seconds: one nudge for all commits within
RETREAT: Final = 1.0  # seconds without a try after the broker was unreachable
BACKLOG_EVERY: Final = 1.0
LAST_CHANCE: Final = 2  # times the limit
MOST_QUEUED: Final = 10  # tasks in a queue while nobody takes them: one of each that beat sends to it, and some more
NUDGED: Final = "goalpost:nudged"
NUDGED_SECONDS: Final = 2  # then a nudge counts as lost

log = structlog.get_logger(__name__)


def nudge() -> None:
    """Have the workers look at the inbox soon. Returns at once, whatever the broker does."""
    nudger().wanted.set()


def is_overloaded(*, is_last_chance: bool = False) -> bool:
    """Whether as many messages are pending as GOALPOST_INBOX_LIMIT, as of a second ago or so; twice as many for what
    its sender will not send again.
    """
    return nudger().pending >= settings.INBOX_LIMIT * (LAST_CHANCE if is_last_chance else 1)


def has_room(queue: str) -> bool:
    """Return whether a queue takes another task: the broker keeps tasks in memory, and a worker may be away for days.

    Tasks have no time of expiry instead, because the worker would compare the sender's clock with its own.
    """
    try:
        return int(broker().llen(queue)) < MOST_QUEUED
    except redis.RedisError:
        return True  # whoever sends finds out


def hear() -> None:
    """A worker begins to look at the inbox: what is committed from now on needs a nudge of its own."""
    with suppress(redis.RedisError):
        broker().delete(NUDGED)


def count_pending(connection: psycopg.Connection[Any], *, limit: int) -> int:
    """How many messages wait for the digest, counted up to a limit. One query."""
    row = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM api_message WHERE status = 'pending' LIMIT %s) AS pending", [limit]
    ).fetchone()
    return int(row[0]) if row else 0


@once
def broker() -> "redis.Redis":
    """This process's connection to the broker, beside Celery's; impatient, because nothing depends on it."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=0.5, socket_timeout=0.5)


class Nudger:
    """The thread that publishes nudges for a process."""

    def __init__(self) -> None:
        self.wanted = threading.Event()
        self.pending = 0  # no more than is worth counting
        self.uncounted = tally.Uncounted()
        self._connection: psycopg.Connection[Any] | None = None
        self._broker = broker()
        threading.Thread(target=self._work, name="nudger", daemon=True).start()

    def _work(self) -> None:
        counted_at, is_counted = 0.0, True
        while True:
            # While senders are turned away nothing is committed, so look again without being asked.
            is_settled = is_counted and self.pending < settings.INBOX_LIMIT
            if self.wanted.wait(timeout=None if is_settled else BACKLOG_EVERY):
                self.wanted.clear()
                self._publish()
                is_counted = False
            if time.monotonic() - counted_at >= BACKLOG_EVERY:
                counted_at, is_counted = time.monotonic(), self._count()
            time.sleep(GATHER)

    def _publish(self) -> None:
        try:
            # One nudge lies in the queue at a time, or the queue would fill the broker while no worker runs.
            if has_room("goalpost") and self._broker.set(NUDGED, 1, nx=True, ex=NUDGED_SECONDS):
                app.send_task("api.digest.tasks.digest", retry=False, ignore_result=True)
        except Exception as error:  # noqa: BLE001 - no trouble of the broker may reach a sender; kombu has no one base
            log.warning("nudge.undelivered", error=type(error).__name__)
            time.sleep(RETREAT)

    def _count(self) -> bool:
        """Count what is pending, write what came in, and whether that worked; else the last word stands.

        Stops counting where all senders are turned away.
        """
        limit = settings.INBOX_LIMIT * LAST_CHANCE
        try:
            self._connection = self._connection or connect()
            pending = count_pending(self._connection, limit=limit)
            self.uncounted.write(self._connection)
        except psycopg.Error:
            self._connection = None
            return False
        self.pending = pending
        return True


@once
def nudger() -> Nudger:
    """This process's nudger, started with the first message."""
    return Nudger()
