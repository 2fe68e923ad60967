"""Figures of an alert's condition over the last 14 days, from which people choose its threshold."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import connection

from api.alerts.conditions import CALM, CONDITIONS
from api.insight.delivery import OUTCOMES_LOOK, Steps, count_outcomes, find_success_rate, list_last_hours
from api.models import Alert, Site

DAYS: Final = 14
HOUR: Final = timedelta(hours=1)
HOURS: Final = DAYS * 24
WINDOW: Final = 24  # hours of the success rate
Condition = Alert.Condition


@dataclass(frozen=True, slots=True)
class ConditionHistory:
    """The figure that a condition compares, by the hour, and how often an alert would have fired."""

    times: Sequence[datetime]
    values: Sequence[float]
    fired: int
    since: datetime | None  # of the oldest event looked at, if older ones were left out
    fires_now: bool = False  # for a source that sent nothing in all this time


def find_history(
    site: Site, condition: str, threshold: float | None, *, source_id: int | None, now: datetime
) -> ConditionHistory:
    """Return the last 14 days of a condition.

    The figures are read from the newest OUTCOMES_LOOK events, or from the counts of sources and of new goals. They are
    judged by the hour, the lag every five minutes, so that the alert fires at least as often as is counted. One query,
    some 150 ms for the success rate, otherwise 30 ms; one more for a source without events.
    """
    steps, level = list_last_hours(HOURS, now=now), threshold or 0
    times = steps.times
    if condition == Condition.SUCCESS:
        values, since = _read_success(site.pk, steps, source_id)
        return ConditionHistory(times, values, count_fires([value < level for value in values]), since)
    if condition == Condition.LAG:
        return _read_lag(site.pk, times, level)
    if condition == Condition.SILENCE:
        values, has_events = _read_silence(site.pk, times, now, source_id)
        fired = count_fires([value > level for value in values])
        # The values leave out a source that sent nothing in all this time.
        is_silent = (
            source_id is not None and not has_events and site.sources.filter(pk=source_id, is_enabled=True).exists()
        )
        return ConditionHistory(times, values, fired, None, fires_now=is_silent)
    values = _read_creations(site.pk, times)
    return ConditionHistory(times, values, count_fires([value >= site.goals_per_hour for value in values]), None)


def limit_of(site: Site, condition: str, threshold: float | None) -> tuple[str, float] | None:
    """Return the label and the level of a threshold in the chart. Pure."""
    if condition == Condition.QUOTA:
        return f"{site.goals_per_hour:,} an hour", site.goals_per_hour
    return (f"{threshold:g} {CONDITIONS[condition].unit}", threshold) if threshold is not None else None


def count_fires(holds: Sequence[bool], *, calm: int = 1) -> int:
    """Return how often a condition began to hold after `calm` steps without it. Pure."""
    fired, quiet = 0, calm
    for each in holds:
        if each and quiet >= calm:
            fired += 1
        quiet = 0 if each else quiet + 1
    return fired


def _read_success(site_id: int, steps: Steps, source_id: int | None) -> tuple[list[float], datetime | None]:
    outcomes = count_outcomes(site_id, steps, source_id=source_id)
    rates: list[float] = []
    held: Counter[str] = Counter()
    for place, time in enumerate(steps.times):
        held += outcomes.by_time.get(time, Counter())
        if place >= WINDOW:
            held -= outcomes.by_time.get(steps.times[place - WINDOW], Counter())
        rate = find_success_rate(held)
        rates.append(100.0 if rate is None else rate)  # without decided events the alert does not fire either
    return rates, outcomes.since if outcomes.is_cut else None


def _read_lag(site_id: int, times: Sequence[datetime], threshold: float) -> ConditionHistory:
    step = int(CALM.total_seconds())
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT floor(extract(epoch FROM digested_at - %(begin)s) / %(step)s)::int,
                   percentile_disc(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM digested_at - received_at)::float8),
                   (array_agg(full_look))[1], min(digested_at)
              FROM (
                SELECT digested_at, received_at, has_waited, count(*) OVER () >= %(look)s AS full_look
                  FROM (SELECT digested_at, received_at, has_waited FROM api_message
                         WHERE site_id = %(site)s ORDER BY id DESC LIMIT %(look)s) AS newest
              ) AS digested
             WHERE isfinite(digested_at) AND isfinite(received_at) AND NOT has_waited AND digested_at >= %(begin)s
             GROUP BY 1 ORDER BY 1
            """,
            {"site": site_id, "begin": times[0], "step": step, "look": OUTCOMES_LOOK},
        )
        rows = cursor.fetchall()
    by_step: Mapping[int, float] = {place: lag for place, lag, _, _ in rows}
    an_hour = HOUR // CALM
    lags = [by_step.get(place, 0.0) for place in range(len(times) * an_hour)]
    values = [max(lags[place : place + an_hour]) for place in range(0, len(lags), an_hour)]
    since = rows[0][3] if rows and rows[0][2] else None
    return ConditionHistory(times, values, count_fires([lag > threshold for lag in lags], calm=2), since)


def _read_silence(
    site_id: int, times: Sequence[datetime], now: datetime, source_id: int | None
) -> tuple[list[float], bool]:
    """Return the minutes since the last event of the most silent source, at the end of each hour.

    The second value is True if there was any event.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT t.source_id, t.hour, t.last_received_at FROM api_sourcetally t
              JOIN api_source s ON s.site_id = t.site_id AND s.id = t.source_id AND s.is_enabled
             WHERE t.site_id = %(site)s AND t.hour >= %(begin)s
               AND (%(source)s::bigint IS NULL OR t.source_id = %(source)s)
             ORDER BY t.hour
            """,
            {"site": site_id, "begin": times[0], "source": source_id},
        )
        rows = cursor.fetchall()
    by_hour: dict[datetime, list[tuple[int, datetime]]] = {}
    for source, hour, at in rows:
        by_hour.setdefault(hour, []).append((source, at))
    last: dict[int, datetime] = {}
    values: list[float] = []
    for time in times:
        last.update(by_hour.get(time, ()))
        end = min(time + HOUR, now)
        values.append(max(((end - at).total_seconds() / 60 for at in last.values()), default=0.0))
    return values, bool(rows)


def _read_creations(site_id: int, times: Sequence[datetime]) -> list[float]:
    """Return the goals that events created in each hour, by the ledger of the new-goal limit."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT date_trunc('hour', created_at, 'UTC'), count(*) FROM goals_goalcreation
             WHERE site_id = %s AND created_at >= %s GROUP BY 1
            """,
            [site_id, times[0]],
        )
        counts: Mapping[datetime, int] = dict(cursor.fetchall())
    return [float(counts.get(time, 0)) for time in times]
