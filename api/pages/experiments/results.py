"""Experiments of a site: their list with one sentence each, and the result of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile
from typing import Final, NamedTuple

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils import timezone

from api.insight.experiments import ExperimentReport, MetricResult, VariationResult, describe_metric, report_experiment
from api.models import Site
from api.pages.access import show, site_page
from api.pages.charts import Chart, Series
from api.pages.query_form import IdField, QueryForm
from goals.experiments.measuring import MetricKind
from goals.experiments.models import Experiment
from goals.experiments.reading import (
    ExperimentState,
    Exposed,
    count_exposed,
    find_experiment,
    select_experiments,
    state_of,
)
from goals.experiments.results import Comparison, Interval
from goals.experiments.sentences import percent

PER_PAGE: Final = 25


class ExperimentsQuery(QueryForm):
    """The page of the list, and whether it is that of the archive."""

    page = IdField()
    archived = IdField()


class ExperimentRow(NamedTuple):
    """An experiment in the list."""

    experiment: Experiment
    state: ExperimentState
    begun: datetime | None
    exposed: Exposed | None


@dataclass(frozen=True, slots=True)
class Bar:
    """An interval as a picture: places from 0 to 100, of which 50 is no difference. None if there is no interval."""

    low: float
    high: float
    middle: float

    @property
    def width(self) -> float:
        return max(self.high - self.low, 0.5)


class ComparedRow(NamedTuple):
    """A variation in the table of a metric."""

    result: VariationResult
    difference: str
    interval: str
    bar: Bar | None


class MetricTable(NamedTuple):
    """The rows of a metric, as a page shows them."""

    result: MetricResult
    title: str
    is_rate: bool
    rows: Sequence[ComparedRow]


@site_page()
def list_site_experiments(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List the experiments of a site, the newest first. Their sentences load when they are seen."""
    query, now = ExperimentsQuery(request.GET).values, timezone.now()
    is_archived = bool(query["archived"])
    page = Paginator(select_experiments(site.pk, is_archived=is_archived), PER_PAGE).get_page(query["page"] or 1)
    exposed = count_exposed(site.pk, [each.number for each in page])
    rows = [row_of(each, exposed.get(each.number), now=now) for each in page]
    return show(
        request, "pages/experiments/list.html", title="Experiments", rows=rows, page=page, is_archived=is_archived
    )


def row_of(experiment: Experiment, exposed: Exposed | None, *, now: datetime) -> ExperimentRow:
    """Return an experiment as the list shows it. Pure."""
    state = state_of(experiment, now=now)
    return ExperimentRow(experiment, state, experiment.started_at or (exposed and exposed.first_at), exposed)


@site_page()
def say_result(request: HttpRequest, site: Site, experiment_id: int) -> HttpResponseBase:
    """Return the sentence of an experiment as a part of the list."""
    report = report_experiment(site, find(site, experiment_id), now=timezone.now(), with_curve=False)
    return show(request, "pages/experiments/sentence.html", title="", report=report)


@site_page()
def show_experiment(request: HttpRequest, site: Site, experiment_id: int) -> HttpResponseBase:
    """Show the result of an experiment: the sentence, visitors, each goal, and the curve of the one that decides."""
    experiment = find(site, experiment_id)
    report = report_experiment(site, experiment, now=timezone.now())
    return show(
        request,
        "pages/experiments/experiment.html",
        title=str(experiment),
        experiment=experiment,
        report=report,
        tables=[table_of(each) for each in report.metrics],
        charts=[(f"Difference of {name} by day", chart) for name, chart in draw_curve(report)],
        decided_for=next((row for row in experiment.variations.all() if row.number == experiment.decided_for), None),
    )


def find(site: Site, experiment_id: int) -> Experiment:
    """Return an experiment of a site with its variations, goals and phases. Raises Http404. Four queries."""
    experiment = find_experiment(site.pk, experiment_id)
    if experiment is None:
        raise Http404
    experiment.site = site
    return experiment


def table_of(result: MetricResult) -> MetricTable:
    """Return a metric with its differences in words and as pictures on one scale."""
    bounds = [abs(bound) for row in result.rows if row.comparison for bound in bounds_of(row.comparison)]
    widest = max(bounds, default=0.0)
    rows = [
        ComparedRow(row, say_difference(row.comparison), say_interval(row.comparison), draw_bar(row.comparison, widest))
        for row in result.rows
    ]
    title = describe_metric(result)
    return MetricTable(result, title[0].upper() + title[1:], result.metric.kind == MetricKind.CONVERTED, rows)


def bounds_of(comparison: Comparison) -> list[float]:
    """Return the bounds of the relative interval if there are both. Pure."""
    interval = comparison.anytime.relative if comparison.anytime else Interval(None, None)
    return [] if interval.lower is None or interval.upper is None else [interval.lower, interval.upper]


def say_difference(comparison: Comparison | None) -> str:
    """Return the relative difference as `+4.1 %`, `–` if there is none. Pure."""
    return "–" if comparison is None or comparison.relative is None else signed(comparison.relative)


def say_interval(comparison: Comparison | None) -> str:
    """Return the relative interval as `+1.2 % to +7 %`. Pure."""
    return " to ".join(signed(bound) for bound in bounds_of(comparison)) if comparison else ""


def signed(share: float) -> str:
    """Return a part of 1 as a change in per cent: `+4.1 %`, `−0.3 %`, `0 %`. Pure."""
    text = percent(abs(share))
    return f"{'' if text == '0' else '+' if share > 0 else '−'}{text} %"


def draw_bar(comparison: Comparison | None, widest: float) -> Bar | None:
    """Return the picture of an interval on a scale from -widest to widest. Pure."""
    if comparison is None or comparison.relative is None or not widest or not (bounds := bounds_of(comparison)):
        return None

    def place(share: float) -> float:
        return round(50 + 50 * max(-1.0, min(share / widest, 1.0)), 2)

    return Bar(place(bounds[0]), place(bounds[1]), place(comparison.relative))


def draw_curve(report: ExperimentReport) -> list[tuple[str, Chart]]:
    """Return a chart for each variation: its relative difference at the end of each day, with both bounds. Pure."""
    names = {each.variation.number: str(each.variation) for each in report.shares}
    numbers = list(dict.fromkeys(number for day in report.curve for number in day.comparisons))
    charts = []
    for number in numbers:
        whole = [(day.day, day.comparisons[number]) for day in report.curve]
        found = list(dropwhile(lambda each: each[1].relative is None, whole))
        bounds = [bounds_of(comparison) for _, comparison in found]
        chart = Chart(
            [str(day) for day, _ in found],
            [
                Series("Difference, %", [in_percent(comparison.relative) for _, comparison in found], "strong"),
                Series("Lower bound, %", [in_percent(pair[0]) if pair else None for pair in bounds]),
                Series("Upper bound, %", [in_percent(pair[1]) if pair else None for pair in bounds]),
            ],
            unit="Day",
            type="line",
            ticks=[f"{day.day} {day:%b}" for day, _ in found],
            titles=[f"{day:%A}, {day.day} {day:%B}" for day, _ in found],
            limit=("no difference", 0.0),
        )
        if found:
            charts.append((names[number], chart))
    return charts


def in_percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 2)
