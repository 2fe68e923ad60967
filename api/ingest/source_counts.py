"""Counts of messages by source and hour, collected in memory and written once a second by the nudger's thread.

In the commits themselves they cost a tenth of each. A web process that is killed loses the counts of its last second,
but no message.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from itertools import groupby
from typing import Any, Final

import psycopg
from django.db import connection

from api.ingest.new_message import NewMessage

SourceHour = tuple[int, int, datetime]  # the site, its source, and the hour
HourlyCounts = Mapping[SourceHour, "SourceCounts"]

WRITE: Final = """
INSERT INTO api_sourcetally AS t (site_id, source_id, hour, received, duplicates, rejected, last_received_at)
SELECT %b::bigint, n.*
  FROM unnest(%b::bigint[], %b::timestamptz[], %b::bigint[], %b::bigint[], %b::bigint[], %b::timestamptz[]) AS n
ON CONFLICT (site_id, source_id, hour) DO UPDATE
   SET received = t.received + excluded.received, duplicates = t.duplicates + excluded.duplicates,
       rejected = t.rejected + excluded.rejected,
       last_received_at = greatest(t.last_received_at, excluded.last_received_at)
"""


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """Counts of messages received from a source, duplicates and refused ones included."""

    received: int = 0
    duplicates: int = 0
    rejected: int = 0
    last_received_at: datetime | None = None


def count_messages(rows: Iterable[NewMessage], is_new: Iterable[bool]) -> HourlyCounts:
    """Return the counts of these messages, of which some were new to the inbox."""
    counts: dict[SourceHour, SourceCounts] = {}
    for row, new in zip(rows, is_new, strict=True):
        if row.source_id is not None:
            at = row.event.received_at
            is_refused = bool(row.event.reason)
            one = SourceCounts(1, int(not new and not is_refused), int(is_refused), at)
            key = (row.site_id, row.source_id, at.replace(minute=0, second=0, microsecond=0))
            counts[key] = add_counts(counts.get(key, SourceCounts()), one)
    return counts


def write_counts(connection: "psycopg.Connection[Any]", counts: HourlyCounts) -> None:
    """Add counts to those in the table, in the order of their keys. One query a site, in one transaction."""
    if not counts:
        return
    with connection.transaction():
        for site_id, of_site in groupby(sorted(counts.items()), key=lambda row: row[0][0]):
            rows = list(of_site)
            connection.execute(
                WRITE,
                [
                    site_id,
                    [source for (_, source, _), _ in rows],
                    [hour for (_, _, hour), _ in rows],
                    [counts.received for _, counts in rows],
                    [counts.duplicates for _, counts in rows],
                    [counts.rejected for _, counts in rows],
                    [counts.last_received_at for _, counts in rows],
                ],
            )


class UnwrittenCounts:
    """The counts of a process that are not written yet."""

    def __init__(self) -> None:
        self._counts: dict[SourceHour, SourceCounts] = {}
        self._lock = threading.Lock()

    def add(self, counts: HourlyCounts) -> None:
        with self._lock:
            for key, added in counts.items():
                self._counts[key] = add_counts(self._counts.get(key, SourceCounts()), added)

    @property
    def is_written(self) -> bool:
        """Return True if all counts are in the table."""
        return not self._counts

    def write(self, connection: "psycopg.Connection[Any]") -> None:
        """Write all counts. Counts that cannot be written stay for the next time. Raises psycopg.Error."""
        with self._lock:
            counts, self._counts = self._counts, {}
        try:
            write_counts(connection, counts)
        except psycopg.Error:
            self.add(counts)
            raise


def sum_counts(counts: Iterable[SourceCounts]) -> SourceCounts:
    """Return the sum of counts. Pure."""
    return reduce(add_counts, counts, SourceCounts())


def add_counts(one: SourceCounts, other: SourceCounts) -> SourceCounts:
    """Return the sum of two counts. Pure."""
    times = [at for at in (one.last_received_at, other.last_received_at) if at is not None]
    return SourceCounts(
        one.received + other.received,
        one.duplicates + other.duplicates,
        one.rejected + other.rejected,
        max(times, default=None),
    )


def begin_of_last_day(now: datetime) -> datetime:
    """Return when the last 24 whole hours began, of which the current one is the last, as in Delivery. Pure."""
    return now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)


def load_source_counts(
    site_id: int, source_ids: Collection[int], *, since: datetime | None = None
) -> dict[int, SourceCounts]:
    """Return the counts of these sources of a site, in whole hours from that of `since`, or of all time. One query.

    A source without messages is left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT source_id, sum(received)::bigint, sum(duplicates)::bigint, sum(rejected)::bigint,
                   max(last_received_at)
              FROM api_sourcetally
             WHERE site_id = %s AND source_id = ANY(%b::bigint[])
               AND hour >= coalesce(date_trunc('hour', %s, 'UTC'), '-infinity')
             GROUP BY source_id
            """,
            [site_id, list(source_ids), since],
        )
        return {source_id: SourceCounts(*columns) for source_id, *columns in cursor.fetchall()}
