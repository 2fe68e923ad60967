"""Partitions of the inbox by day of receipt, so that old messages leave by DROP.

The id of a message begins with a day: the days since 1970, times IDS_A_DAY. A partition has the ids of a day, or of
several days if a site keeps messages for years. Nothing depends on the day of an id but the time at which it may leave.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import Max

from api.models import Site
from sessions import LockSpace, lock_until_commit

IDS_A_DAY: Final = 10**9
AHEAD: Final = 2  # empty partitions after the current one
MOST: Final = 90  # partitions of the longest retention, because a statement that names no id plans all of them
FAILED_DAYS: Final = 90  # at least, because an operator needs time to fix the cause
TABLES: Final = ("api_message", "api_messagebody")
BOUNDS: Final = re.compile(r"FROM \((?:'?(\d+)'?|MINVALUE)\) TO \('?(\d+)'?\)")
INDEXES: Final = """
SELECT i.inhrelid::regclass::text, i.inhparent::regclass::text
  FROM pg_index x JOIN pg_inherits i ON i.inhrelid = x.indexrelid WHERE x.indrelid = %s::regclass
"""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Partition:
    """A range of ids of the inbox, with a table of messages and one of bodies."""

    suffix: str  # of both tables
    begin: int
    end: int  # the first id of the next one

    @property
    def tables(self) -> list[str]:
        return [f"{table}{self.suffix}" for table in TABLES]

    @property
    def days(self) -> int:
        return (self.end - self.begin) // IDS_A_DAY

    @property
    def ends_at(self) -> datetime:
        """Return the time at which its days are over."""
        return EPOCH + timedelta(days=self.end // IDS_A_DAY)


def load_partitions() -> list[Partition]:
    """Return the partitions of the inbox, oldest first. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.relname, pg_get_expr(c.relpartbound, c.oid)
              FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
             WHERE i.inhparent = 'api_message'::regclass
            """
        )
        rows = [(name, BOUNDS.findall(bounds)[0]) for name, bounds in cursor.fetchall()]
    partitions = (Partition(name.removeprefix(TABLES[0]), int(begin or 0), int(end)) for name, (begin, end) in rows)
    return sorted(partitions, key=lambda partition: partition.begin)


def last_id() -> int:
    """Return the last id that was drawn. One query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT last_value FROM api_message_id_seq")
        id_: int = cursor.fetchone()[0]
        return id_


def advance_ids(*, now: datetime) -> bool:
    """Add partitions ahead, and draw ids from the next one once its first day has come. Return True if it has.

    At most one step a call: if a clock is years ahead for a minute, later ids are a day ahead, not years. A clock that
    goes back changes nothing. Without this function, ids only run on in an older partition.
    """
    _add_partitions_ahead()
    with transaction.atomic(), connection.cursor() as cursor:
        lock_until_commit(LockSpace.PARTITIONS)
        last = last_id()
        # Committed partitions only, because a sequence keeps its new value even if this transaction fails.
        following = next((partition for partition in load_partitions() if partition.begin > last), None)
        if following is None or following.begin > (now - EPOCH).days * IDS_A_DAY:
            return False
        cursor.execute(
            # In the steps of a sequence that several servers share (docker/README.md).
            """
            SELECT setval('api_message_id_seq', %(begin)s + mod(mod(%(last)s - %(begin)s, seqincrement) + seqincrement,
                                                                seqincrement))
              FROM pg_sequence WHERE seqrelid = 'api_message_id_seq'::regclass
            """,
            {"begin": following.begin, "last": last},
        )
    _analyze()
    return True


def _add_partitions_ahead() -> None:
    """Add partitions until AHEAD of them are after the current one."""
    with transaction.atomic():
        lock_until_commit(LockSpace.PARTITIONS)
        partitions, last = load_partitions(), last_id()
        later = [partition for partition in partitions if partition.begin > last]
        while len(later) < AHEAD:
            later.append(_add_partition(max(partitions[-1].end, later[-1].end if later else 0), days=_count_days()))


def _analyze() -> None:
    """Analyze the inbox as a whole, because autovacuum analyzes partitions only. A held table is left out."""
    with connection.cursor() as cursor:
        for table in TABLES:
            try:
                cursor.execute(f"ANALYZE {table}")
            except OperationalError:
                log.warning("inbox.not_analyzed", table=table)


def _count_days() -> int:
    """Return the days of a new partition, so that the longest retention has MOST of them."""
    longest = Site.objects.aggregate(days=Max("keeps_done_days"))["days"] or 0
    return -(-max(longest, settings.KEEP_DONE_DAYS, FAILED_DAYS) // MOST)


def _add_partition(begin: int, *, days: int) -> Partition:
    """Add an empty partition. It locks neither the inbox nor other partitions: ATTACH lets statements go on."""
    partition = Partition(f"_{begin // IDS_A_DAY}", begin, begin + days * IDS_A_DAY)
    with connection.cursor() as cursor:
        for parent, table in zip(TABLES, partition.tables, strict=True):
            cursor.execute(f"CREATE TABLE {table} (LIKE {parent} INCLUDING ALL)")
            cursor.execute(
                f"ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES FROM ({begin}) TO ({partition.end})"
            )
            cursor.execute(INDEXES, [table])
            for index, of_parent in cursor.fetchall():  # so that a plan shows which index it uses
                cursor.execute(f"ALTER INDEX {index} RENAME TO {of_parent}{partition.suffix}")
    return partition
