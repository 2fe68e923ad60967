"""`/api/sites/{sitecode}/experiments/{id}/results`: the exact sums of an experiment, of which statistics are made."""
# ruff: noqa: N815 - the names are the wire's

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.rest.experiments import load_experiment
from api.rest.schema import answers
from goals.experiments.editing import list_goal_ids
from goals.experiments.measuring import BEFORE, MeasureSettings, MetricKind, load_sums
from goals.experiments.reading import find_period, find_reference

EXACT = "As a text, because it is exact."


class VisitorsShape(serializers.Serializer[Any]):
    """The visitors of a variation."""

    variation = serializers.IntegerField(help_text="Its number.")
    visitors = serializers.IntegerField()


class SumsShape(serializers.Serializer[Any]):
    """Sums over the visitors of a variation. `y` is a visitor's metric, `x` the same in the days before."""

    variation = serializers.IntegerField(help_text="Its number.")
    visitors = serializers.IntegerField()
    y = serializers.CharField(help_text=EXACT)
    yy = serializers.CharField(help_text="Of the squares. " + EXACT)
    x = serializers.CharField(help_text=EXACT)
    xx = serializers.CharField(help_text=EXACT)
    xy = serializers.CharField(help_text=EXACT)


class MetricShape(serializers.Serializer[Any]):
    """A metric of a goal: 1 or 0 for converted, conversions, or revenue in a currency."""

    goal = serializers.IntegerField()
    metric = serializers.ChoiceField(choices=[kind.value for kind in MetricKind])
    currency = serializers.CharField(help_text="Empty unless it is revenue.")
    variations = SumsShape(many=True)


class ResultShape(serializers.Serializer[Any]):
    """The sums of an experiment: equal in any order of events, and to the last digit at every read."""

    since = serializers.DateTimeField(allow_null=True, help_text="First exposures count from here on; null for all.")
    until = serializers.DateTimeField(allow_null=True)
    windowDays = serializers.IntegerField(help_text="Conversions count for so long after the first exposure.")
    daysBefore = serializers.IntegerField(help_text="The days of `x`.")
    reference = serializers.IntegerField(allow_null=True, help_text="The number of the variation to compare with.")
    leftOut = serializers.IntegerField(help_text="Visitors who saw several variations.")
    visitors = VisitorsShape(many=True)
    metrics = MetricShape(many=True)


@extend_schema(tags=["experiments"])
class ExperimentResults(APIView):
    @extend_schema(operation_id="readExperimentResults", responses=answers(200, ResultShape, 404))
    def get(self, request: Request, sitecode: str, experiment_id: int) -> Response:
        """Return the sums of an experiment for its goals. It reads each exposure and the conversions of its visitors.

        Only conversions from the first exposure on count, each under the visitor that links say now.
        """
        experiment = load_experiment(request, sitecode, experiment_id)
        since, until = find_period(experiment)
        sums = load_sums(
            experiment.site_id,
            MeasureSettings(
                experiment.number,
                list(list_goal_ids(experiment)),
                since=since,
                until=until,
                window=timedelta(days=experiment.window_days),
            ),
        )
        reference = find_reference(experiment.variations.all())
        result = {
            "since": since,
            "until": until,
            "windowDays": experiment.window_days,
            "daysBefore": BEFORE.days,
            "reference": None if reference is None else reference.number,
            "leftOut": sums.left_out,
            "visitors": [
                {"variation": number, "visitors": visitors} for number, visitors in sorted(sums.visitors.items())
            ],
            "metrics": [
                {
                    "goal": metric.goal_id,
                    "metric": metric.kind.value,
                    "currency": metric.currency,
                    "variations": [
                        {
                            "variation": number,
                            "visitors": its.visitors,
                            **{name: f"{getattr(its, name):f}" for name in ("y", "yy", "x", "xx", "xy")},
                        }
                        for number, its in sorted(sums.of(metric).items())
                    ],
                }
                for metric in sums.metrics
            ],
        }
        return Response(ResultShape(result).data)
