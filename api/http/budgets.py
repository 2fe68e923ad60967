"""Budgets of sources for a minute and a day, counted in memory and written once a second by the nudger's thread.

A process refuses by the sum of the written use of all processes and its own unwritten use. So the excess is at most
the use of about a second, and one request for each thread.
"""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from django.db import connection

from api.http.database import once
from api.models.budgets import Budget, BudgetSpan

if TYPE_CHECKING:
    import psycopg

MINUTE: Final = 60.0  # seconds
NO_RETRY_FACTOR: Final = 2  # times the budget, for a sender that never sends again


@dataclass(frozen=True, slots=True)
class ExhaustedBudget:
    """A used-up budget, and the seconds until it begins again."""

    span: BudgetSpan
    unit: str  # events or bytes
    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """The use of a source in a span, and the number of requests that its budget refused."""

    events: int = 0
    bytes: int = 0
    turned_away: int = 0


@dataclass(slots=True)
class StoredUse:
    """The use of a span that all processes had written, and the end of the span by this process's clock."""

    events: int = 0
    bytes: int = 0
    ends_at: float = 0.0


class UseCounter:
    """The use of one source: in this process and not written yet, and in all processes."""

    __slots__ = ("bytes", "day", "events", "minute", "since", "site_id", "turned_away")

    def __init__(self, site_id: int) -> None:
        self.site_id = site_id
        self.events = self.bytes = self.turned_away = 0
        self.since = 0.0  # the time of the first unwritten use
        self.minute = self.day = StoredUse()

    @property
    def is_unwritten(self) -> bool:
        return bool(self.events or self.bytes or self.turned_away)


@dataclass(frozen=True, slots=True)
class UnwrittenUse:
    """The use of one source that is about to be written."""

    site_id: int
    source_id: int
    events: int
    bytes: int
    turned_away: int
    is_late: bool  # for minutes that are over


# Times are the database's, because the clocks of hosts differ. A new span starts at zero. Use that could not be written
# for longer than a minute belongs to minutes that are over.
WRITE: Final = """
INSERT INTO api_sourceuse AS u (site_id, source_id, span, begins_at, events, bytes, turned_away)
SELECT %(site)b::bigint, n.source_id, s.span, date_trunc(s.span, now(), 'UTC'),
       CASE WHEN n.is_late AND s.span = 'minute' THEN 0 ELSE n.events END,
       CASE WHEN n.is_late AND s.span = 'minute' THEN 0 ELSE n.bytes END, n.turned_away
  FROM unnest(%(sources)b::bigint[], %(events)b::bigint[], %(bytes)b::bigint[], %(turned_away)b::bigint[],
              %(late)b::bool[])
       AS n (source_id, events, bytes, turned_away, is_late)
 CROSS JOIN (VALUES ('minute'), ('day')) AS s (span)
 ORDER BY 2, 3
ON CONFLICT (site_id, source_id, span) DO UPDATE
   SET begins_at = excluded.begins_at,
       events = excluded.events + CASE WHEN u.begins_at = excluded.begins_at THEN u.events ELSE 0 END,
       bytes = excluded.bytes + CASE WHEN u.begins_at = excluded.begins_at THEN u.bytes ELSE 0 END,
       turned_away = excluded.turned_away
                     + CASE WHEN u.begins_at = excluded.begins_at THEN u.turned_away ELSE 0 END
RETURNING source_id, span, events, bytes,
          extract(epoch FROM begins_at + ('1 ' || span)::interval - clock_timestamp())::float8
"""


class BudgetCounter:
    """The use of all sources, as far as a process knows it."""

    def __init__(self) -> None:
        self._counters: dict[int, UseCounter] = {}
        self._lock = threading.Lock()

    def count(self, site_id: int, source_id: int, *, events: int = 0, size: int = 0) -> None:
        """Count use of a source. Negative use returns what was not stored because of a server error."""
        with self._lock:
            counter = self._counters.get(source_id)
            if counter is None:
                counter = self._counters[source_id] = UseCounter(site_id)
            if not counter.events and not counter.bytes:
                counter.since = time.monotonic()
            counter.events += events
            counter.bytes += size

    def find_exhausted(self, source_id: int, budget: Budget, *, times: int = 1) -> ExhaustedBudget | None:
        """Return a used-up budget of a source, the day's before the minute's, and count the refusal."""
        counter = self._counters.get(source_id)
        if counter is None:
            return None
        now = time.monotonic()
        for span, seen, most_events, most_bytes in (
            (BudgetSpan.DAY, counter.day, budget.events_per_day, budget.bytes_per_day),
            (BudgetSpan.MINUTE, counter.minute, budget.events_per_minute, budget.bytes_per_minute),
        ):
            is_late = span == BudgetSpan.MINUTE and now - counter.since > MINUTE
            events, size = (0, 0) if is_late else (counter.events, counter.bytes)
            if now < seen.ends_at:
                events += seen.events
                size += seen.bytes
            is_events = events >= most_events * times
            if is_events or size >= most_bytes * times:
                with self._lock:
                    counter.turned_away += 1
                seconds = max(1.0, seen.ends_at - now)
                return ExhaustedBudget(
                    span, "events" if is_events else "bytes", most_events if is_events else most_bytes, seconds
                )
        return None

    def write(self, connection: "psycopg.Connection[Any]") -> None:
        """Write the counts, and read those of all processes. One query a site, in one transaction.

        Counts that cannot be written stay for the next time. Raises psycopg.Error.
        """
        with self._lock:
            now = time.monotonic()
            unwritten = sorted(
                (
                    UnwrittenUse(
                        counter.site_id,
                        source_id,
                        counter.events,
                        counter.bytes,
                        counter.turned_away,
                        is_late=now - counter.since > MINUTE,
                    )
                    for source_id, counter in self._counters.items()
                    if counter.is_unwritten
                ),
                key=attrgetter("site_id", "source_id"),
            )
        if not unwritten:
            return
        with connection.transaction():
            stored = [
                row
                for site_id, of_site in groupby(unwritten, key=attrgetter("site_id"))
                for row in connection.execute(WRITE, _parameters(site_id, list(of_site))).fetchall()
            ]
        now = time.monotonic()
        with self._lock:
            for use in unwritten:
                counter = self._counters[use.source_id]
                counter.events -= use.events
                counter.bytes -= use.bytes
                counter.turned_away -= use.turned_away
                counter.since = now
            for source_id, span, events, size, seconds in stored:
                setattr(self._counters[source_id], span, StoredUse(events, size, now + seconds))

    @property
    def is_written(self) -> bool:
        """Return True if all counts are in the table."""
        return not any(counter.is_unwritten for counter in list(self._counters.values()))


def _parameters(site_id: int, unwritten: Sequence[UnwrittenUse]) -> dict[str, Any]:
    """Return the parameters of WRITE."""
    return {
        "site": site_id,
        "sources": [use.source_id for use in unwritten],
        "events": [use.events for use in unwritten],
        "bytes": [use.bytes for use in unwritten],
        "turned_away": [use.turned_away for use in unwritten],
        "late": [use.is_late for use in unwritten],
    }


@once
def budget_counter() -> BudgetCounter:
    """Return the counter of this process."""
    return BudgetCounter()


def load_use(site_id: int, source_ids: Collection[int]) -> Mapping[int, Mapping[BudgetSpan, BudgetUse]]:
    """Return the use of these sources of a site in the current minute and on the current day. One query by keys."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT source_id, span, events, bytes, turned_away FROM api_sourceuse
             WHERE site_id = %s AND source_id = ANY(%s) AND begins_at = date_trunc(span, now(), 'UTC')
            """,
            [site_id, list(source_ids)],
        )
        found: dict[int, dict[BudgetSpan, BudgetUse]] = {
            id_: {span: BudgetUse() for span in BudgetSpan} for id_ in source_ids
        }
        for source_id, span, *figures in cursor.fetchall():
            found[source_id][BudgetSpan(span)] = BudgetUse(*figures)
    return found
