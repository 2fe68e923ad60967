"""Limits of refused events: identical ones are kept once, others up to a daily allowance of their source and reason.

Counts are collected in memory and written once a second by the nudger's thread, as budgets are (api.http.budgets). So
the excess is the number that the processes keep in about a second.
"""

import hashlib
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db import connection

from api.events.envelope import IncomingEvent
from api.http.database import once

if TYPE_CHECKING:
    import psycopg

MIB: Final = 2**20
# Refused because a source is switched off, not because of their content, so that each counts when it is retried.
SWITCHED_OFF: Final = frozenset({"integration_off", "source_off"})


@dataclass(frozen=True, slots=True)
class Allowance:
    """The most refused events and bytes of one source and reason that are kept on a day of UTC."""

    rows: int
    size: int


ALLOWANCE: Final = Allowance(1_000, 16 * MIB)  # people look at a few; a page has 50
SWITCHED_OFF_ALLOWANCE: Final = Allowance(10_000, 64 * MIB)  # as many as one retry takes (api.digest.replay)


@dataclass(frozen=True, slots=True)
class RefusalCounts:
    """Counts of refused events that were kept, identical to a kept one, and not kept."""

    kept: int = 0
    kept_bytes: int = 0
    copies: int = 0  # identical to a kept one
    not_kept: int = 0  # over the allowance: counted only

    def __add__(self, other: "RefusalCounts") -> "RefusalCounts":
        return RefusalCounts(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def __neg__(self) -> "RefusalCounts":
        return RefusalCounts(*(-one for one in astuple(self)))


@dataclass(frozen=True, slots=True)
class StoredRefusals:
    """The refused events that all processes had kept on the current day, and its end by this process's clock."""

    kept: int = 0
    kept_bytes: int = 0
    ends_at: float = 0.0


SourceReason = tuple[int, int, str]  # a site, its source and a reason

# A day is the database's.
WRITE: Final = """
INSERT INTO api_refusaltally AS t (site_id, source_id, day, reason, kept, kept_bytes, copies, not_kept, last_at)
SELECT %(site)b::bigint, n.source_id, (now() AT TIME ZONE 'UTC')::date, n.reason, n.kept, n.kept_bytes, n.copies,
       n.not_kept, now()
  FROM unnest(%(sources)b::bigint[], %(reasons)b::text[], %(kept)b::bigint[], %(kept_bytes)b::bigint[],
              %(copies)b::bigint[], %(not_kept)b::bigint[])
       AS n (source_id, reason, kept, kept_bytes, copies, not_kept)
 ORDER BY 2, 4
ON CONFLICT (site_id, source_id, day, reason) DO UPDATE
   SET kept = t.kept + excluded.kept, kept_bytes = t.kept_bytes + excluded.kept_bytes,
       copies = t.copies + excluded.copies, not_kept = t.not_kept + excluded.not_kept, last_at = excluded.last_at
RETURNING source_id, reason, kept, kept_bytes,
          extract(epoch FROM (day + 1)::timestamp AT TIME ZONE 'UTC' - clock_timestamp())::float8
"""
# Of a site on all kept days, with events that were retried since.
SITE_TOTALS: Final = """
SELECT coalesce(sum(t.kept), 0)::bigint, coalesce(sum(t.kept_bytes), 0)::bigint
  FROM api_source s JOIN api_refusaltally t ON t.site_id = s.site_id AND t.source_id = s.id
 WHERE s.site_id = %s
"""
COUNT_COPIES: Final = """
UPDATE api_message AS m SET copies = coalesce(m.copies, 0) + n.copies
  FROM unnest(%(keys)s::uuid[], %(copies)s::bigint[]) AS n (key, copies)
  JOIN api_messagekey k ON k.site_id = %(site)s AND k.key = n.key
 WHERE m.site_id = %(site)s AND m.id = k.id AND m.status = 'rejected'
"""


def make_refusal_key(source_id: int, event: IncomingEvent, *, secret: bytes) -> UUID | None:
    """Return a keyed hash that identical refused events of a source share: of type, reason, and messageId or body.

    It reveals nothing of them. None for an event without a messageId that counts when it is retried.
    """
    if event.message_id is None and event.reason in SWITCHED_OFF:
        return None
    parts = [str(source_id), event.type, event.reason, event.content_encoding]
    content = event.body if event.message_id is None else b"messageId " + event.message_id.encode()
    digest = hashlib.blake2b("\0".join(parts).encode() + b"\0" + content, digest_size=16, key=secret)
    return UUID(bytes=digest.digest())


class RefusalCounter:
    """Counts the refused events of one process, kept and not kept."""

    def __init__(self) -> None:
        self._unwritten: dict[SourceReason, RefusalCounts] = {}
        self._seen: dict[SourceReason, StoredRefusals] = {}
        self._of_sites: dict[int, tuple[int, int]] = {}  # rows and bytes
        self._copies: dict[tuple[int, UUID], int] = {}
        self._lock = threading.Lock()

    def take(self, site_id: int, source_id: int, reason: str, size: int, *, room: tuple[int, int]) -> bool:
        """Count an event, and return True if it may be kept.

        `room` is the number of messages and bytes that the site's limit has left for refused events.
        """
        allowance = SWITCHED_OFF_ALLOWANCE if reason in SWITCHED_OFF else ALLOWANCE
        key = (site_id, source_id, reason)
        with self._lock:
            counts, seen = self._unwritten.get(key, RefusalCounts()), self._seen.get(key, StoredRefusals())
            if time.monotonic() >= seen.ends_at:
                seen = StoredRefusals()
            rows_of_site, size_of_site = self._of_sites.get(site_id, (0, 0))
            fits = (
                counts.kept + seen.kept < allowance.rows
                and counts.kept_bytes + seen.kept_bytes + size <= allowance.size
                and rows_of_site < room[0]
                and size_of_site < room[1]
            )
            self._unwritten[key] = counts + (
                RefusalCounts(kept=1, kept_bytes=size) if fits else RefusalCounts(not_kept=1)
            )
        return fits

    def give_back(self, site_id: int, source_id: int, reason: str, size: int) -> None:
        """Subtract an event that could not be stored."""
        self._add((site_id, source_id, reason), RefusalCounts(kept=-1, kept_bytes=-size))

    def note_copy(self, site_id: int, source_id: int, reason: str, size: int, key: UUID) -> None:
        """Count an event as a copy of an identical one that was kept before."""
        self._add((site_id, source_id, reason), RefusalCounts(kept=-1, kept_bytes=-size, copies=1))
        with self._lock:
            self._copies[site_id, key] = self._copies.get((site_id, key), 0) + 1

    @property
    def is_written(self) -> bool:
        """Return True if all counts are in the tables."""
        return not self._unwritten and not self._copies

    def write(self, connection: "psycopg.Connection[Any]") -> None:
        """Write the counts, and read those of all processes. Three queries a site, and a transaction for the counts.

        Counts that cannot be written stay for the next time. Raises psycopg.Error.
        """
        with self._lock:
            counts, copies = dict(self._unwritten), dict(self._copies)
        if counts:
            self._write(connection, counts)
        if copies:
            for site_id, of_site in groupby(sorted(copies.items()), key=lambda item: item[0][0]):
                written = dict(of_site)
                keys = [key for _, key in written]
                connection.execute(COUNT_COPIES, {"site": site_id, "keys": keys, "copies": list(written.values())})
                with self._lock:  # at once: the statement of the next site may fail
                    for key, count in written.items():
                        self._copies[key] -= count
                        if not self._copies[key]:
                            del self._copies[key]

    def _write(self, connection: "psycopg.Connection[Any]", counts: Mapping[SourceReason, RefusalCounts]) -> None:
        rows, of_sites = [], {}
        with connection.transaction():
            for site_id, of_site in groupby(sorted(counts), key=lambda key: key[0]):
                parameters = _parameters(site_id, {key: counts[key] for key in of_site})
                rows += [(site_id, *row) for row in connection.execute(WRITE, parameters).fetchall()]
                of_sites[site_id] = connection.execute(SITE_TOTALS, [site_id]).fetchone()
        now = time.monotonic()
        for key, written in counts.items():
            self._add(key, -written)
        with self._lock:
            self._unwritten = {key: left for key, left in self._unwritten.items() if left != RefusalCounts()}
            for site_id, source_id, reason, kept, kept_bytes, seconds in rows:
                self._seen[site_id, source_id, reason] = StoredRefusals(kept, kept_bytes, now + seconds)
            self._of_sites |= {site_id: row for site_id, row in of_sites.items() if row is not None}

    def _add(self, key: SourceReason, counts: RefusalCounts) -> None:
        with self._lock:
            self._unwritten[key] = self._unwritten.get(key, RefusalCounts()) + counts


def _parameters(site_id: int, counts: Mapping[SourceReason, RefusalCounts]) -> dict[str, Any]:
    """Return the parameters of WRITE."""
    return {
        "site": site_id,
        "sources": [source_id for _, source_id, _ in counts],
        "reasons": [reason for _, _, reason in counts],
        "kept": [of_key.kept for of_key in counts.values()],
        "kept_bytes": [of_key.kept_bytes for of_key in counts.values()],
        "copies": [of_key.copies for of_key in counts.values()],
        "not_kept": [of_key.not_kept for of_key in counts.values()],
    }


@once
def refusal_counter() -> RefusalCounter:
    """Return the counter of this process."""
    return RefusalCounter()


def load_refusal_counts(site_id: int, source_ids: Collection[int]) -> dict[int, dict[str, RefusalCounts]]:
    """Return the counts of a site's refused events by source and reason, of all kept days. One query by keys."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT source_id, reason, sum(kept)::bigint, sum(kept_bytes)::bigint, sum(copies)::bigint,
                   sum(not_kept)::bigint
              FROM api_refusaltally WHERE site_id = %s AND source_id = ANY(%s) GROUP BY 1, 2 ORDER BY 1, 2
            """,
            [site_id, list(source_ids)],
        )
        found: dict[int, dict[str, RefusalCounts]] = {source_id: {} for source_id in source_ids}
        for source_id, reason, *figures in cursor.fetchall():
            found[source_id][reason] = RefusalCounts(*figures)
    return found
