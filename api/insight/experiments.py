"""Results of experiments as people and programs ask for them: sums, shares of visitors, comparisons, one sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from api.models import Site
from api.models.site_days import day_of, zone_of
from goals.experiments.measuring import ExperimentSums, MeasureSettings, Metric, MetricKind, load_sums
from goals.experiments.models import Experiment, ExperimentGoal, Variation
from goals.experiments.reading import ExperimentState, find_period, find_reference, state_of
from goals.experiments.results import Comparison
from goals.experiments.sample_ratio import SampleRatio, check_sample_ratio
from goals.experiments.sentences import Outlook, say, say_all
from goals.experiments.statistics import compare
from goals.experiments.sums import VariationSums
from goals.models import Goal
from goals.shown_names import show_goal_name
from zones import name_of

RECENT_DAYS: Final = 7  # the new visitors of this time tell how fast more will come
NO_VISITORS: Final = VariationSums(0)
Role = ExperimentGoal.Role


@dataclass(frozen=True, slots=True)
class VariationResult:
    """A metric of a variation, and its difference to the reference.

    The reference has no difference, nor has a variation that no visitor saw.
    """

    variation: Variation
    sums: VariationSums
    comparison: Comparison | None = None
    sentence: str = ""

    @property
    def mean(self) -> Decimal | None:
        """The rate of a metric that is 1 or 0, otherwise the mean of a visitor; None without visitors."""
        return Decimal(self.sums.y) / self.sums.visitors if self.sums.visitors else None


@dataclass(frozen=True, slots=True)
class MetricResult:
    """A metric of a goal for each variation, the reference first."""

    metric: Metric
    goal: Goal
    goal_name: str
    role: Role
    rows: Sequence[VariationResult]

    @property
    def decides(self) -> bool:
        """True for the metric that the sentence and the curve of the experiment are about."""
        return self.role == Role.PRIMARY and self.metric.kind == MetricKind.CONVERTED


@dataclass(frozen=True, slots=True)
class ShareOfVisitors:
    """The visitors of a variation, and the share that it should have, or None until a person describes one."""

    variation: Variation
    visitors: int
    expected: float | None
    actual: float | None  # None without visitors


@dataclass(frozen=True, slots=True)
class DayOfCurve:
    """The comparison of each variation at the end of a day, with what is known now."""

    day: date
    comparisons: Mapping[int, Comparison]  # by the number of the variation


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """The result of an experiment now, of first exposures from `since` until before `until`."""

    experiment: Experiment
    since: datetime | None
    until: datetime | None
    state: ExperimentState
    reference: Variation | None
    shares: Sequence[ShareOfVisitors]
    visitors: int
    left_out: int  # visitors of several variations
    ratio: SampleRatio
    ratio_began: date | None
    metrics: Sequence[MetricResult]  # the primary goal's come first
    sentence: str
    curve: Sequence[DayOfCurve]  # of the metric that decides


def report_experiment(
    site: Site, experiment: Experiment, *, now: datetime, with_curve: bool = True
) -> ExperimentReport:
    """Return the result of an experiment that `find_experiment` or `list_experiments` read.

    It is a function of what is stored: exact at every commit, the same in any order of events. Two queries, of which
    one reads each exposure of the experiment and the conversions of its visitors.
    """
    since, until = find_period(experiment)
    goals = _load_goals(site, experiment)
    sums = load_sums(
        site.pk,
        MeasureSettings(
            experiment=experiment.number,
            goals=list(goals),
            since=since,
            until=until,
            window=timedelta(days=experiment.window_days),
            zone=name_of(zone_of(site)),
        ),
    )
    variations = _order(experiment, sums)
    shares = _share_out(experiment, variations, sums)
    ratio = _check_ratio(shares, sums)
    state = state_of(experiment, now=now)
    visitors = sum(sums.visitors.values())
    metrics = _compare_metrics(site, variations, goals, sums, is_ratio_off=ratio.is_off)
    deciding = next((each for each in metrics if each.decides), None)
    paces = _find_paces(variations, sums, today=day_of(site, now)) if state == ExperimentState.RUNNING else {}
    return ExperimentReport(
        experiment=experiment,
        since=since,
        until=until,
        state=state,
        reference=variations[0] if variations else None,
        shares=shares,
        visitors=visitors,
        left_out=sums.left_out,
        ratio=ratio,
        ratio_began=None if ratio.began is None else sums.days[ratio.began],
        metrics=[_with_sentences(metric, paces) for metric in metrics],
        sentence=_summarise(deciding, paces, visitors=visitors),
        curve=_draw(deciding, sums, is_ratio_off=ratio.is_off) if deciding and with_curve else (),
    )


def _load_goals(site: Site, experiment: Experiment) -> dict[int, tuple[Goal, Role]]:
    """Return the goals of an experiment with their roles: primary, secondary, guardrails. One query."""
    roles = {each.goal_id: Role(each.role) for each in experiment.goals.all()}
    found = Goal.objects.filter(site=site, deleted_at=None).in_bulk(list(roles)) if roles else {}
    order = list(Role)
    return {
        id_: (found[id_], role) for role in order for id_, its in sorted(roles.items()) if its == role and id_ in found
    }


def _order(experiment: Experiment, sums: ExperimentSums) -> list[Variation]:
    """Return the reference, then the other variations that visitors saw or a person described. Pure."""
    known = list(experiment.variations.all())
    reference = find_reference(known)
    others = [
        each
        for each in known
        if each is not reference and (each.share is None or each.share or each.number in sums.visitors)
    ]
    return [reference, *others] if reference is not None else []


def _share_out(experiment: Experiment, variations: Sequence[Variation], sums: ExperimentSums) -> list[ShareOfVisitors]:
    """Return the visitors of each variation. Those without a share divide the rest equally. Pure.

    Nothing is expected of an experiment that exposures made until a person describes a share.
    """
    given = [each.share for each in variations if each.share is not None]
    is_described = bool(given) or experiment.origin != Experiment.Origin.EVENT
    rest = max(1 - sum(given), Decimal()) / max(len(variations) - len(given), 1)
    total = sum(sums.visitors.get(each.number, 0) for each in variations)
    return [
        ShareOfVisitors(
            variation=each,
            visitors=(visitors := sums.visitors.get(each.number, 0)),
            expected=float(rest if each.share is None else each.share) if is_described else None,
            actual=visitors / total if total else None,
        )
        for each in variations
    ]


def _check_ratio(shares: Sequence[ShareOfVisitors], sums: ExperimentSums) -> SampleRatio:
    """Check the shares of visitors. A variation with a share of 0 is left out. Pure."""
    expected = {each.variation.number: each.expected for each in shares if each.expected}
    if len(expected) < 2:  # noqa: PLR2004 - one variation has every visitor
        return SampleRatio(p_value=1.0, is_off=False)
    daily = [[sums.exposed.get(number, {}).get(day, 0) for number in expected] for day in sums.days]
    return check_sample_ratio(daily, shares=list(expected.values()))


def _compare_metrics(
    site: Site,
    variations: Sequence[Variation],
    goals: Mapping[int, tuple[Goal, Role]],
    sums: ExperimentSums,
    *,
    is_ratio_off: bool,
) -> list[MetricResult]:
    """Return the metrics of all goals. The rate of the primary goal is a family of its own, as are the guardrails."""
    results = []
    by_metric = {metric: sums.of(metric) for metric in sums.metrics if metric.goal_id in goals}
    for family in _families(by_metric, goals):
        seen = [each for each in variations[1:] if sums.visitors.get(each.number)]
        pairs = [
            (by_metric[metric].get(variations[0].number, NO_VISITORS), by_metric[metric][each.number])
            for metric in family
            for each in seen
        ]
        comparisons = iter(compare(pairs, is_ratio_off=is_ratio_off))
        for metric in family:
            goal, role = goals[metric.goal_id]
            rows = [
                VariationResult(
                    each,
                    by_metric[metric].get(each.number, NO_VISITORS),
                    next(comparisons) if each in seen else None,
                )
                for each in variations
            ]
            name = str(show_goal_name(goal, template=site.goal_name_template))
            results.append(MetricResult(metric, goal, name, role, rows))
    order = [(goal_id, kind) for goal_id in goals for kind in MetricKind]
    return sorted(
        results, key=lambda each: (order.index((each.metric.goal_id, each.metric.kind)), each.metric.currency)
    )


def _families(metrics: Mapping[Metric, object], goals: Mapping[int, tuple[Goal, Role]]) -> list[list[Metric]]:
    """Return the metrics that are corrected together: what decides, the guardrails, and all others. Pure."""
    families: dict[Role, list[Metric]] = {role: [] for role in Role}
    for metric in metrics:
        _, role = goals[metric.goal_id]
        decides = metric.kind == MetricKind.CONVERTED
        families[role if decides or role == Role.GUARDRAIL else Role.SECONDARY].append(metric)
    return [family for family in families.values() if family]


def _with_sentences(result: MetricResult, paces: Mapping[int, float]) -> MetricResult:
    what = result.goal_name if result.metric.kind == MetricKind.CONVERTED else describe_metric(result)

    def sentence_of(row: VariationResult) -> str:
        outlook = Outlook(visitors_a_day=paces.get(row.variation.number, 0.0))
        return say(row.comparison, goal=what, variation=str(row.variation), outlook=outlook) if row.comparison else ""

    return replace(result, rows=[replace(row, sentence=sentence_of(row)) for row in result.rows])


def describe_metric(result: MetricResult) -> str:
    """Return the metric in words, with its goal. Pure."""
    match result.metric.kind:
        case MetricKind.CONVERTED:
            return f"visitors who converted {result.goal_name}"
        case MetricKind.CONVERSIONS:
            return f"conversions of {result.goal_name} a visitor"
        case MetricKind.REVENUE:
            return f"{result.metric.currency} of {result.goal_name} a visitor"


def _summarise(deciding: MetricResult | None, paces: Mapping[int, float], *, visitors: int) -> str:
    """Return the one sentence of an experiment. Its outlook is that of the variation with fewest new visitors. Pure."""
    if not visitors:
        return "No visitor has seen it yet."
    if deciding is None:
        return "Choose the goal that decides. Then this sentence says what the variations do to it."
    compared = [(str(row.variation), row.comparison) for row in deciding.rows if row.comparison]
    if not compared:
        return "Visitors have seen one variation only, so there is nothing to compare yet."
    slowest = min(paces.get(row.variation.number, 0.0) for row in deciding.rows if row.comparison)
    return say_all(compared, goal=deciding.goal_name, outlook=Outlook(visitors_a_day=slowest))


def _find_paces(variations: Sequence[Variation], sums: ExperimentSums, *, today: date) -> dict[int, float]:
    """Return how many new visitors a day the reference and each variation had together lately. Pure.

    Today is left out, because it is not over.
    """
    begun = min((day for its in sums.exposed.values() for day in its), default=today)
    since = max(begun, today - timedelta(days=RECENT_DAYS))
    days = (today - since).days
    if not days:
        return {}
    recent = {
        each.number: sum(count for day, count in sums.exposed.get(each.number, {}).items() if since <= day < today)
        for each in variations
    }
    return {each.number: (recent[variations[0].number] + recent[each.number]) / days for each in variations[1:]}


def _draw(deciding: MetricResult, sums: ExperimentSums, *, is_ratio_off: bool) -> list[DayOfCurve]:
    """Return the comparisons of each day. The variations of a day are corrected together, days are not."""
    curves = sums.curve(deciding.metric)
    reference, *others = (row.variation.number for row in deciding.rows)
    seen = [number for number in others if number in curves]
    if reference not in curves or not seen:
        return []
    days = []
    for place, day in enumerate(sums.days):
        pairs = [(curves[reference][place], curves[number][place]) for number in seen]
        compared = compare(pairs, is_ratio_off=is_ratio_off)
        days.append(DayOfCurve(day, dict(zip(seen, compared, strict=True))))
    return days
