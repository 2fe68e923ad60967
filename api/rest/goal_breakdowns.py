"""`/api/goals/{id}/breakdown`: the figures of the goal's page of breakdowns, from the same code (promises K-87)."""
# ruff: noqa: N815 - the names are the wire's

from datetime import timedelta
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.insight.breakdowns import FILTERS, NAMED, BreakdownBy, VisitorFilter, break_down, find_other, unknown_persona
from api.rest.access import note_reading
from api.rest.goals import find_goal
from api.rest.reading import Query
from api.rest.schema import answers
from goals.reports import Part

DAYS: Final = 30  # before `to`, unless `from` is given


@extend_schema_serializer(component_name="BreakdownPart")
class PartShape(serializers.Serializer[Part]):
    """The figures of some conversions."""

    value = serializers.CharField(
        allow_null=True, help_text="What they have in common: the id of a source or goal. Null: they have none."
    )
    conversions = serializers.IntegerField()
    visits = serializers.IntegerField(help_text="Converting visits, which began with one of them.")
    visitors = serializers.IntegerField(help_text="Converting visitors.")
    revenue = serializers.DictField(
        child=serializers.DecimalField(max_digits=40, decimal_places=6),
        help_text="BreakdownBy currency, exact decimals.",
    )


@extend_schema_serializer(component_name="Breakdown")
class BreakdownShape(serializers.Serializer[Any]):
    """A goal's conversions in parts, the largest first."""

    goalId = serializers.IntegerField(source="goal_id")
    begin = serializers.DateTimeField(help_text="From when it looked: later than `from` where it is bounded.")
    end = serializers.DateTimeField(help_text="Until before when.")
    isBounded = serializers.BooleanField(
        source="is_cut", help_text="Whether there are too many conversions, so that only the newest are in it."
    )
    values = serializers.IntegerField(help_text="How many different values there are, in all.")
    parts = PartShape(many=True, help_text="At most 20.")
    other = PartShape(allow_null=True, help_text="All further parts together.")
    whole = PartShape(allow_null=True, help_text="All of it together; with a filter alone, else null.")


class BreakdownQuery(Query):
    by = serializers.ChoiceField(
        choices=[by.value for by in BreakdownBy],
        help_text="`property`, `currency` and `source` are those of each conversion; the others are what is known of "
        "each visitor now. With `persona` and `goal` a visitor may be in several parts.",
    )
    name = serializers.CharField(
        required=False, help_text="Which property (with dots for what lies deeper) or trait; needed for these two."
    )
    begin = serializers.DateTimeField(required=False, help_text=f"{DAYS} days before `end` without it.")
    end = serializers.DateTimeField(required=False, help_text="Until before then; now without it.")
    onlyBy = serializers.ChoiceField(
        choices=[by.value for by in FILTERS],
        required=False,
        help_text="Count only visitors of whom this is `onlyValue` now; who ever converted that goal, for `goal`.",
    )
    onlyName = serializers.CharField(required=False, help_text="Which trait; needed with `onlyBy=trait`.")
    onlyValue = serializers.CharField(
        required=False,
        trim_whitespace=False,
        help_text="As a part's value: a text as it is, anything else as JSON; the id of a goal, or its name.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Name what is missing; `begin` and `end` are always in what comes back."""
        if attrs["by"] in NAMED and "name" not in attrs:
            raise serializers.ValidationError({"name": f"Say which {attrs['by']}."})
        if ("onlyBy" in attrs) != ("onlyValue" in attrs):
            raise serializers.ValidationError({"onlyBy": "Send onlyBy and onlyValue together."})
        if (attrs.get("onlyBy") == BreakdownBy.TRAIT) != ("onlyName" in attrs):
            raise serializers.ValidationError({"onlyName": "Say which trait, and only for a trait."})
        end = attrs.setdefault("end", timezone.now())
        try:
            begin = attrs.setdefault("begin", end - timedelta(days=DAYS))
        except OverflowError as error:
            raise serializers.ValidationError({"end": "This is too long ago."}) from error
        if begin >= end:
            raise serializers.ValidationError({"begin": "This is not before the end."})
        if begin > timezone.now():
            raise serializers.ValidationError({"begin": "This is in the future: nothing has happened yet."})
        return attrs


class GoalBreakdown(APIView):
    @extend_schema(
        operation_id="breakDownGoal",
        tags=["goals"],
        parameters=[BreakdownQuery],
        responses=answers(200, BreakdownShape, 400, 404),
    )
    def get(self, request: Request, goal_id: int) -> Response:
        """A goal's conversions, and those of goals merged into it, by what they carried or by who converted."""
        query = BreakdownQuery.read(request)
        goal = find_goal(request, goal_id, follows_merge=True)
        only = None
        if "onlyBy" in query:
            only = VisitorFilter(BreakdownBy(query["onlyBy"]), query["onlyValue"], query.get("onlyName", ""))
        if only is not None and only.by == BreakdownBy.GOAL:
            other = find_other(goal.site, only.value)
            if other is None or other == goal:
                raise serializers.ValidationError({"onlyValue": "This is no other goal of the site, by id or name."})
            only = VisitorFilter(BreakdownBy.GOAL, str(other.pk))
        if only is not None and only.by == BreakdownBy.PERSONA and (unknown := unknown_persona(goal.site, only.value)):
            near = f" There is: {', '.join(unknown.near)}." if unknown.near else ""
            raise serializers.ValidationError({"onlyValue": f"This is no persona of the site.{near}"})
        by, name = BreakdownBy(query["by"]), query.get("name", "")
        seen = break_down(goal.site, goal, by, name=name, only=only, begin=query["begin"], end=query["end"])
        found = seen.breakdown
        note_reading(request, {goal.site_id})  # a value of a trait or property may be an e-mail address
        shaped = BreakdownShape(
            {
                "goal_id": goal.pk,
                "begin": seen.begin,
                "end": query["end"],
                "is_cut": seen.is_cut,
                "values": found.values,
                "parts": found.parts,
                "other": found.other,
                "whole": seen.whole,
            }
        )
        return Response(shaped.data)
