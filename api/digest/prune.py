"""Deletion of old messages. Conversions keep unique keys, so a late copy counts nothing twice.

A partition whose days are old enough is emptied at once, except for the few messages in it that stay. DELETE would
leave its pages behind. If many of its messages stay, because their site keeps them longer, DELETE removes the others.
It also removes the last few, which become old one by one.
"""

import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Self

import psycopg
import structlog
from django.conf import settings
from django.db import OperationalError, ProgrammingError, connection, transaction

from api.digest.partitions import FAILED_DAYS, Partition, last_id, load_partitions
from api.digest.transaction_settings import limit_lock_waits
from api.http.database import is_lock_timeout
from api.models import Message, RefusalCount, Site
from sessions import LockSpace, lock_until_commit

CHUNK: Final = 5_000
KEYS: Final = 100_000  # of messages, deleted in a statement; their rows are small
MOST_KEPT: Final = 20_000  # messages that are written again when their partition is emptied, in about a second
MOST_BY_ROWS: Final = 5_000  # old messages for which a partition is not emptied, because those that stay are copied
NO_ID: Final = 2**63 - 1
LEFT_KEYS: Final = "Keys of its former messages are left in api_messagekey."
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
    for partition in find_with_left_keys(partitions):
        delete_left_keys(partition)
    pruned, swept = 0, set[Partition]()
    for gone in _prune(retentions, partitions, swept):
        pruned += gone
        if time.monotonic() > until:
            return pruned
    for retention in retentions:
        days = RefusalCount.objects.filter(site=retention.site, day__lt=retention.before.date())
        days.delete()
    drop_empty([partition for partition in partitions if partition.ends_at < now - SETTLED], swept)
    return pruned


def _prune(
    retentions: Collection[Retention], partitions: Collection[Partition], swept: set[Partition]
) -> Iterator[int]:
    """Delete old messages step by step, and yield how many each step deleted."""
    first_old = {retention: _find_old(retention, partitions) for retention in retentions}
    for partition in partitions:
        found = [retention for retention, id_ in first_old.items() if partition.begin <= id_ < partition.end]
        if found:
            yield from _prune_partition(partition, retentions, found, swept)
        first_old |= {retention: _find_old(retention, partitions, begin=partition.end) for retention in found}
    for retention in retentions:
        for partition in partitions:
            # Old messages of the others have left with their partition, or wait until they leave with it.
            if not retention.waits_for(partition) and not retention.covers(partition):
                yield from prune_rows(retention, partition.begin, partition.end)
        yield from prune_rows(retention, max((partition.end for partition in partitions), default=0), NO_ID)


def _find_old(retention: Retention, partitions: Collection[Partition], *, begin: int = 0) -> int:
    """Return the first id of an old message of a site in the partitions whose days are old, or NO_ID. One query."""
    covered = [partition for partition in partitions if retention.covers(partition)]
    if not covered:
        return NO_ID
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT m.id FROM api_message m WHERE {IN_RANGE} AND {OLD} ORDER BY m.id LIMIT 1",
            retention.parameters(begin, covered[-1].end),
        )
        row = cursor.fetchone()
    return int(row[0]) if row else NO_ID


def _prune_partition(
    partition: Partition, retentions: Collection[Retention], found: Collection[Retention], swept: set[Partition]
) -> Iterator[int]:
    """Empty a partition except for the messages that stay, or delete its old messages if few are old or many stay.

    `found` are those of the sites with old messages in it. An emptied partition is added to `swept`.
    """
    if _count(partition, found, most=MOST_BY_ROWS) > MOST_BY_ROWS:
        try:
            emptied = _empty(partition, retentions)
            if emptied is not None:
                for retention in found:
                    _delete_keys(retention.site.pk, partition, emptied.kept)
                note_keys(partition, are_left=False)
        except (OperationalError, ProgrammingError) as error:
            if not _is_busy_or_gone(error):
                raise
            log.info("partition.held", partition=partition.suffix)  # the next run tries again
            return
        if emptied is not None:
            swept.add(partition)
            yield emptied.gone
            return
    for retention in found:
        yield from prune_rows(retention, partition.begin, partition.end)


def _is_busy_or_gone(error: Exception) -> bool:
    """Return True if another session holds the table for long, or another worker dropped it."""
    return is_lock_timeout(error) or isinstance(error.__cause__, psycopg.errors.UndefinedTable)


def _count(partition: Partition, retentions: Collection[Retention], *, most: int) -> int:
    """Count old messages of sites in a partition, up to one more than `most`. One query a site."""
    counted = 0
    with connection.cursor() as cursor:
        for retention in retentions:
            cursor.execute(
                f"SELECT count(*) FROM (SELECT FROM api_message m WHERE {IN_RANGE} AND {OLD} LIMIT %(most)s) AS m",
                retention.parameters(partition.begin, partition.end) | {"most": most + 1 - counted},
            )
            counted += cursor.fetchone()[0]
    return counted


class Emptied(NamedTuple):
    """Count of the messages that left a partition, and the ids of those that stay."""

    gone: int
    kept: list[int]


def _empty(partition: Partition, retentions: Collection[Retention]) -> Emptied | None:
    """Empty a partition except for the messages that stay. Return None if more than MOST_KEPT stay: nothing left then.

    Writers of the partition wait meanwhile, and readers for a moment. A message that is retried at this time stays.
    Raises OperationalError.
    """
    messages, bodies = partition.tables
    with transaction.atomic(), connection.cursor() as cursor:
        limit_lock_waits(LOCK_SECONDS)
        lock_until_commit(LockSpace.PARTITIONS)
        cursor.execute(f"LOCK TABLE {messages}, {bodies} IN EXCLUSIVE MODE")
        cursor.execute(f"CREATE TEMPORARY TABLE kept (LIKE {messages}) ON COMMIT DROP")
        kept: list[int] = []
        for retention in retentions:
            is_kept = f"NOT coalesce({OLD}, false)" if retention.covers(partition) else "true"
            cursor.execute(
                f"""
                INSERT INTO kept SELECT m.* FROM {messages} m WHERE {IN_RANGE} AND {is_kept} LIMIT %(most)s
                RETURNING id
                """,
                retention.parameters(partition.begin, partition.end) | {"most": MOST_KEPT + 1 - len(kept)},
            )
            kept += [id_ for (id_,) in cursor.fetchall()]
        if len(kept) > MOST_KEPT:
            transaction.set_rollback(True)
            return None
        cursor.execute(f"SELECT count(*) FROM {messages}")
        gone = cursor.fetchone()[0] - len(kept)
        cursor.execute(
            f"CREATE TEMPORARY TABLE kept_bodies ON COMMIT DROP AS "
            f"SELECT b.* FROM {bodies} b JOIN kept USING (site_id, id)"
        )
        cursor.execute(f"TRUNCATE {messages}, {bodies}")
        cursor.execute(f"INSERT INTO {messages} SELECT * FROM kept")
        cursor.execute(f"INSERT INTO {bodies} SELECT * FROM kept_bodies")
        note_keys(partition, are_left=True)
    return Emptied(gone, kept)


def _delete_keys(site_id: int, partition: Partition, kept: Sequence[int] = ()) -> None:
    """Delete the keys of a site's messages that have left a partition, all but `kept`. Two queries a chunk.

    They are deleted after their messages, which no retry can bring back then. If the worker dies in between, the next
    run goes on. Until then a late copy of such an event is a duplicate.
    """
    parameters: dict[str, Any] = {
        "site": site_id,
        "begin": partition.begin,
        "end": partition.end,
        "kept": list(kept),
    }
    with connection.cursor() as cursor:
        while True:
            cursor.execute(
                """
                SELECT min(id) FROM api_messagekey WHERE site_id = %(site)s AND id >= %(begin)s AND id < %(end)s
                """,
                parameters,
            )
            parameters["begin"] = cursor.fetchone()[0]
            if parameters["begin"] is None:
                return
            parameters["next"] = min(parameters["begin"] + KEYS, partition.end)
            cursor.execute(
                """
                DELETE FROM api_messagekey k
                 WHERE k.site_id = %(site)s AND k.id >= %(begin)s AND k.id < %(next)s
                   AND k.id <> ALL(%(kept)s::bigint[])
                """,
                parameters,
            )
            parameters["begin"] = parameters["next"]


def note_keys(partition: Partition, *, are_left: bool) -> None:
    """Note at the table of a partition, in the transaction that empties it, that keys of its messages are left.

    A comment of the table needs no table of its own, and leaves with the partition.
    """
    comment = f"'{LEFT_KEYS}'" if are_left else "NULL"
    with connection.cursor() as cursor:
        cursor.execute(f"COMMENT ON TABLE {partition.tables[0]} IS {comment}")


def find_with_left_keys(partitions: Collection[Partition]) -> list[Partition]:
    """Return the partitions that a worker emptied before it died. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relname FROM pg_class c
             WHERE c.oid = ANY(%s::regclass[]) AND obj_description(c.oid, 'pg_class') = %s
            """,
            [[partition.tables[0] for partition in partitions], LEFT_KEYS],
        )
        names = {name for (name,) in cursor.fetchall()}
    return [partition for partition in partitions if partition.tables[0] in names]


def delete_left_keys(partition: Partition) -> None:
    """Delete the keys of messages that a partition has no more, of all sites."""
    for site_id in Site.objects.values_list("pk", flat=True):
        range_ = {"site_id": site_id, "pk__gte": partition.begin, "pk__lt": partition.end}
        _delete_keys(site_id, partition, list(Message.objects.filter(**range_).values_list("pk", flat=True)))
    note_keys(partition, are_left=False)


def drop_empty(partitions: Collection[Partition], swept: Collection[Partition] = ()) -> None:
    """Drop empty partitions, if no session holds the inbox for long, with keys that are left of those not swept."""
    for partition in partitions:
        messages, bodies = partition.tables
        try:
            if partition not in swept and not _has_rows(partition):
                for site_id in Site.objects.values_list("pk", flat=True):
                    _delete_keys(site_id, partition)
            with transaction.atomic(), connection.cursor() as cursor:
                limit_lock_waits(LOCK_SECONDS)
                # Before it looks, because an insert that has not committed is not seen.
                cursor.execute(f"LOCK TABLE {messages}, {bodies} IN SHARE ROW EXCLUSIVE MODE")
                if not _has_rows(partition):
                    cursor.execute(f"DROP TABLE {messages}, {bodies}")
        except (OperationalError, ProgrammingError) as error:
            if not _is_busy_or_gone(error):
                raise
            if is_lock_timeout(error):
                return


def _has_rows(partition: Partition) -> bool:
    """Return True if a partition has messages or bodies. One query."""
    messages, bodies = partition.tables
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT EXISTS (SELECT FROM {messages}) OR EXISTS (SELECT FROM {bodies})")
        return bool(cursor.fetchone()[0])


def prune_rows(retention: Retention, begin: int, end: int) -> Iterator[int]:
    """Delete the old messages of a site in a range of ids by chunks, and yield how many each had.

    It reads by pages in the order of ids, which is that of receipt, until all messages of a page are young. A page of
    messages that were received long ago and digested lately has none to delete, but a later one may have.
    """
    for statement in OLD_MESSAGES.values():
        parameters = retention.parameters(begin, end)
        while (page := prune_page(parameters, statement)).goes_on:
            yield page.pruned
            parameters["begin"] = page.last + 1
        yield page.pruned


class Page(NamedTuple):
    """Counts of a page of messages of a status that were looked at."""

    pruned: int
    last: int  # the highest id
    goes_on: bool  # until a page is not full, or has no message that was received long ago


AGE: Final = {Status.FAILED: "failed_before"}
OLD_MESSAGES: Final[Mapping[str, str]] = {
    status: f"""
SELECT m.id, m.received_at < %({AGE.get(status, "before")})s AS is_received_before, {OLD} AS is_old
  FROM api_message m WHERE {IN_RANGE} AND m.status = '{status.value}' ORDER BY m.id LIMIT %(chunk)s
"""
    for status in (Status.DONE, Status.REJECTED, Status.FAILED)
}


def prune_page(parameters: Mapping[str, Any], statement: str) -> Page:
    """Delete the old ones of the first CHUNK of a site's messages of a status and a range of ids. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            # IN (SELECT … LIMIT) may run once for each row of the table, which locks and deletes other rows each time.
            f"""
            WITH page AS MATERIALIZED ({statement}),
                 old AS MATERIALIZED (
                     -- It locks only rows that this statement deletes, because a row lock writes the row.
                     SELECT m.id FROM page JOIN api_message m ON m.id = page.id
                      WHERE {IN_RANGE} AND page.is_old AND {OLD} FOR UPDATE OF m SKIP LOCKED),
                 bodies AS (DELETE FROM api_messagebody b USING old WHERE b.site_id = %(site)s AND b.id = old.id),
                 keys AS (DELETE FROM api_messagekey k USING old WHERE k.site_id = %(site)s AND k.id = old.id),
                 pruned AS (DELETE FROM api_message m USING old WHERE m.site_id = %(site)s AND m.id = old.id
                            RETURNING 1)
            SELECT (SELECT count(*) FROM pruned), max(id),
                   count(*) = %(chunk)s AND bool_or(is_received_before) FROM page
            """,
            {**parameters, "chunk": CHUNK},
        )
        return Page(*cursor.fetchone())
