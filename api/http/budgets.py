"""Budgets of sources, a minute and a day: counted in memory, added up once a second by the nudger's thread.

A process refuses by the sum of what all processes had written and what it has counted itself since then. So the excess
is what a process takes in about a second, and one request for each of its threads.
"""

import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
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
    """A budget that is used up, and for how many seconds."""

    span: BudgetSpan
    what: str  # events or bytes
    limit: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """The use of a source in a span, and how many requests were refused because of its budget."""

    events: int = 0
    bytes: int = 0
    turned_away: int = 0


@dataclass(slots=True)
class StoredUse:
    """The use that all processes had written of a span, and when the span ends by this process's own clock."""

    events: int = 0
    bytes: int = 0
    ends_at: float = 0.0


class UseCounter:
    """The use of one source: through this process and not written yet, and through all processes."""

    __slots__ = ("bytes", "day", "events", "minute", "since", "turned_away")

    def __init__(self) -> None:
        self.events = self.bytes = self.turned_away = 0
        self.since = 0.0  # when the first of what is not written came
        self.minute = self.day = StoredUse()


# Times are the database's: hosts whose clocks differ share one minute. A span that has begun since starts at zero. What
# could not be written for longer than a minute is of minutes that are over.
WRITE: Final = """
INSERT INTO api_sourceuse AS u (source_id, span, begins_at, events, bytes, turned_away)
SELECT n.source_id, s.span, date_trunc(s.span, now(), 'UTC'),
       CASE WHEN n.is_late AND s.span = 'minute' THEN 0 ELSE n.events END,
       CASE WHEN n.is_late AND s.span = 'minute' THEN 0 ELSE n.bytes END, n.turned_away
  FROM unnest(%(sources)b::bigint[], %(events)b::bigint[], %(bytes)b::bigint[], %(turned_away)b::bigint[],
              %(late)b::bool[])
       AS n (source_id, events, bytes, turned_away, is_late)
 CROSS JOIN (VALUES ('minute'), ('day')) AS s (span)
 ORDER BY 1, 2
ON CONFLICT (source_id, span) DO UPDATE
   SET begins_at = excluded.begins_at,
       events = excluded.events + CASE WHEN u.begins_at = excluded.begins_at THEN u.events ELSE 0 END,
       bytes = excluded.bytes + CASE WHEN u.begins_at = excluded.begins_at THEN u.bytes ELSE 0 END,
       turned_away = excluded.turned_away
                     + CASE WHEN u.begins_at = excluded.begins_at THEN u.turned_away ELSE 0 END
RETURNING source_id, span, events, bytes,
          extract(epoch FROM begins_at + ('1 ' || span)::interval - clock_timestamp())::float8
"""


class BudgetCounter:
    """The use of all sources, as far as a process knows."""

    def __init__(self) -> None:
        self._accounts: dict[int, UseCounter] = {}
        self._lock = threading.Lock()

    def spend(self, source_id: int, *, events: int = 0, size: int = 0) -> None:
        """Count what came through a source; less than zero gives back what was not stored because of a fault here."""
        with self._lock:
            account = self._account(source_id)
            if not account.events and not account.bytes:
                account.since = time.monotonic()
            account.events += events
            account.bytes += size

    def find_over(self, source_id: int, budget: Budget, *, times: int = 1) -> ExhaustedBudget | None:
        """Return the budget that a source has used up, the one that ends last first, and count the refusal."""
        account = self._accounts.get(source_id)
        if account is None:
            return None
        now = time.monotonic()
        for span, seen, most_events, most_bytes in (
            (BudgetSpan.DAY, account.day, budget.events_per_day, budget.bytes_per_day),
            (BudgetSpan.MINUTE, account.minute, budget.events_per_minute, budget.bytes_per_minute),
        ):
            is_late = span == BudgetSpan.MINUTE and now - account.since > MINUTE
            events, size = (0, 0) if is_late else (account.events, account.bytes)
            if now < seen.ends_at:
                events += seen.events
                size += seen.bytes
            is_events = events >= most_events * times
            if is_events or size >= most_bytes * times:
                with self._lock:
                    account.turned_away += 1
                seconds = max(1.0, seen.ends_at - now)
                return ExhaustedBudget(
                    span, "events" if is_events else "bytes", most_events if is_events else most_bytes, seconds
                )
        return None

    def write(self, link: "psycopg.Connection[Any]") -> None:
        """Write what was counted, and read what all processes have. One query; it is the connection's to commit.

        What could not be written stays for the next time. Raises psycopg.Error.
        """
        with self._lock:
            now = time.monotonic()
            late = {source_id for source_id, account in self._accounts.items() if now - account.since > MINUTE}
            counts = {
                source_id: (account.events, account.bytes, account.turned_away)
                for source_id, account in sorted(self._accounts.items())
                if account.events or account.bytes or account.turned_away
            }
        if not counts:
            return
        columns = dict(
            zip(("events", "bytes", "turned_away"), map(list, zip(*counts.values(), strict=True)), strict=True)
        )
        columns["late"] = [source_id in late for source_id in counts]
        rows = link.execute(WRITE, {"sources": list(counts), **columns}).fetchall()
        now = time.monotonic()
        with self._lock:
            for source_id, (events, size, turned_away) in counts.items():
                account = self._account(source_id)
                account.events -= events
                account.bytes -= size
                account.turned_away -= turned_away
                account.since = now
            for source_id, span, events, size, seconds in rows:
                setattr(self._account(source_id), span, StoredUse(events, size, now + seconds))

    @property
    def is_written(self) -> bool:
        """Return whether everything that was counted is in the table."""
        return not any(each.events or each.bytes or each.turned_away for each in list(self._accounts.values()))

    def _account(self, source_id: int) -> UseCounter:
        account = self._accounts.get(source_id)
        if account is None:
            account = self._accounts[source_id] = UseCounter()
        return account


@once
def budget_counter() -> BudgetCounter:
    """Return this process's."""
    return BudgetCounter()


def load_use(source_ids: Collection[int]) -> Mapping[int, Mapping[BudgetSpan, BudgetUse]]:
    """Return what these sources have sent in the minute and on the day that are now. One query by keys."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT source_id, span, events, bytes, turned_away FROM api_sourceuse
             WHERE source_id = ANY(%s) AND begins_at = date_trunc(span, now(), 'UTC')
            """,
            [list(source_ids)],
        )
        found: dict[int, dict[BudgetSpan, BudgetUse]] = {
            id_: {span: BudgetUse() for span in BudgetSpan} for id_ in source_ids
        }
        for source_id, span, *figures in cursor.fetchall():
            found[source_id][BudgetSpan(span)] = BudgetUse(*figures)
    return found
