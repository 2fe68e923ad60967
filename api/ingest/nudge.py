"""Nudges to the workers after a commit, from a thread, because the broker may be away for hours.

A nudge has no payload and is never retried, because beat nudges every second, too. The same thread counts pending
messages and writes the counts of sources once a second: in the commits themselves these cost a tenth of each.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

import psycopg
import redis
import structlog
from django.conf import settings

from api.celery import app
from api.http.budgets import budget_counter
from api.http.database import SessionKind, connect, once
from api.ingest import source_counts
from api.ingest.refusals import refusal_counter
from api.ingest.visit_activity import activity_buffer
from api.models.message_rows import find_first_pending

DEBOUNCE_SECONDS: Final = 0.02  # one nudge for all commits within
RETRY_SECONDS: Final = 1.0  # without a try after the broker was unreachable
BACKLOG_SECONDS: Final = 1.0
NO_RETRY_FACTOR: Final = 2  # times the limit
MAX_QUEUED: Final = 20  # tasks in a queue without a worker: one of each that beat sends, and some more
# Estimated bytes of a site's pending messages. A full limit of ordinary events of 1 kB has 250 MB.
SITE_BYTES: Final = 4 * 2**30
SAMPLED: Final = 50  # of the oldest and of the newest; measuring all would read each of them every second
NUDGE_FLAG: Final = "goalpost:nudged"
FLAG_SECONDS: Final = 2  # then a nudge counts as lost

log = structlog.get_logger(__name__)


def nudge() -> None:
    """Have a worker process the inbox soon. Returns at once, whatever the broker does."""
    nudger().requested.set()


class Overload(Enum):
    """The backlog over its limit: of one site or of all."""

    SITE = "This site has too many messages that wait for the digest"
    ALL = "Too many messages wait for the digest"


@dataclass(frozen=True, slots=True)
class Backlog:
    """The pending messages by site, as of about a second ago."""

    messages: Mapping[int, int] = field(default_factory=dict)  # counted up to the limits; no zeros
    bytes: Mapping[int, int] = field(default_factory=dict)  # estimated from the oldest and the newest of them

    def overload(self, site_id: int, *, times: int = 1) -> Overload | None:
        """Return the backlog because of which a site's senders must wait, if any; `times` multiplies every limit.

        Over the limit of all sites, only sites with an average share or more wait. All sites wait from twice the limit
        on, so a flood of one site affects the senders of others late.
        """
        own = self.messages.get(site_id, 0)
        if own >= settings.SITE_INBOX_LIMIT * times or self.bytes.get(site_id, 0) >= SITE_BYTES * times:
            return Overload.SITE
        total = sum(self.messages.values())
        is_share = own * len(self.messages) >= total or total >= settings.INBOX_LIMIT * NO_RETRY_FACTOR
        return Overload.ALL if total >= settings.INBOX_LIMIT * times and is_share else None

    def room(self, site_id: int) -> tuple[int, int]:
        """Return how many messages and bytes a site's limit has left."""
        own, size = self.messages.get(site_id, 0), self.bytes.get(site_id, 0)
        return settings.SITE_INBOX_LIMIT - own, SITE_BYTES - size

    def is_any_over(self) -> bool:
        """Return True if any sender is refused."""
        return any(self.overload(site_id) for site_id in self.messages)


def find_overload(site_id: int, *, is_last_chance: bool = False) -> Overload | None:
    """Return the backlog because of which a site's senders must retry later, if any.

    The limits are GOALPOST_SITE_INBOX_LIMIT pending messages of the site and GOALPOST_INBOX_LIMIT of all sites, and
    twice as many for senders that never retry.
    """
    return nudger().backlog.overload(site_id, times=NO_RETRY_FACTOR if is_last_chance else 1)


def refuses_senders() -> bool:
    """Return True if this process refuses any sender because of a backlog."""
    return nudger().backlog.is_any_over()


def has_room(queue: str) -> bool:
    """Return True if a queue accepts another task: the broker keeps tasks in memory, and workers may be away for days.

    An expiry of tasks would not do, because the worker would compare the sender's clock with its own.
    """
    try:
        return int(broker().llen(queue)) < MAX_QUEUED
    except redis.RedisError:
        return True  # if the broker is away, sending the task raises


def clear_nudge() -> None:
    """Clear the nudge flag, so that the next commit sends a new nudge. A worker calls it before it reads the inbox."""
    with suppress(redis.RedisError):
        broker().delete(NUDGE_FLAG)


# For each site two probes of the index of pending rows from an id on, and a count up to the limits.
PENDING: Final = """
SELECT s.id, p.messages, coalesce(p.messages * w.size, 0)::bigint
  FROM api_site s
 CROSS JOIN LATERAL (SELECT count(*) AS messages FROM (
       SELECT FROM api_message m
        WHERE m.site_id = s.id AND m.status = 'pending' AND m.id >= %(first)s LIMIT %(limit)s) AS own) AS p
 CROSS JOIN LATERAL (SELECT avg(size) AS size FROM (
       (SELECT size FROM api_message m
         WHERE m.site_id = s.id AND m.status = 'pending' AND m.id >= %(first)s ORDER BY id LIMIT %(weighed)s)
        UNION ALL
       (SELECT size FROM api_message m
         WHERE m.site_id = s.id AND m.status = 'pending' AND m.id >= %(first)s
         ORDER BY id DESC LIMIT %(weighed)s)) AS ends) AS w
 WHERE p.messages > 0
"""


def count_pending(connection: psycopg.Connection[Any], *, limit: int) -> Backlog:
    """Return the pending messages of each site, up to a limit. Three queries at most."""
    first = find_first_pending(connection)
    if first is None:
        return Backlog()
    rows = connection.execute(PENDING, {"first": first, "limit": limit, "weighed": SAMPLED}).fetchall()
    return Backlog({id_: messages for id_, messages, _ in rows}, {id_: size for id_, _, size in rows})


@once
def broker() -> "redis.Redis":
    """Return this process's own connection to the broker, with short timeouts, because nothing depends on it."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=0.5, socket_timeout=0.5)


class Nudger:
    """The thread that publishes nudges for a process."""

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.backlog = Backlog()
        self.uncounted = source_counts.UnwrittenCounts()
        self._connection: psycopg.Connection[Any] | None = None
        self._broker = broker()
        threading.Thread(target=self._work, name="nudger", daemon=True).start()

    def _work(self) -> None:
        counted_at, is_counted = 0.0, True
        while True:
            if self.requested.wait(timeout=BACKLOG_SECONDS):
                self.requested.clear()
                self._publish()
                is_counted = False
            # While senders are refused, no commit asks for a count, so count without being asked.
            is_settled = is_counted and self._is_written() and not self.backlog.is_any_over()
            if not is_settled and time.monotonic() - counted_at >= BACKLOG_SECONDS:
                counted_at, is_counted = time.monotonic(), self._count()
            time.sleep(DEBOUNCE_SECONDS)

    def _is_written(self) -> bool:
        counters = (budget_counter(), refusal_counter(), self.uncounted, activity_buffer())
        return all(counter.is_written for counter in counters)

    def _publish(self) -> None:
        try:
            # One nudge at a time, otherwise the queue would fill the broker while no worker runs.
            if has_room("goalpost") and self._broker.set(NUDGE_FLAG, 1, nx=True, ex=FLAG_SECONDS):
                app.send_task("api.tasks.digest", retry=False, ignore_result=True)
        except Exception as error:  # noqa: BLE001 - no trouble of the broker may reach a sender; kombu has no one base
            log.warning("nudge.undelivered", error=type(error).__name__)
            time.sleep(RETRY_SECONDS)

    def _count(self) -> bool:
        """Count pending messages, write the counts of sources, and return True if all of it worked.

        Otherwise the last count stays. It counts a site up to the number at which all of its senders are refused.
        """
        # Each step alone: one locked row must not keep the other steps from writing.
        steps = (
            self._count_pending,
            self.uncounted.write,
            budget_counter().write,
            refusal_counter().write,
            activity_buffer().write,
        )
        return not [step for step in steps if not self._try(step)]

    def _count_pending(self, connection: psycopg.Connection[Any]) -> None:
        limit = min(settings.SITE_INBOX_LIMIT, settings.INBOX_LIMIT) * NO_RETRY_FACTOR
        self.backlog = count_pending(connection, limit=limit)

    def _try(self, step: Callable[[psycopg.Connection[Any]], None]) -> bool:
        """Return False if PostgreSQL refused a step; the next one gets another connection."""
        try:
            self._connection = self._connection or connect_without_scans()
            step(self._connection)
        except psycopg.Error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            return False
        return True


def connect_without_scans(kind: SessionKind = SessionKind.NOTES) -> psycopg.Connection[Any]:
    """Return a connection that finds pending rows by their index, whatever the statistics say."""
    connection = connect(kind)
    connection.execute("SET enable_seqscan = off")
    return connection


@once
def nudger() -> Nudger:
    """Return the nudger of this process, started with the first message."""
    return Nudger()
