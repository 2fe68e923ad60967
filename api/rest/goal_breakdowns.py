"""`/api/goals/{id}/breakdown`: the figures of the breakdown page, from the same code (promise K-87)."""
# ruff: noqa: N815 - the names are the wire's

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.insight.breakdowns import (
    AUDIENCES,
    FILTERS,
    NAMED,
    OF_CONVERSIONS,
    BreakdownBy,
    PartFilter,
    break_down,
    find_other,
    unknown_audience,
)
from api.insight.rates import Rate
from api.models import TokenScope
from api.rest.access import audit_reading
from api.rest.goal_figures import BASE_GOAL_ID, BASE_VISITORS, PeriodQuery, load_base
from api.rest.goals import find_goal
from api.rest.schema import answers
from goals.reports.breakdown import BreakdownPart


@extend_schema_serializer(component_name="BreakdownPart")
class PartShape(serializers.Serializer[BreakdownPart]):
    """The figures of some conversions."""

    value = serializers.CharField(
        allow_null=True, help_text="The value that these conversions share (of a source or goal its id), or null."
    )
    conversions = serializers.IntegerField()
    visits = serializers.IntegerField(help_text="Visits with a conversion.")
    visitors = serializers.IntegerField(help_text="Visitors with a conversion.")
    revenue = serializers.DictField(
        child=serializers.DecimalField(max_digits=40, decimal_places=6),
        help_text="By currency, exact decimals.",
    )
    rate = serializers.SerializerMethodField(
        help_text="`visitors` over `baseVisitors`. Null without `baseVisitors`, if `isBounded`, and with `onlyBy`. "
        "Null also by trait, group, persona, segment and goal, because the base is not of these visitors."
    )

    def get_rate(self, part: BreakdownPart) -> float | None:
        base = self.context["base"]
        return None if base is None else Rate(part.visitors, base.visitors).value


@extend_schema_serializer(component_name="Breakdown")
class BreakdownShape(serializers.Serializer[Any]):
    """A goal's conversions in parts, the largest first."""

    goalId = serializers.IntegerField(source="goal_id")
    begin = serializers.DateTimeField(help_text="The first time included: later than asked for if `isBounded`.")
    end = serializers.DateTimeField(help_text="The first time no longer included.")
    isBounded = serializers.BooleanField(
        source="is_cut", help_text="True if there are too many conversions, so that only the newest are included."
    )
    baseGoalId = BASE_GOAL_ID
    baseVisitors = BASE_VISITORS
    values = serializers.IntegerField(help_text="The number of different values.")
    parts = PartShape(many=True, help_text="At most 20.")
    other = PartShape(allow_null=True, help_text="All further parts together.")
    whole = PartShape(allow_null=True, help_text="All conversions that match the filter. Null without a filter.")
    cancellations = serializers.IntegerField(help_text="Cancelled conversions of the goal in this time.")
    cancelledRevenue = serializers.DictField(
        source="cancelled_revenue",
        child=serializers.DecimalField(max_digits=40, decimal_places=6),
        help_text="Their revenue by currency. No part subtracts it.",
    )


class BreakdownQuery(PeriodQuery):
    by = serializers.ChoiceField(
        choices=[by.value for by in BreakdownBy],
        help_text="`property`, `currency` and `source` come from each conversion; the others from what is known of "
        "each visitor now. With `persona`, `segment` and `goal` a visitor may be in several parts.",
    )
    name = serializers.CharField(
        required=False, help_text="The property (with dots for nested ones) or trait; needed for these two."
    )
    onlyBy = serializers.ChoiceField(
        choices=[by.value for by in FILTERS],
        required=False,
        help_text="Count only visitors with this `onlyValue` now; for `goal`, visitors who ever converted that goal.",
    )
    onlyName = serializers.CharField(required=False, help_text="The trait; needed with `onlyBy=trait`.")
    onlyValue = serializers.CharField(
        required=False,
        trim_whitespace=False,
        help_text="As in a part's `value`: a text as it is, anything else as JSON; for a goal its id or name.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters with `begin` and `end` filled in. Raises ValidationError for a missing one."""
        if attrs["by"] in NAMED and "name" not in attrs:
            raise serializers.ValidationError({"name": f"Send the name of the {attrs['by']}."})
        if ("onlyBy" in attrs) != ("onlyValue" in attrs):
            raise serializers.ValidationError({"onlyBy": "Send onlyBy and onlyValue together."})
        if (attrs.get("onlyBy") == BreakdownBy.TRAIT) != ("onlyName" in attrs):
            raise serializers.ValidationError({"onlyName": "Send the name of the trait, and only with onlyBy=trait."})
        return super().validate(attrs)


class GoalBreakdown(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="breakDownGoal",
        tags=["goals"],
        parameters=[BreakdownQuery],
        responses=answers(200, BreakdownShape, 400, 404),
    )
    def get(self, request: Request, goal_id: int) -> Response:
        """Break down a goal's conversions, with those of merged goals, by property, source or visitor."""
        query = BreakdownQuery.read(request)
        goal = find_goal(request, goal_id, follows_merge=True)
        only = None
        if "onlyBy" in query:
            only = PartFilter(BreakdownBy(query["onlyBy"]), query["onlyValue"], query.get("onlyName", ""))
        if only is not None and only.by == BreakdownBy.GOAL:
            other = find_other(goal.site, only.value)
            if other is None or other == goal:
                raise serializers.ValidationError({"onlyValue": "The site has no other goal with this id or name."})
            only = PartFilter(BreakdownBy.GOAL, str(other.pk))
        if only is not None and only.by in AUDIENCES and (unknown := unknown_audience(goal.site, only)):
            near = f" Did you mean: {', '.join(unknown.near)}?" if unknown.near else ""
            raise serializers.ValidationError({"onlyValue": f"The site has no such {only.by}.{near}"})
        by, name = BreakdownBy(query["by"]), query.get("name", "")
        given = [only] if only else []
        seen = break_down(goal.site, goal, by, name=name, only=given, begin=query["begin"], end=query["end"])
        found = seen.breakdown
        base, counted = load_base(goal.site, query)
        audit_reading(request, {goal.site_id})  # a value of a trait or property may be an e-mail address
        shaped = BreakdownShape(
            {
                "goal_id": goal.pk,
                "begin": seen.begin,
                "end": query["end"],
                "is_cut": seen.is_cut,
                "base_goal_id": base.goal and base.goal.pk,
                "base_visitors": counted and counted.visitors,
                "values": found.values,
                "parts": found.parts,
                "other": found.other,
                "whole": seen.whole,
                "cancellations": seen.cancelled.number,
                "cancelled_revenue": seen.cancelled.revenue,
            },
            # The base is of all visitors: of people with something in common a rate over it would say nothing.
            context={"base": None if seen.is_cut or only or by not in OF_CONVERSIONS else counted},
        )
        return Response(shaped.data)
