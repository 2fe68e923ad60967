"""Whether what an alert watches for holds: pure decisions about the figures that the pages show."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from api.http.wording import count_of
from api.ingest.source_counts import Figures
from api.insight.delivery import Lag, Outcomes
from api.insight.site_status import QuotaHeadroom, SourceState
from api.models import Alert

Condition = Alert.Condition
# Over only when it has not held for this long: what comes and goes is one alert. Longer than several looks.
CALM: Final = timedelta(minutes=5)
RECENT: Final = timedelta(minutes=5)  # of the digested events whose lag counts
UNITS = {Condition.SUCCESS: "%", Condition.LAG: "s", Condition.SILENCE: "min", Condition.QUOTA: ""}


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a condition holds, and the figures that say so. No body, no goal's name and no person is in it."""

    holds: bool
    sentence: str


def explain(alert: Alert) -> str:
    """Return what was found when an alert's state was last decided, and since when that is so."""
    if alert.firing_since is None or alert.held_at is None or alert.held_at == alert.checked_at:
        return alert.finding
    calm = f"{CALM.total_seconds() / 60:g} minutes"
    return f"{alert.finding} That was at {alert.held_at:%H:%M:%S} UTC. The alert ends after {calm} without it."


def describe(condition: str, threshold: float | None) -> str:
    """A condition in words: `success rate under 95 % in 24 hours`."""
    if condition == Condition.QUOTA or threshold is None:
        return str(Condition(condition).label)
    words = f"{Condition(condition).label} {threshold:g} {UNITS[Condition(condition)]}"
    return f"{words} in 24 hours" if condition == Condition.SUCCESS else words


def judge_success(outcomes: Outcomes, *, percent: float) -> Finding:
    """Holds when the success rate of the delivery page is under so many per cent; never where nothing is decided."""
    rate = outcomes.success_rate
    if rate is None:
        return Finding(holds=False, sentence="No event of the last 24 hours is decided.")
    told = f"Of {count_of(outcomes.decided, 'event')} decided in 24 hours, {outcomes.failed:,} were rejected or failed"
    return Finding(rate < percent, f"{told}: the success rate is {show_percent(rate)} %.")


def show_percent(rate: float | None) -> str:
    """Two decimals at most, and never 100 where it is less; empty where there is none."""
    if rate is None:
        return ""
    whole = rate >= 100  # noqa: PLR2004 - per cent
    return "100" if whole else f"{min(rate, 99.99):.2f}".rstrip("0").rstrip(".")


def judge_lag(lag: Lag, oldest: datetime | None, *, seconds: float, now: datetime) -> Finding:
    """Holds when 5 of 100 events digested lately took longer from receipt to digest, or one waits for longer."""
    waits = (now - oldest).total_seconds() if oldest else 0.0
    lately = f"in the last {RECENT.total_seconds() / 60:g} minutes"
    told = [f"95 of 100 events digested {lately} took {lag.p95:,.1f} s or less."] if lag.messages else []
    told += [f"The oldest that waits for the digest has waited {waits:,.1f} s."] if oldest else []
    return Finding(max(lag.p95, waits) > seconds, " ".join(told) or f"No event waits, and none was digested {lately}.")


def judge_silence(sources: Sequence[SourceState], *, source_id: int | None, minutes: float, now: datetime) -> Finding:
    """Holds when the source was not heard of for so long; without one, when any is silent that was heard of in 14 days.

    One that is switched off is not silent.
    """
    asked = [source for source in sources if source.is_enabled and source_id in {None, source.id}]
    silent = [
        source
        for source in asked
        if source.is_silent(now, for_=timedelta(minutes=minutes))
        or (source_id is not None and source.came == Figures())  # nothing in 14 days is silence too
    ]
    if silent:
        named = ", ".join(f"“{source.name}” ({heard_of(source)})" for source in silent)
        return Finding(holds=True, sentence=f"Silent for more than {minutes:g} min: {named}.")
    return Finding(holds=False, sentence=f"No source is silent for more than {minutes:g} min.")


def heard_of(source: SourceState) -> str:
    last = source.came.last_received_at
    return f"last heard of at {last:%Y-%m-%d %H:%M:%S} UTC" if last else "not heard of in 14 days"


def judge_quota(rooms: Sequence[QuotaHeadroom], waiting: int) -> Finding:
    """Holds when a window of the goal quota has no place left, or events wait for one."""
    full = [room for room in rooms if not room.left]
    told = [
        f"No place is left: {count_of(room.window.limit, 'new goal')} in {room.window.span.total_seconds():g} s."
        for room in full
    ]
    told += [f"Events that wait for goal quota: {waiting:,}."] if waiting else []
    return Finding(bool(told), " ".join(told) or "There is room for new goals, and no event waits for it.")
