"""The conditions of alerts, each with its unit, its limits and the function that judges it by figures of the pages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from api.http.wording import count_of, duration_of
from api.ingest.source_counts import SourceCounts
from api.insight import delivery, site_status
from api.insight.delivery import Lag, Outcomes
from api.insight.site_status import QuotaHeadroom, SourceState
from api.models import Alert, Site

Condition = Alert.Condition
# An alert resolves after this time without its condition. It spans several checks, so that flapping is one alert.
CALM: Final = timedelta(minutes=5)
RECENT: Final = timedelta(minutes=5)  # of the processed events whose lag counts


class Readings:
    """The figures of a site as its pages show them, each read at most once for any number of alerts."""

    def __init__(self, site: Site, now: datetime) -> None:
        self.site, self.now = site, now

    @cached_property
    def outcomes(self) -> Outcomes:
        return delivery.count_outcomes(self.site.pk, delivery.list_last_hours(24, now=self.now))

    @cached_property
    def lag(self) -> Lag:
        return delivery.measure_lag(self.site.pk, since=self.now - RECENT)

    @cached_property
    def inbox(self) -> site_status.InboxState:
        return site_status.count_inbox(self.site)

    @cached_property
    def sources(self) -> list[SourceState]:
        return site_status.received_by_source(self.site, now=self.now)[0]

    @cached_property
    def rooms(self) -> list[QuotaHeadroom]:
        return site_status.measure_headroom(self.site, now=self.now)


@dataclass(frozen=True, slots=True)
class ConditionResult:
    """The result of a check, with the figures that explain it. It names no event, goal or person."""

    holds: bool
    sentence: str


def judge_success(outcomes: Outcomes, *, percent: float) -> ConditionResult:
    """Hold if the success rate of the Delivery page is below a percentage, never without a finished event."""
    rate = outcomes.success_rate
    if rate is None:
        return ConditionResult(holds=False, sentence="No event of the last 24 hours is finished.")
    finished = count_of(outcomes.decided, "finished event")
    sentence = f"{outcomes.failed:,} of {finished} in 24 hours failed or were rejected"
    return ConditionResult(rate < percent, f"{sentence}: the success rate is {show_percent(rate)} %.")


def judge_lag(lag: Lag, oldest: datetime | None, *, seconds: float, now: datetime) -> ConditionResult:
    """Hold if the 95th percentile from receipt to processing, or the wait of the oldest queued event, is longer."""
    wait = (now - oldest).total_seconds() if oldest else 0.0
    recently = f"in the last {RECENT.total_seconds() / 60:g} minutes"
    sentences = [f"p95 of the events processed {recently} is {duration_of(lag.p95)}."] if lag.messages else []
    sentences += [f"The oldest queued event has waited {duration_of(wait)}."] if oldest else []
    sentence = " ".join(sentences) or f"The queue is empty, and no event was processed {recently}."
    return ConditionResult(max(lag.p95, wait) > seconds, sentence)


def judge_silence(
    sources: Sequence[SourceState], *, source_id: int | None, minutes: float, now: datetime
) -> ConditionResult:
    """Hold if a source that sent something in 14 days has sent nothing for some minutes.

    With `source_id`, only this source counts, also if it sent nothing in 14 days. Disabled sources are not silent.
    """
    watched = [source for source in sources if source.is_enabled and source_id in {None, source.id}]
    silent = [
        source
        for source in watched
        if source.is_silent(now, for_=timedelta(minutes=minutes))
        or (source_id is not None and source.came == SourceCounts())
    ]
    if silent:
        named = ", ".join(f"“{source.name}” ({describe_last_event(source)})" for source in silent)
        return ConditionResult(holds=True, sentence=f"Silent for more than {minutes:g} min: {named}.")
    return ConditionResult(holds=False, sentence=f"No source is silent for more than {minutes:g} min.")


def describe_last_event(source: SourceState) -> str:
    last = source.came.last_received_at
    return f"last event at {last:%Y-%m-%d %H:%M:%S} UTC" if last else "no event in 14 days"


def judge_quota(rooms: Sequence[QuotaHeadroom], waiting: int) -> ConditionResult:
    """Hold if a window of the new-goal limit has no place left, or events wait for one."""
    sentences = [
        f"The limit is reached: {count_of(room.window.limit, 'new goal')} in {room.window.span.total_seconds():g} s."
        for room in rooms
        if not room.left
    ]
    sentences += [f"{count_of(waiting, 'event')} queued for the goal limit."] if waiting else []
    sentence = " ".join(sentences) or "New goals are within the limit, and no event waits for it."
    return ConditionResult(bool(sentences), sentence)


@dataclass(frozen=True, slots=True)
class ConditionType:
    """One kind of condition: the function that judges it, and the unit and limit of its threshold."""

    judge: Callable[[Alert, float, Readings], ConditionResult]
    unit: str = ""
    most: float | None = None  # the largest threshold; None: without a threshold
    has_source: bool = False
    suffix: str = ""
    subject: str = ""  # these two make a sentence: when the <subject> <verb> 95 %
    verb: str = ""


def _judge_success(alert: Alert, percent: float, readings: Readings) -> ConditionResult:
    outcomes = readings.outcomes.of_source(alert.source_id) if alert.source_id else readings.outcomes
    return judge_success(outcomes, percent=percent)


CONDITIONS: Final[dict[str, ConditionType]] = {
    Condition.SUCCESS: ConditionType(
        _judge_success,
        unit="%",
        most=100,
        has_source=True,
        suffix=" in 24 hours",
        subject="success rate",
        verb="falls below",
    ),
    Condition.LAG: ConditionType(
        lambda _, seconds, readings: judge_lag(readings.lag, readings.inbox.oldest, seconds=seconds, now=readings.now),
        unit="s",
        subject="processing time (p95)",
        verb="exceeds",
        most=7 * 24 * 3600,
    ),
    Condition.SILENCE: ConditionType(
        lambda alert, minutes, readings: judge_silence(
            readings.sources, source_id=alert.source_id, minutes=minutes, now=readings.now
        ),
        unit="min",
        subject="silence",
        verb="lasts longer than",
        most=14 * 24 * 60,
        has_source=True,
    ),
    Condition.QUOTA: ConditionType(
        lambda _alert, _threshold, readings: judge_quota(readings.rooms, readings.inbox.deferred),
        subject="new-goal limit",
        verb="is reached",
    ),
}


def check_condition(alert: Alert, readings: Readings) -> ConditionResult:
    """Judge an alert's condition by the present figures. At most two queries."""
    return CONDITIONS[alert.condition].judge(alert, alert.threshold or 0.0, readings)


def describe(condition: str, threshold: float | None) -> str:
    """Return a condition in words: `success rate under 95 % in 24 hours`."""
    kind = CONDITIONS[condition]
    label = str(Condition(condition).label)
    return label if kind.most is None or threshold is None else f"{label} {threshold:g} {kind.unit}{kind.suffix}"


def explain(alert: Alert) -> str:
    """Return what the check found that decided the alert's state, and when the state may end."""
    if alert.firing_since is None or alert.held_at is None or alert.held_at == alert.checked_at:
        return alert.finding
    calm = f"{CALM.total_seconds() / 60:g} minutes"
    held = f"{alert.held_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"{alert.finding} That was at {held}. The alert resolves after {calm} without it."


def show_percent(rate: float | None) -> str:
    """Return two decimals at most, and never 100 for less than that; empty for None."""
    if rate is None:
        return ""
    is_whole = rate >= 100  # noqa: PLR2004 - percent
    return "100" if is_whole else f"{min(rate, 99.99):.2f}".rstrip("0").rstrip(".")
