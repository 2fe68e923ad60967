"""Delivery of events: received by source and time, outcomes, reasons and lag."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from django.db import connection

from api.ingest.source_counts import SourceCounts
from api.models import Message

OUTCOMES_LOOK: Final = 50_000  # the newest messages whose outcomes are counted: some 150 ms
LAG_LOOK: Final = 10_000  # the newest digested messages whose lag is measured: some 20 ms
FAILED_LOOK: Final = 10_000  # the newest rejected and failed ones, whose reasons are counted: some 20 ms
SAMPLES: Final = 10


class DeliveryPeriod(StrEnum):
    DAY = "24h"  # by the hour
    FORTNIGHT = "14d"  # by the day of UTC

    @property
    def step(self) -> timedelta:
        return timedelta(hours=1) if self == DeliveryPeriod.DAY else timedelta(days=1)

    @property
    def steps(self) -> int:
        return 24 if self == DeliveryPeriod.DAY else 14

    def times(self, now: datetime) -> list[datetime]:
        """Return the beginnings of the steps, the oldest first; the last step contains `now`."""
        last = now.replace(minute=0, second=0, microsecond=0)
        if self == DeliveryPeriod.FORTNIGHT:
            last = last.replace(hour=0)
        return [last - self.step * back for back in reversed(range(self.steps))]


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds from receipt to digest of events that neither waited for the new-goal limit nor were retried."""

    messages: int
    p50: float = 0
    p95: float = 0
    p99: float = 0


@dataclass(slots=True)
class ReasonCount:
    """Count of the messages with one reason, and the newest of them."""

    code: str
    status: str
    count: int = 0
    samples: list[int] = field(default_factory=list)

    @property
    def label(self) -> str:
        return Message.Status(self.status).label


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes of the newest messages."""

    messages: int
    since: datetime | None  # the oldest message counted; None if there was none
    is_cut: bool  # there are older ones
    by_time: dict[datetime, Counter[str]]  # by the step of their receipt; converted, done, ignored or a status
    by_source: dict[int | None, Counter[str]]
    reasons: list[ReasonCount]  # the most frequent first

    def of_source(self, source_id: int) -> "Outcomes":
        """Return the counts of one source, without times and reasons."""
        counts = self.by_source.get(source_id, Counter())
        return replace(self, messages=counts.total(), by_source={source_id: counts}, by_time={}, reasons=[])

    @property
    def failed(self) -> int:
        """Return how many were rejected or failed."""
        return sum(counts["rejected"] + counts["failed"] for counts in self.by_source.values())

    @property
    def decided(self) -> int:
        """Return how many are no longer queued."""
        waiting = sum(counts["pending"] + counts["deferred"] for counts in self.by_source.values())
        return self.messages - waiting

    @property
    def success_rate(self) -> float | None:
        """Return the per cent of decided messages that were neither rejected nor failed, None if none is decided."""
        return 100 * (self.decided - self.failed) / self.decided if self.decided else None


def received_by_source(
    site_id: int, source_ids: Sequence[int], *, span: DeliveryPeriod, now: datetime
) -> dict[int, dict[datetime, SourceCounts]]:
    """Return what these sources of a site received, by source and step. One query by the key."""
    times = span.times(now)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT source_id, date_trunc(%s, hour, 'UTC'), sum(received)::bigint, sum(duplicates)::bigint,
                   sum(rejected)::bigint, max(last_received_at)
              FROM api_sourcetally WHERE site_id = %s AND source_id = ANY(%s) AND hour >= %s
             GROUP BY 1, 2
            """,
            ["hour" if span == DeliveryPeriod.DAY else "day", site_id, list(source_ids), times[0]],
        )
        received: dict[int, dict[datetime, SourceCounts]] = {}
        for source_id, at, *figures in cursor.fetchall():
            received.setdefault(source_id, {})[at] = SourceCounts(*figures)
    return received


def count_outcomes(site_id: int, *, span: DeliveryPeriod, now: datetime, source_id: int | None = None) -> Outcomes:
    """Return the outcomes of the newest OUTCOMES_LOOK messages of a site that were received in this span. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH newest AS MATERIALIZED (
                SELECT id, source_id, received_at, status, reason, effects FROM api_message
                 WHERE site_id = %(site)s ORDER BY id DESC LIMIT %(look)s
            )
            SELECT date_trunc(%(step)s, received_at, 'UTC'), source_id, status, reason,
                   CASE WHEN status <> 'done' THEN status
                        WHEN 'converted' = ANY(effects) THEN 'converted'
                        WHEN 'nothing' = ANY(effects) THEN 'ignored'
                        ELSE 'done' END AS outcome,
                   count(*), min(received_at), (SELECT count(*) FROM newest),
                   (array_agg(id ORDER BY id DESC) FILTER (WHERE reason <> ''))[:%(samples)s]
              FROM newest
             WHERE received_at >= %(since)s AND (%(source)s::bigint IS NULL OR source_id = %(source)s)
             GROUP BY 1, 2, 3, 4, 5
             ORDER BY 1 DESC
            """,
            {
                "site": site_id,
                "look": OUTCOMES_LOOK,
                "step": "hour" if span == DeliveryPeriod.DAY else "day",
                "since": span.times(now)[0],
                "source": source_id,
                "samples": SAMPLES,
            },
        )
        rows = cursor.fetchall()
    by_time: dict[datetime, Counter[str]] = {}
    by_source: dict[int | None, Counter[str]] = {}
    reasons: dict[tuple[str, str], ReasonCount] = {}
    for at, source, status, reason, outcome, count, _, _, samples in rows:
        by_time.setdefault(at, Counter())[outcome] += count
        by_source.setdefault(source, Counter())[outcome] += count
        if reason:
            _add(reasons, reason, status, count, samples)
    return Outcomes(
        messages=sum(row[5] for row in rows),
        since=min((row[6] for row in rows), default=None),
        is_cut=bool(rows) and rows[0][7] >= OUTCOMES_LOOK,
        by_time=by_time,
        by_source=by_source,
        reasons=_sorted(reasons),
    )


def count_failures(site_id: int) -> list[ReasonCount]:
    """Count the reasons of a site's rejected and failed messages, the most frequent first.

    It reads the newest FAILED_LOOK of each status by their index, whatever their age. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT status, reason, count(*), (array_agg(id ORDER BY id DESC))[:%(samples)s]
              FROM (VALUES ('rejected'), ('failed')) AS kind (name)
              JOIN LATERAL (
                SELECT id, status, reason FROM api_message
                 WHERE site_id = %(site)s AND status = kind.name AND status IN ('rejected', 'failed')
                 ORDER BY id DESC LIMIT %(look)s
              ) AS m ON true
             GROUP BY 1, 2
            """,
            {"site": site_id, "look": FAILED_LOOK, "samples": SAMPLES},
        )
        reasons: dict[tuple[str, str], ReasonCount] = {}
        for status, reason, count, samples in cursor.fetchall():
            _add(reasons, reason, status, count, samples)
    return _sorted(reasons)


def measure_lag(site_id: int, *, since: datetime, source_id: int | None = None) -> Lag:
    """Return how long the messages took that were digested since then: the lag of every page and alert.

    It looks at the newest LAG_LOOK among the newest OUTCOMES_LOOK of a site. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY took) FROM (
                SELECT extract(epoch FROM digested_at - received_at)::float8 AS took, source_id, digested_at
                  FROM (SELECT * FROM api_message WHERE site_id = %(site)s ORDER BY id DESC LIMIT %(most)s) AS newest
                 WHERE isfinite(digested_at) AND isfinite(received_at) AND NOT has_waited
                 ORDER BY id DESC LIMIT %(look)s
            ) AS digested
             WHERE (%(source)s::bigint IS NULL OR source_id = %(source)s) AND digested_at > %(since)s
            """,
            {"site": site_id, "look": LAG_LOOK, "most": OUTCOMES_LOOK, "source": source_id, "since": since},
        )
        count, percentiles = cursor.fetchone()
    return Lag(count, *percentiles) if count else Lag(0)


def _add(
    reasons: dict[tuple[str, str], ReasonCount], code: str, status: str, count: int, samples: Sequence[int]
) -> None:
    reason = reasons.setdefault((status, code), ReasonCount(code, status))
    reason.count += count
    reason.samples = sorted({*reason.samples, *samples}, reverse=True)[:SAMPLES]


def _sorted(reasons: dict[tuple[str, str], ReasonCount]) -> list[ReasonCount]:
    return sorted(reasons.values(), key=lambda reason: (-reason.count, reason.code))
