"""Delivery of events: received by source and time, outcomes, reasons and lag."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from api.events.reasons import DROPS
from api.ingest.source_counts import SourceCounts, sum_counts
from api.insight.messages import MOST_ID

OUTCOMES_LOOK: Final = 50_000  # the newest messages whose outcomes are counted: some 150 ms
LAG_LOOK: Final = 10_000  # the newest digested messages whose lag is measured: some 20 ms
SAMPLES: Final = 10
# Outcomes of an event with their words on all pages of Delivery, in their order there. `profile` has any other effect.
OUTCOME_LABELS: Final = {
    "converted": "Converted",
    "profile": "Other effect",
    "nothing": "No effect",
    "ignored": "Ignored by rule",
    "pending": "Queued",
    "deferred": "Queued (goal limit)",
    "arrival": "Rejected on arrival",
    "rejected": "Rejected",
    "failed": "Failed",
}


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a period in ascending order, and a period to compare it with. The last step ends at `end`."""

    times: Sequence[datetime]
    end: datetime
    compared: tuple[datetime, datetime] | None = None

    @property
    def begin(self) -> datetime:
        return self.times[0]

    @property
    def bounds(self) -> dict[str, Any]:
        """The parameters of statements; without a compared period its bounds are one moment."""
        since, until = self.compared or (self.begin, self.begin)
        return {
            "times": list(self.times),
            "begin": self.begin,
            "end": self.end,
            "compared_begin": since,
            "compared_end": until,
        }


def list_last_hours(number: int, *, now: datetime) -> Steps:
    """Return the last hours as steps; the last one contains `now`."""
    last = now.replace(minute=0, second=0, microsecond=0)
    return Steps([last - timedelta(hours=back) for back in reversed(range(number))], now)


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds from receipt to digest of events that neither waited for the new-goal limit nor were retried.

    Those that did are counted by themselves.
    """

    messages: int
    p50: float = 0
    p95: float = 0
    p99: float = 0
    waited: int = 0
    waited_p50: float = 0
    waited_p95: float = 0


@dataclass(slots=True)
class ReasonCount:
    """Count of the messages of a period with one reason, and the newest of them."""

    code: str
    status: str
    kind: str  # of OUTCOME_LABELS
    count: int = 0
    samples: list[int] = field(default_factory=list)

    @property
    def label(self) -> str:
        return OUTCOME_LABELS[self.kind]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes of the newest messages of a period: of OUTCOME_LABELS."""

    messages: int
    since: datetime | None  # the oldest message counted, or looked at if it is cut; None if there was none
    is_cut: bool  # there are older ones
    by_time: dict[datetime, Counter[str]]  # by the step of their receipt
    by_source: dict[int | None, Counter[str]]
    reasons: list[ReasonCount]  # the most frequent first
    before: Counter[str] | None = None  # of the compared period; None if not all of it was looked at
    samples: list[int] = field(default_factory=list)  # newest messages of the kinds asked for

    def of_source(self, source_id: int) -> "Outcomes":
        """Return the counts of one source, without times and reasons."""
        counts = self.by_source.get(source_id, Counter())
        return replace(self, messages=counts.total(), by_source={source_id: counts}, by_time={}, reasons=[])

    @property
    def failed(self) -> int:
        """Return how many were rejected or failed."""
        return count_failed(self.total)

    @property
    def total(self) -> Counter[str]:
        """Return the counts of all sources together."""
        return sum(self.by_source.values(), Counter())

    @property
    def decided(self) -> int:
        """Return how many are no longer queued."""
        return count_decided(self.total)

    @property
    def success_rate(self) -> float | None:
        return find_success_rate(self.total)


def count_failed(counts: Counter[str]) -> int:
    """Return how many of these outcomes are rejections or failures."""
    return counts["arrival"] + counts["rejected"] + counts["failed"]


def count_decided(counts: Counter[str]) -> int:
    """Return how many of these outcomes are of messages that are no longer queued."""
    return counts.total() - counts["pending"] - counts["deferred"]


def find_success_rate(counts: Counter[str]) -> float | None:
    """Return the per cent of decided messages that were neither rejected nor failed, None if none is decided."""
    decided = count_decided(counts)
    return 100 * (decided - count_failed(counts)) / decided if decided else None


@dataclass(frozen=True, slots=True)
class Received:
    """Counts of received messages, by source and step, and those of the compared period."""

    by_source: dict[int, dict[datetime, SourceCounts]]
    before: SourceCounts


def count_received(site_id: int, source_ids: Sequence[int], steps: Steps, *, now: datetime) -> Received:
    """Return what these sources of a site received in a period. One query by the key.

    It is counted by the hour. Of an hour that is partly in the period, as much of it counts as is in the period.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT source_id, step, sum(received * share)::bigint, sum(duplicates * share)::bigint,
                   sum(rejected * share)::bigint, max(last_received_at)
              FROM (
                SELECT t.*, p.is_compared,
                       CASE WHEN p.is_compared THEN 0
                            ELSE width_bucket(greatest(hour, p.begin), %(times)s::timestamptz[]) END AS step,
                       extract(epoch FROM least(p.until, hour + interval '1 hour', %(now)s) - greatest(hour, p.begin))
                       / greatest(1, extract(epoch FROM least(hour + interval '1 hour', %(now)s) - hour)) AS share
                  FROM (VALUES (false, %(begin)s::timestamptz, %(end)s::timestamptz),
                               (true, %(compared_begin)s::timestamptz, %(compared_end)s::timestamptz)
                       ) AS p (is_compared, begin, until)
                  JOIN api_sourcetally t ON t.hour > p.begin - interval '1 hour' AND t.hour < p.until
                 WHERE t.site_id = %(site)s AND t.source_id = ANY(%(sources)s)
              ) AS counted
             GROUP BY 1, 2
            """,
            {"site": site_id, "sources": list(source_ids), "now": now, **steps.bounds},
        )
        received: dict[int, dict[datetime, SourceCounts]] = {}
        before: list[SourceCounts] = []
        for source_id, step, *figures in cursor.fetchall():
            if step:
                received.setdefault(source_id, {})[steps.times[step - 1]] = SourceCounts(*figures)
            else:
                before.append(SourceCounts(*figures))
    return Received(received, sum_counts(before))


# An event without a digest was rejected on arrival.
KIND: Final = """
CASE WHEN status = 'rejected' AND digested_at IS NULL THEN 'arrival'
     WHEN status <> 'done' THEN status
     WHEN 'converted' = ANY(effects) THEN 'converted'
     WHEN reason = ANY(%(drops)s) THEN 'ignored'
     WHEN 'nothing' = ANY(effects) THEN 'nothing'
     ELSE 'profile' END
"""


def count_outcomes(
    site_id: int, steps: Steps, *, source_id: int | None = None, below: int = MOST_ID, sampled: Sequence[str] = ()
) -> Outcomes:
    """Return the outcomes of the newest OUTCOMES_LOOK messages of a site with ids below `below`. One query.

    Those count that were received in the period, or in the one that it is compared with. `sampled` are kinds of
    outcomes whose newest messages are named.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH newest AS MATERIALIZED (
                SELECT id, source_id, received_at, status, reason, {KIND} AS kind FROM api_message
                 WHERE site_id = %(site)s AND id < %(below)s ORDER BY id DESC LIMIT %(look)s
            )
            SELECT * FROM (SELECT count(*), min(received_at) FROM newest) AS looked_at
              LEFT JOIN (
                SELECT CASE WHEN received_at >= %(begin)s THEN width_bucket(received_at, %(times)s::timestamptz[])
                            ELSE 0 END AS step, source_id, status, reason, kind, count(*), min(received_at),
                       (array_agg(id ORDER BY id DESC)
                        FILTER (WHERE reason <> '' OR kind = ANY(%(sampled)s)))[:%(most)s]
                  FROM newest
                 WHERE (%(source)s::bigint IS NULL OR source_id = %(source)s)
                   AND (received_at >= %(begin)s AND received_at < %(end)s
                        OR received_at >= %(compared_begin)s AND received_at < %(compared_end)s)
                 GROUP BY 1, 2, 3, 4, 5
              ) AS counted ON true
             ORDER BY step DESC
            """,
            {
                "site": site_id,
                "below": below,
                "look": OUTCOMES_LOOK,
                "source": source_id,
                "drops": list(DROPS),
                "sampled": list(sampled),
                "most": SAMPLES,
                **steps.bounds,
            },
        )
        found = cursor.fetchall()  # one row without counts if no message is in these times
        looked_at, back_to = found[0][:2]
        is_full = looked_at >= OUTCOMES_LOOK
        return _read_outcomes(
            [row[2:] for row in found if row[2] is not None], steps, sampled, back_to if is_full else None
        )


def _read_outcomes(
    rows: Sequence[tuple[Any, ...]], steps: Steps, sampled: Sequence[str], back_to: datetime | None
) -> Outcomes:
    """Return counts as outcomes. `back_to` is the oldest message looked at if there may be older ones."""
    by_time: dict[datetime, Counter[str]] = {}
    by_source: dict[int | None, Counter[str]] = {}
    before: Counter[str] = Counter()
    reasons: dict[tuple[str, str], ReasonCount] = {}
    samples: list[int] = []
    for step, source, status, reason, kind, count, _, ids in rows:
        if not step:
            before[kind] += count
            continue
        by_time.setdefault(steps.times[step - 1], Counter())[kind] += count
        by_source.setdefault(source, Counter())[kind] += count
        if reason:
            counted = reasons.setdefault((kind, reason), ReasonCount(reason, status, kind))
            counted.count += count
            counted.samples = sorted({*counted.samples, *ids}, reverse=True)[:SAMPLES]
        if kind in sampled:
            samples += ids
    is_cut = back_to is not None and back_to > steps.begin
    is_whole = steps.compared is not None and not (back_to and back_to > steps.compared[0])
    return Outcomes(
        messages=sum(row[5] for row in rows if row[0]),
        since=back_to if is_cut else min((row[6] for row in rows if row[0]), default=None),
        is_cut=is_cut,
        by_time=by_time,
        by_source=by_source,
        reasons=sorted(reasons.values(), key=lambda reason: (-reason.count, reason.code)),
        before=before if is_whole else None,
        samples=sorted(samples, reverse=True)[:SAMPLES],
    )


def measure_lag(
    site_id: int,
    *,
    since: datetime,
    until: datetime | None = None,
    source_id: int | None = None,
    below: int = MOST_ID,
) -> Lag:
    """Return how long the messages took that were digested in this time: the lag of every page and alert.

    It looks at the newest LAG_LOOK of them among the newest OUTCOMES_LOOK of a site with ids below `below`. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FILTER (WHERE NOT has_waited),
                   percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY took) FILTER (WHERE NOT has_waited),
                   count(*) FILTER (WHERE has_waited),
                   percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY took) FILTER (WHERE has_waited)
              FROM (
                SELECT extract(epoch FROM digested_at - received_at)::float8 AS took, has_waited
                  FROM (SELECT * FROM api_message WHERE site_id = %(site)s AND id < %(below)s
                         ORDER BY id DESC LIMIT %(most)s) AS newest
                 WHERE isfinite(digested_at) AND isfinite(received_at)
                   AND (%(source)s::bigint IS NULL OR source_id = %(source)s)
                   AND digested_at > %(since)s AND (%(until)s::timestamptz IS NULL OR digested_at < %(until)s)
                 ORDER BY id DESC LIMIT %(look)s
            ) AS digested
            """,
            {
                "site": site_id,
                "look": LAG_LOOK,
                "most": OUTCOMES_LOOK,
                "source": source_id,
                "below": below,
                "since": since,
                "until": until,
            },
        )
        count, percentiles, waited, of_waited = cursor.fetchone()
    p50, p95, p99 = percentiles or (0, 0, 0)
    waited_p50, waited_p95 = of_waited or (0, 0)
    return Lag(count, p50, p95, p99, waited, waited_p50, waited_p95)
