"""Results of an experiment as exact sums per variation, goal and metric: what its statistics are computed from."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import accumulate
from typing import Any, Final, NamedTuple

from django.db import connection

from goals.experiments.sums import VariationSums
from goals.sql import read_query
from goals.visits import VISIT_GAP

BEFORE: Final = timedelta(days=14)  # of the covariate of CUPED
WINDOW: Final = timedelta(days=7)

MEASURE: Final = read_query("experiments/measuring")


class MetricKind(StrEnum):
    """A figure of a visitor on a goal."""

    CONVERTED = "converted"  # 1 or 0
    CONVERSIONS = "conversions"  # once a visit, unless the goal has multiple conversions
    REVENUE = "revenue"  # in one currency, without cancellations


class Metric(NamedTuple):
    """A metric of a goal. `currency` is empty unless it is revenue."""

    goal_id: int
    kind: MetricKind
    currency: str = ""


@dataclass(frozen=True, slots=True)
class MeasureSettings:
    """Settings of a result, which are the same for every goal."""

    experiment: int  # its number
    goals: Sequence[int]
    since: datetime | None = None  # of first exposures; None for no bound
    until: datetime | None = None
    window: timedelta = WINDOW
    before: timedelta = BEFORE
    zone: str = "UTC"  # of the days of the curve
    caps: Mapping[Metric, Decimal] | None = None  # the most that a visitor counts for


@dataclass(frozen=True, slots=True)
class ExperimentSums:
    """Sums of an experiment. They are equal in any order of events, links and merges."""

    visitors: Mapping[int, int]  # by the number of the variation
    left_out: int  # visitors who saw several variations
    days: Sequence[date]  # with a first exposure or a conversion, the oldest first
    metrics: Sequence[Metric]  # two of each goal, and one of each currency
    added: Mapping[tuple[Metric, int], Mapping[date, VariationSums]]  # by metric and variation, what each day added
    exposed: Mapping[int, Mapping[date, int]]  # visitors of a variation by the day of their first exposure

    def of(self, metric: Metric) -> dict[int, VariationSums]:
        """Return the sums of each variation."""
        return {
            variation: sum(self.added.get((metric, variation), {}).values(), VariationSums(visitors))
            for variation, visitors in self.visitors.items()
        }

    def curve(self, metric: Metric) -> dict[int, list[VariationSums]]:
        """Return the sums of each variation at the end of each of `days`, with what is known now."""
        curves = {}
        for variation in self.visitors:
            added, exposed = self.added.get((metric, variation), {}), self.exposed[variation]
            steps = [added.get(day, VariationSums(0)) + VariationSums(exposed.get(day, 0)) for day in self.days]
            curves[variation] = list(accumulate(steps))
        return curves


def load_sums(site_id: int, settings: MeasureSettings) -> ExperimentSums:
    """Return the sums of an experiment for these goals. One query.

    A merged goal has the sums of the goal that it counts for, under its own id.
    """
    caps = settings.caps or {}
    parameters: dict[str, Any] = {
        "site": site_id,
        "experiment": settings.experiment,
        "goals": list(settings.goals),
        "since": settings.since,
        "until": settings.until,
        "attribution": settings.window,
        "lookback": settings.before,
        "visit_gap": VISIT_GAP,
        "zone": settings.zone,
        "cap_goals": [metric.goal_id for metric in caps],
        "cap_metrics": [metric.kind.value for metric in caps],
        "cap_currencies": [metric.currency for metric in caps],
        "caps": list(caps.values()),
    }
    with connection.cursor() as cursor:
        cursor.execute(MEASURE, parameters)
        rows = cursor.fetchall()
    return _read_rows(rows, settings.goals)


def _read_rows(rows: Sequence[tuple[Any, ...]], goals: Collection[int]) -> ExperimentSums:
    exposed: dict[int, dict[date, int]] = {}
    added: dict[tuple[Metric, int], dict[date, VariationSums]] = {}
    days: set[date] = set()
    left_out = 0
    for variation, day, goal, kind, currency, y, yy, x, xx, xy in rows:
        if variation is None:
            left_out = int(y)
            continue
        days.add(day)
        if goal is None:
            exposed.setdefault(variation, {})[day] = int(y)
        else:
            metric = Metric(goal, MetricKind(kind), currency)
            added.setdefault((metric, variation), {})[day] = VariationSums(0, y=y, yy=yy, x=x, xx=xx, xy=xy)
    found = {metric for metric, _ in added}
    always = {Metric(goal, kind) for goal in goals for kind in (MetricKind.CONVERTED, MetricKind.CONVERSIONS)}
    return ExperimentSums(
        visitors={variation: sum(by_day.values()) for variation, by_day in exposed.items()},
        left_out=left_out,
        days=sorted(days),
        metrics=sorted(found | always),
        added=added,
        exposed=exposed,
    )
