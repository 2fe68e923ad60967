"""Deletion of old messages. Conversions keep unique keys, so a late copy counts nothing twice.

A partition whose days are old enough is emptied at once, except for the few messages in it that stay. DELETE would
leave its pages behind. If many of its messages stay, because their site keeps them longer, DELETE removes the others.
"""

import random
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self

import structlog
from django.conf import settings
from django.db import OperationalError, connection, transaction

from api.digest.partitions import FAILED_DAYS, Partition, last_id, load_partitions
from api.digest.transaction_settings import limit_lock_waits
from api.http.database import is_lock_timeout
from api.models import Message, RefusalCount, Site
from api.models.message_rows import key_of
from sessions import LockSpace, lock_until_commit

CHUNK: Final = 5_000
KEYS: Final = 20_000  # deleted in a statement; their rows are small
MOST_KEPT: Final = 20_000  # messages that are written again when their partition is emptied, in about a second
LOCK_SECONDS: Final = 0.3  # because new statements wait behind a lock that is waited for
SETTLED: Final = timedelta(days=1)  # after the days of a partition, no insert is on its way to it any more
WAITED_DAYS: Final = 7  # of retention for each day that old messages may wait until their partition is over

Status = Message.Status
log = structlog.get_logger(__name__)


def days_kept(site: Site, status: str) -> int:
    """Return how many days a site keeps messages of a final status."""
    days = site.keeps_done_days or settings.KEEP_DONE_DAYS
    return max(days, FAILED_DAYS) if status == Status.FAILED else days


@dataclass(frozen=True, slots=True)
class Retention:
    """The times before which messages of a site are old."""

    site: Site
    before: datetime
    failed_before: datetime

    @classmethod
    def of(cls, site: Site, *, now: datetime) -> Self:
        before, failed_before = (
            now - timedelta(days=days_kept(site, status)) for status in (Status.DONE, Status.FAILED)
        )
        return cls(site, before, failed_before)

    def covers(self, partition: Partition) -> bool:
        """Return True if the days of a partition are old, so that few of its messages stay."""
        return partition.ends_at <= self.before

    def waits_for(self, partition: Partition) -> bool:
        """Return True if old messages wait until all days of their partition are old, short as these are."""
        return partition.days * WAITED_DAYS <= days_kept(self.site, Status.DONE)

    def parameters(self, begin: int, end: int) -> dict[str, Any]:
        """Return the parameters of OLD for a range of ids."""
        return {
            "site": self.site.pk,
            "begin": begin,
            "end": end,
            "before": self.before,
            "failed_before": self.failed_before,
        }


# Both times are compared, because one is by another host's clock, which may have been behind.
OLD: Final = """
(m.status IN ('done', 'rejected') AND greatest(m.received_at, m.digested_at) < %(before)s
 OR m.status = 'failed' AND greatest(m.received_at, m.digested_at) < %(failed_before)s)
"""
IN_RANGE: Final = "m.site_id = %(site)s AND m.id >= %(begin)s AND m.id < %(end)s"


def prune_old(*, now: datetime, seconds: float) -> int:
    """Delete done, rejected and failed messages that are older than their site keeps them, and return how many.

    It ends after some seconds. Waiting messages never expire. Each chunk is a short transaction. Sites come in random
    order, so that the end of the time does not always skip the same ones.
    """
    until = time.monotonic() + seconds
    retentions = [Retention.of(site, now=now) for site in Site.objects.only("keeps_done_days")]
    random.shuffle(retentions)
    last = last_id()
    partitions = [partition for partition in load_partitions() if partition.end <= last]
    pruned = 0
    for gone in _prune(retentions, partitions):
        pruned += gone
        if time.monotonic() > until:
            return pruned
    for retention in retentions:
        days = RefusalCount.objects.filter(source__site=retention.site, day__lt=retention.before.date())
        days.delete()
    drop_empty([partition for partition in partitions if partition.ends_at < now - SETTLED])
    return pruned


def _prune(retentions: Collection[Retention], partitions: Collection[Partition]) -> Iterator[int]:
    """Delete old messages step by step, and yield how many each step deleted."""
    tried: set[Partition] = set()
    while todo := {found for retention in retentions if (found := _first_with_old(retention, partitions))} - tried:
        for partition in todo:
            yield from _prune_partition(partition, retentions)
        tried |= todo
    for retention in retentions:
        for partition in partitions:
            # Old messages of the others have left with their partition, or wait until they leave with it.
            if not retention.waits_for(partition) and not retention.covers(partition):
                yield from prune_rows(retention, partition.begin, partition.end)
        yield from prune_rows(retention, max((partition.end for partition in partitions), default=0), 2**63 - 1)


def _first_with_old(retention: Retention, partitions: Collection[Partition]) -> Partition | None:
    """Return the first partition with old messages of a site, of those whose days are old. One query at most."""
    covered = [partition for partition in partitions if retention.covers(partition)]
    if not covered:
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT m.id FROM api_message m WHERE {IN_RANGE} AND {OLD} ORDER BY m.id LIMIT 1",
            retention.parameters(0, covered[-1].end),
        )
        row = cursor.fetchone()
    return next(partition for partition in covered if row[0] < partition.end) if row else None


def _prune_partition(partition: Partition, retentions: Collection[Retention]) -> Iterator[int]:
    """Empty a partition except for the messages that stay, or delete its old messages if many stay."""
    covering = [retention for retention in retentions if retention.covers(partition)]
    if _count_kept(partition, retentions) > MOST_KEPT:
        for retention in covering:
            yield from prune_rows(retention, partition.begin, partition.end)
        return
    for retention in covering:
        yield from _delete_keys(retention, partition)
    try:
        yield _empty(partition, retentions)
    except OperationalError as error:
        if not is_lock_timeout(error):
            raise
        log.info("partition.held", partition=partition.suffix)  # the next run tries again


def _kept(retention: Retention, partition: Partition) -> str:
    """Return the condition of the messages of a site that stay in a partition."""
    return f"{IN_RANGE} AND NOT coalesce({OLD}, false)" if retention.covers(partition) else IN_RANGE


def _count_kept(partition: Partition, retentions: Collection[Retention]) -> int:
    """Count the messages that stay, up to one more than MOST_KEPT. One query a site."""
    kept = 0
    with connection.cursor() as cursor:
        for retention in retentions:
            cursor.execute(
                f"""
                SELECT count(*) FROM (
                    SELECT FROM api_message m WHERE {_kept(retention, partition)} LIMIT %(most)s) AS m
                """,
                retention.parameters(partition.begin, partition.end) | {"most": MOST_KEPT + 1 - kept},
            )
            kept += cursor.fetchone()[0]
    return kept


def _delete_keys(retention: Retention, partition: Partition) -> Iterator[int]:
    """Delete the keys of old messages by chunks, and yield 0 after each. One query, and two a chunk."""
    parameters = retention.parameters(partition.begin, partition.end)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT m.id FROM api_message m WHERE {_kept(retention, partition)}", parameters)
        kept = [id_ for (id_,) in cursor.fetchall()]
        while parameters["begin"] < partition.end:
            cursor.execute(
                """
                SELECT k.id FROM api_messagekey k
                 WHERE k.site_id = %(site)s AND k.id >= %(begin)s AND k.id < %(end)s
                 ORDER BY k.id OFFSET %(chunk)s LIMIT 1
                """,
                parameters | {"chunk": KEYS, "end": partition.end},
            )
            row = cursor.fetchone()
            parameters["end"] = row[0] if row else partition.end
            cursor.execute(
                """
                DELETE FROM api_messagekey k
                 WHERE k.site_id = %(site)s AND k.id >= %(begin)s AND k.id < %(end)s
                   AND k.id <> ALL(%(kept)s::bigint[])
                """,
                parameters | {"kept": kept},
            )
            parameters["begin"] = parameters["end"]
            yield 0


def _empty(partition: Partition, retentions: Collection[Retention]) -> int:
    """Empty a partition except for the messages that stay, and return how many left. Raises OperationalError.

    Writers of the partition wait meanwhile, and readers for a moment. A message that is retried at this time stays.
    """
    messages, bodies = partition.tables
    with transaction.atomic(), connection.cursor() as cursor:
        limit_lock_waits(LOCK_SECONDS)
        lock_until_commit(LockSpace.PARTITIONS)
        cursor.execute(f"LOCK TABLE {messages}, {bodies} IN SHARE ROW EXCLUSIVE MODE")
        cursor.execute(f"SELECT count(*) FROM {messages}")
        gone: int = cursor.fetchone()[0]
        cursor.execute(f"CREATE TEMPORARY TABLE kept (LIKE {messages}) ON COMMIT DROP")
        for retention in retentions:
            cursor.execute(
                f"INSERT INTO kept SELECT m.* FROM {messages} m WHERE {_kept(retention, partition)}",
                retention.parameters(partition.begin, partition.end),
            )
            gone -= cursor.rowcount
        cursor.execute(
            f"CREATE TEMPORARY TABLE kept_bodies ON COMMIT DROP AS "
            f"SELECT b.* FROM {bodies} b JOIN kept USING (site_id, id)"
        )
        cursor.execute(f"TRUNCATE {messages}, {bodies}")
        cursor.execute(f"INSERT INTO {messages} SELECT * FROM kept")
        cursor.execute(f"INSERT INTO {bodies} SELECT * FROM kept_bodies")
        # A message that was retried while its key was deleted.
        cursor.execute(
            f"""
            INSERT INTO api_messagekey (site_id, key, id)
            SELECT site_id, {key_of("type", "message_id")}, id FROM kept
             WHERE status <> 'rejected' AND message_id IS NOT NULL ORDER BY 1, 2
            ON CONFLICT DO NOTHING
            """
        )
    return gone


def drop_empty(partitions: Collection[Partition]) -> None:
    """Drop empty partitions, if no session holds the inbox for long."""
    for partition in partitions:
        messages, bodies = partition.tables
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                limit_lock_waits(LOCK_SECONDS)
                # Before it looks, because an insert that has not committed is not seen.
                cursor.execute(f"LOCK TABLE {messages}, {bodies} IN SHARE ROW EXCLUSIVE MODE")
                cursor.execute(f"SELECT EXISTS (SELECT FROM {messages}) OR EXISTS (SELECT FROM {bodies})")
                if not cursor.fetchone()[0]:
                    cursor.execute(f"DROP TABLE {messages}, {bodies}")
        except OperationalError as error:
            if not is_lock_timeout(error):
                raise
            return


def prune_rows(retention: Retention, begin: int, end: int) -> Iterator[int]:
    """Delete the old messages of a site in a range of ids by chunks, oldest first, and yield how many each had."""
    for statement in OLD_MESSAGES.values():
        while gone := prune_chunk(retention.parameters(begin, end), statement):
            yield gone
            if gone < CHUNK:
                break


# In the order of ids, which is that of receipt. If the oldest ones are young enough, all are.
OLD_BY_RECEIPT: Final = f"""
SELECT m.id FROM (
    SELECT m.id FROM api_message m WHERE {IN_RANGE} AND m.status = '{{status}}' ORDER BY m.id LIMIT %(chunk)s) AS oldest
  JOIN api_message m ON m.id = oldest.id
 WHERE {IN_RANGE} AND m.status = '{{status}}' AND {OLD}
   FOR UPDATE OF m SKIP LOCKED  -- locks only rows that this statement deletes, because a row lock writes the row
"""
OLD_MESSAGES: Final[Mapping[str, str]] = {
    status: OLD_BY_RECEIPT.format(status=status.value) for status in (Status.DONE, Status.REJECTED, Status.FAILED)
}


def prune_chunk(parameters: Mapping[str, Any], statement: str) -> int:
    """Delete up to CHUNK of a site's old messages, oldest first. Return how many. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            # IN (SELECT … LIMIT) may run once for each row of the table, which locks and deletes other rows each time.
            f"""
            WITH old AS MATERIALIZED ({statement}),
                 bodies AS (DELETE FROM api_messagebody b USING old WHERE b.site_id = %(site)s AND b.id = old.id),
                 keys AS (DELETE FROM api_messagekey k USING old WHERE k.site_id = %(site)s AND k.id = old.id)
            DELETE FROM api_message m USING old WHERE m.site_id = %(site)s AND m.id = old.id
            """,
            {**parameters, "chunk": CHUNK},
        )
        return int(cursor.rowcount)
