"""Delivery as a pipeline: the stages that received events pass or end in, and the charts of a period. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Final

from django.utils import timezone

import zones
from api.ingest.source_counts import SourceCounts, sum_counts
from api.insight.delivery import OUTCOME_LABELS, Outcomes, ReasonCount, Received, Steps
from api.pages.change import FigureChange, compare
from api.pages.charts import Chart, Series, Tone
from api.pages.ranges import SHORT, Range

HOUR: Final = timedelta(hours=1)
MOST_STEPS: Final = 92  # of days; longer ranges have steps of seven
WEEK: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class StageKind:
    """A stage of the pipeline: the outcomes that it counts, and the filter of its list of events."""

    code: str
    kinds: tuple[str, ...] = ()  # of OUTCOME_LABELS; the first one names the stage
    outcome: str = ""  # of the list of events
    others: tuple[str, ...] = ()  # kinds by which this list and the stage differ
    tone: Tone = ""
    is_better_if_more: bool | None = None

    @property
    def label(self) -> str:
        return OUTCOME_LABELS[self.kinds[0]] if self.kinds else "Received"


PATH: Final = (
    StageKind(code="received"),
    StageKind(
        code="arrival",
        kinds=("arrival",),
        outcome="rejected",
        others=("rejected",),
        tone="bad",
        is_better_if_more=False,
    ),
    StageKind(code="ignored", kinds=("ignored",)),
    StageKind(code="queued", kinds=("pending", "deferred"), outcome="pending", others=("deferred",), tone="warn"),
)
ENDS: Final = (
    StageKind(code="converted", kinds=("converted",), outcome="converted", tone="good", is_better_if_more=True),
    # Without a list of events: each of its effects has its own.
    StageKind(code="profile", kinds=("profile",)),
    StageKind(code="nothing", kinds=("nothing",), outcome="nothing", others=("ignored",)),
    StageKind(
        code="rejected",
        kinds=("rejected",),
        outcome="rejected",
        others=("arrival",),
        tone="bad",
        is_better_if_more=False,
    ),
    StageKind(code="failed", kinds=("failed",), outcome="failed", tone="bad", is_better_if_more=False),
)
BY_CODE: Final[Mapping[str, StageKind]] = {stage.code: stage for stage in (*PATH, *ENDS)}
# The kinds of outcomes in the order in which charts stack them, each with its tone there.
STACKED: Final[Mapping[str, Tone]] = {
    "converted": "",
    "profile": "",
    "nothing": "",
    "ignored": "",
    "pending": "warn",
    "deferred": "warn",
    "arrival": "bad",
    "rejected": "bad",
    "failed": "strong",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage with its count in a period, its share of the received events, and its change."""

    kind: StageKind
    count: int
    share: float | None  # a number from 0 to 1
    before: int | None
    change: FigureChange | None
    is_chosen: bool
    has_list: bool  # Events has a list of these events, and of no others

    @property
    def tone(self) -> Tone:
        return self.kind.tone if self.count else ""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The stages that all received events pass, and those in which processed events end."""

    path: Sequence[Stage]
    ends: Sequence[Stage]

    @property
    def chosen(self) -> Stage | None:
        return next((stage for stage in (*self.path, *self.ends) if stage.is_chosen), None)


def is_by_hour(steps: Steps) -> bool:
    """Return True if the counts of ingest, which are by the hour, fit these steps."""
    return len(steps.times) < 2 or steps.times[1] - steps.times[0] >= HOUR  # noqa: PLR2004


def build_pipeline(
    outcomes: Outcomes,
    came: SourceCounts,
    before: SourceCounts,
    steps: Steps,
    *,
    chosen: str,
    is_pruned: bool = False,
) -> Pipeline:
    """Return the stages of a period, of which processed events were deleted if `is_pruned`.

    Shares of outcomes are of the events that are left, or looked at if outcomes are cut. Steps of less than an hour
    count stored events only: ingest counts duplicates by the hour.
    """
    by_hour, counts = is_by_hour(steps), outcomes.total
    earlier = outcomes.before or Counter()
    received = came.received if by_hour else outcomes.messages
    received_before = before.received if by_hour else earlier.total()
    has_outcomes_before = outcomes.before is not None and not outcomes.is_cut
    base = outcomes.messages if outcomes.is_cut or is_pruned else max(received, outcomes.messages)

    def count(kind: StageKind) -> tuple[int, int | None, int]:
        has_before = steps.compared is not None and (by_hour or has_outcomes_before)
        if kind.code == "received":
            return received, received_before if has_before else None, received
        if kind.code == "arrival" and by_hour:
            return came.rejected, before.rejected if has_before else None, received
        of_before = sum(earlier[each] for each in kind.kinds) if has_outcomes_before else None
        return sum(counts[each] for each in kind.kinds), of_before, base

    def build(kind: StageKind) -> Stage:
        now, then, whole = count(kind)
        change = None if then is None else compare(now, then, is_better_if_more=kind.is_better_if_more)
        share = now / whole if whole and kind.code != "received" else None
        is_exact = now == sum(counts[each] for each in kind.kinds) and not any(counts[each] for each in kind.others)
        has_list = kind.code == "received" or (bool(kind.outcome) and is_exact)
        return Stage(kind, now, share, then, change, kind.code == chosen, has_list)

    return Pipeline([build(kind) for kind in PATH], [build(kind) for kind in ENDS])


def choose_reasons(outcomes: Outcomes, kind: StageKind | None) -> list[ReasonCount]:
    """Return the reasons of a stage; all if none is chosen, or that of all received events."""
    return [reason for reason in outcomes.reasons if kind is None or not kind.kinds or reason.kind in kind.kinds]


def list_steps(range_: Range, zone: tzinfo) -> Steps:
    """Return the steps of a range: minutes, hours, days of this zone, or seven days."""
    compared = (range_.compared.begin, range_.compared.end) if range_.compared else None
    if range_.preset in SHORT or range_.first == range_.last:
        step = SHORT[range_.preset][1] if range_.preset in SHORT else HOUR
        count = -((range_.begin - range_.end) // step)
        times = [range_.begin + step * number for number in range(max(1, count))]
    else:
        days = (range_.last - range_.first).days + 1
        by = 1 if days <= MOST_STEPS else WEEK
        times = [zones.start_of(range_.first + timedelta(days=number), zone) for number in range(0, days, by)]
    return Steps(times, range_.end, compared)


@dataclass(frozen=True, slots=True)
class StepLabels:
    """Labels of the steps of a period in charts, and the links of their bars."""

    steps: Steps
    is_running: bool
    zone: tzinfo  # of the days
    link: Callable[[datetime, datetime], str]  # from the times of a step

    @property
    def is_by_day(self) -> bool:
        times = self.steps.times
        return len(times) > 1 and times[1] - times[0] > HOUR

    def chart(self, series: Sequence[Series]) -> Chart:
        """Return a chart of stacked bars."""
        times, is_by_day = self.steps.times, self.is_by_day
        spans = list(pairwise([*times, self.steps.end]))
        local = [time.astimezone(self.zone) if is_by_day else timezone.localtime(time) for time in times]
        return Chart(
            [f"{time.day} {time:%b}" if is_by_day else f"{time:%H:%M}" for time in local],
            series,
            unit="Day" if is_by_day else "Time",
            stacked=True,
            titles=[f"{time:%A}, {time.day} {time:%B}{'' if is_by_day else f', {time:%H:%M}'}" for time in local],
            is_running=self.is_running,
            links=[self.link(begin, end) for begin, end in spans],
            days=[self._days_of(begin, end) for begin, end in spans] if is_by_day else (),
        )

    def _days_of(self, begin: datetime, end: datetime) -> tuple[date, date]:
        first = zones.day_of(begin, self.zone)
        return first, max(first, zones.day_of(end - timedelta.resolution, self.zone))  # a step may end as it begins


def draw_received(received: Received, labels: StepLabels) -> Chart:
    """Return a chart of received events by time, all sources together."""
    nothing = SourceCounts()
    rows = [
        sum_counts(by_time.get(time, nothing) for by_time in received.by_source.values()) for time in labels.steps.times
    ]
    return labels.chart(
        [
            Series("New", [row.received - row.duplicates - row.rejected for row in rows]),
            Series("Duplicates", [row.duplicates for row in rows]),
            Series(OUTCOME_LABELS["arrival"], [row.rejected for row in rows], "bad"),
        ]
    )


def draw_outcomes(outcomes: Outcomes, labels: StepLabels) -> Chart:
    """Return a chart of outcomes by time of receipt, without kinds that do not occur."""
    rows = [outcomes.by_time.get(time, Counter()) for time in labels.steps.times]
    return labels.chart(
        [
            Series(OUTCOME_LABELS[kind], [row[kind] for row in rows], tone)
            for kind, tone in STACKED.items()
            if any(row[kind] for row in rows)
        ]
    )
