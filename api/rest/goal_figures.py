"""`/api/goals/{id}/figures`: the figures of a goal in a period with its conversion rate, as its page has them."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.insight.rates import FRESH, MOST_COUNTED, Rate, RateBase, find_base, load_seen, round_down
from api.models import Site
from api.rest.goals import find_goal
from api.rest.reading import Query
from api.rest.schema import answers
from goals.reports.periods import load_period
from goals.reports.visitors_seen import SeenVisitors

DAYS: Final = 30  # before `end`, unless `begin` is given
BASE_GOAL_ID: Final = serializers.IntegerField(
    source="base_goal_id",
    allow_null=True,
    help_text="The base goal of the site, whose visitors are `baseVisitors`. Null: all visitors seen.",
)
BASE_VISITORS: Final = serializers.IntegerField(
    source="base_visitors",
    allow_null=True,
    help_text="Visitors of the period with a conversion of the base goal, otherwise of any goal. Null if there are too "
    "many conversions to count them at once: ask again later for the same period, whose times are full hours. "
    f"Periods of more than {MOST_COUNTED:,} conversions stay null.",
)


class PeriodQuery(Query):
    """The times from `begin` until before `end`."""

    begin = serializers.DateTimeField(
        required=False,
        help_text=f"Default: {DAYS} days before `end`, rounded down to {FRESH.total_seconds() / 60:g} minutes.",
    )
    end = serializers.DateTimeField(required=False, help_text="The first time no longer included. Default: now.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with `begin` and `end` filled in. Raises ValidationError for an impossible period."""
        end = attrs.setdefault("end", timezone.now())
        try:
            begin = attrs.setdefault("begin", round_down(end - timedelta(days=DAYS)))
        except OverflowError as error:
            raise serializers.ValidationError({"end": "This is too long ago."}) from error
        if begin >= end:
            raise serializers.ValidationError({"begin": "This is not before the end."})
        if begin > timezone.now():
            raise serializers.ValidationError({"begin": "This is in the future: nothing has happened yet."})
        return attrs


@extend_schema_serializer(component_name="GoalFigures")
class GoalFiguresShape(serializers.Serializer[Any]):
    """The figures of a goal in a period, with those of the goals merged into it."""

    goalId = serializers.IntegerField(source="goal_id")
    begin = serializers.DateTimeField(help_text="The first time included.")
    end = serializers.DateTimeField(help_text="The first time no longer included.")
    conversions = serializers.IntegerField()
    visits = serializers.IntegerField(help_text="Visits that began with a conversion in this period.")
    visitors = serializers.IntegerField(help_text="Visitors with a conversion: the numerator of `rate`.")
    revenue = serializers.DictField(
        child=serializers.DecimalField(max_digits=40, decimal_places=6),
        help_text="By currency, exact decimals, without that of cancelled conversions.",
    )
    cancellations = serializers.IntegerField(help_text="Cancelled conversions.")
    baseGoalId = BASE_GOAL_ID
    baseVisitors = BASE_VISITORS
    rate = serializers.FloatField(
        allow_null=True,
        help_text="The conversion rate, `visitors` over `baseVisitors`. Null if these are 0 or null. More than 1 if "
        "visitors converted this goal without the base goal.",
    )


class FiguresOfGoal(APIView):
    @extend_schema(
        operation_id="readGoalFigures",
        tags=["goals"],
        parameters=[PeriodQuery],
        responses=answers(200, GoalFiguresShape, 400, 404),
    )
    def get(self, request: Request, goal_id: int) -> Response:
        """Return a goal's conversions, visitors, revenue and conversion rate in a period."""
        query = PeriodQuery.read(request)
        goal = find_goal(request, goal_id, follows_merge=True)
        begin, end = query["begin"], query["end"]
        figures = load_period(goal.site_id, [goal], begin=begin, end=end)[goal.pk]
        base, counted = load_base(goal.site, query)
        shaped = GoalFiguresShape(
            {
                "goal_id": goal.pk,
                "begin": begin,
                "end": end,
                "conversions": figures.conversions,
                "visits": figures.visits,
                "visitors": figures.visitors,
                "revenue": figures.revenue,
                "cancellations": figures.cancellations,
                "base_goal_id": base.goal and base.goal.pk,
                "base_visitors": counted and counted.visitors,
                "rate": counted and Rate(figures.visitors, counted.visitors).value,
            }
        )
        return Response(shaped.data)


def load_base(site: Site, query: Mapping[str, Any]) -> tuple[RateBase, SeenVisitors | None]:
    """Return the base of a site's rates and its visitors in the period of a query. Two queries at most."""
    base = find_base(site)
    ((counted,),) = load_seen(site.pk, [base], [(query["begin"], query["end"])], now=timezone.now())
    return base, counted
