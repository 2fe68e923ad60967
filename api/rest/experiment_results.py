"""`/api/sites/{sitecode}/experiments/{id}/results`: what an experiment says, and the exact sums behind it."""
# ruff: noqa: N815 - the names are the wire's

from dataclasses import asdict
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.insight.experiments import VariationResult, report_experiment
from api.rest.experiments import load_experiment
from api.rest.schema import answers
from goals.experiments.measuring import BEFORE, MetricKind
from goals.experiments.models import ExperimentGoal
from goals.experiments.reading import ExperimentState
from goals.experiments.results import ResultClaim

EXACT = "As a text, because it is exact."


class VisitorsShape(serializers.Serializer[Any]):
    """The visitors of a variation."""

    variation = serializers.IntegerField(help_text="Its number.")
    visitors = serializers.IntegerField()


class IntervalShape(serializers.Serializer[Any]):
    """Bounds of a difference. A bound that the sums do not limit is null."""

    lower = serializers.FloatField(allow_null=True)
    upper = serializers.FloatField(allow_null=True)


class ComparisonShape(serializers.Serializer[Any]):
    """A variation compared with the reference, valid however often it is read. Shares are parts of 1."""

    claim = serializers.ChoiceField(
        choices=[claim.value for claim in ResultClaim],
        help_text="`open`: no difference seen yet. Nothing is claimed for `too_few`, `no_baseline` and `ratio_off`.",
    )
    sentence = serializers.CharField(help_text="The claim in words.")
    absolute = serializers.FloatField(allow_null=True)
    relative = serializers.FloatField(allow_null=True)
    relativeInterval = IntervalShape(allow_null=True)
    pValue = serializers.FloatField(allow_null=True, help_text="Corrected for the number of comparisons.")
    reduction = serializers.FloatField(help_text="The part of the variance that CUPED takes away.")


class SumsShape(serializers.Serializer[Any]):
    """Sums over the visitors of a variation. `y` is a visitor's metric, `x` the same in the days before."""

    variation = serializers.IntegerField(help_text="Its number.")
    visitors = serializers.IntegerField()
    y = serializers.CharField(help_text=EXACT)
    yy = serializers.CharField(help_text="Of the squares. " + EXACT)
    x = serializers.CharField(help_text=EXACT)
    xx = serializers.CharField(help_text=EXACT)
    xy = serializers.CharField(help_text=EXACT)
    comparison = ComparisonShape(allow_null=True, help_text="Null for the reference.")


class MetricShape(serializers.Serializer[Any]):
    """A metric of a goal: 1 or 0 for converted, conversions, or revenue in a currency."""

    goal = serializers.IntegerField()
    role = serializers.ChoiceField(choices=ExperimentGoal.Role.choices)
    metric = serializers.ChoiceField(choices=[kind.value for kind in MetricKind])
    currency = serializers.CharField(help_text="Empty unless it is revenue.")
    variations = SumsShape(many=True)


class ResultShape(serializers.Serializer[Any]):
    """The result of an experiment: its sums are equal in any order of events, and to the last digit at every read."""

    sentence = serializers.CharField(help_text="What the experiment says about its primary goal.")
    state = serializers.ChoiceField(choices=[state.value for state in ExperimentState])
    since = serializers.DateTimeField(allow_null=True, help_text="First exposures count from here on; null for all.")
    until = serializers.DateTimeField(allow_null=True)
    windowDays = serializers.IntegerField(help_text="Days after the first exposure in which conversions count.")
    daysBefore = serializers.IntegerField(help_text="The days of `x`.")
    reference = serializers.IntegerField(allow_null=True, help_text="The number of the variation to compare with.")
    leftOut = serializers.IntegerField(help_text="Visitors who saw several variations.")
    isRatioOff = serializers.BooleanField(help_text="True if visitors are not shared as configured.")
    visitors = VisitorsShape(many=True)
    metrics = MetricShape(many=True)


@extend_schema(tags=["experiments"])
class ExperimentResults(APIView):
    @extend_schema(operation_id="readExperimentResults", responses=answers(200, ResultShape, 404))
    def get(self, request: Request, sitecode: str, experiment_id: int) -> Response:
        """Return what an experiment says, and its sums. It reads each exposure and the conversions of its visitors.

        Only conversions from the first exposure on count, each under the visitor that links say now.
        """
        experiment = load_experiment(request, sitecode, experiment_id)
        report = report_experiment(experiment.site, experiment, now=timezone.now(), with_curve=False)
        result = {
            "sentence": report.sentence,
            "state": report.state.value,
            "since": report.since,
            "until": report.until,
            "windowDays": experiment.window_days,
            "daysBefore": BEFORE.days,
            "reference": None if report.reference is None else report.reference.number,
            "leftOut": report.left_out,
            "isRatioOff": report.ratio.is_off,
            "visitors": [{"variation": each.variation.number, "visitors": each.visitors} for each in report.shares],
            "metrics": [
                {
                    "goal": each.metric.goal_id,
                    "role": each.role.value,
                    "metric": each.metric.kind.value,
                    "currency": each.metric.currency,
                    "variations": [shape_variation(row) for row in each.rows],
                }
                for each in report.metrics
            ],
        }
        return Response(ResultShape(result).data)


def shape_variation(row: VariationResult) -> dict[str, Any]:
    """Return a metric of a variation as SumsShape writes it. Pure."""
    sums = {name: f"{getattr(row.sums, name):f}" for name in ("y", "yy", "x", "xx", "xy")}
    found = row.comparison
    comparison = found and {
        "claim": found.claim.value,
        "sentence": row.sentence,
        "absolute": found.absolute,
        "relative": found.relative,
        "relativeInterval": found.anytime and asdict(found.anytime.relative),
        "pValue": found.anytime and found.anytime.p_value,
        "reduction": found.reduction,
    }
    return {
        "variation": row.variation.number,
        "visitors": row.sums.visitors,
        **sums,
        "comparison": comparison,
    }
