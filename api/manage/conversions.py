"""`/api/goals/{id}/conversions` and `/api/visitors/{code}/conversions`: pages that stay whole while events come in."""
# ruff: noqa: N815 - the names are the wire's

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.manage.access import note_reading, visible_sites
from api.manage.goals import find_goal
from api.manage.reading import Query
from api.manage.schema import answers
from goals.finding import Place, conversions_of_goal, conversions_of_visitor
from goals.models import Conversion

PAGE_LIMIT: Final = 200
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
RESOLUTION: Final = timedelta(microseconds=1)
LARGEST_ID: Final = 2**63 - 1


@extend_schema_serializer(component_name="Conversion")
class ConversionShape(serializers.Serializer[Conversion]):
    """One hit of a goal."""

    id = serializers.IntegerField()
    time = serializers.DateTimeField(source="occurred_at", help_text="When the event happened.")
    goalId = serializers.IntegerField(source="goal_id")
    goalName = serializers.CharField(source="goal.name")
    visitorCode = serializers.CharField(
        source="visitor_code", help_text="Whose it is; an unmatched one counts under its user id or anonymous id."
    )
    isMatched = serializers.BooleanField(source="is_matched", help_text="Whether a visitor code is known.")
    userId = serializers.CharField(source="user_id", allow_null=True)
    anonymousId = serializers.CharField(source="anonymous_id", allow_null=True)
    revenue = serializers.DecimalField(max_digits=20, decimal_places=6, allow_null=True, help_text="An exact decimal.")
    currency = serializers.CharField(allow_null=True, help_text="ISO 4217; XXX when the event's is none.")
    value = serializers.DecimalField(max_digits=20, decimal_places=6, allow_null=True)
    properties = serializers.DictField(help_text="All that the event carried.")


class ConversionPage(serializers.Serializer[Any]):
    results = ConversionShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="The `cursor` of the next page; null on the last.")


class ConversionQuery(Query):
    limit = serializers.IntegerField(default=50, min_value=1, max_value=PAGE_LIMIT)
    cursor = serializers.CharField(required=False, help_text="`next` of the page before; its content is ours.")

    def validate_cursor(self, cursor: str) -> Place:
        try:
            return read_cursor(cursor)
        except ValueError as error:
            raise serializers.ValidationError("This is no cursor. Take `next` of the page before.") from error


class VisitorConversionQuery(ConversionQuery):
    site = serializers.CharField(required=False, help_text="A sitecode; all your sites without it.")


class GoalConversions(APIView):
    @extend_schema(
        operation_id="listConversionsOfGoal",
        tags=["conversions"],
        parameters=[ConversionQuery],
        responses=answers(200, ConversionPage, 400, 404),
    )
    def get(self, request: Request, goal_id: int) -> Response:
        """A goal's conversions, newest first, and those of goals merged into it: each has the goal it was made for."""
        query = ConversionQuery.read(request)
        goal = find_goal(request, goal_id, follows_merge=True)
        found = conversions_of_goal(goal, after=query.get("cursor"), limit=query["limit"] + 1)
        return page_of(request, found, limit=query["limit"])


class VisitorConversions(APIView):
    @extend_schema(
        operation_id="listConversionsOfVisitor",
        tags=["conversions"],
        parameters=[VisitorConversionQuery],
        responses=answers(200, ConversionPage, 400, 404),
    )
    def get(self, request: Request, code: str) -> Response:
        """What a visitor converted, newest first; deleted goals aside. Percent-encode the code, slashes too."""
        query = VisitorConversionQuery.read(request)
        found = conversions_of_visitor(
            visible_sites(request, query.get("site", "")),
            code.replace("\0", "\ufffd"),  # as it is stored
            after=query.get("cursor"),
            limit=query["limit"] + 1,
        )
        return page_of(request, found, limit=query["limit"])


def page_of(request: Request, found: Sequence[Conversion], *, limit: int) -> Response:
    """`{"results": […], "next": cursor or null}` of up to `limit` conversions and the one after them."""
    results = found[:limit]
    note_reading(request, {conversion.site_id for conversion in results})
    following = write_cursor(results[-1]) if len(found) > limit else None
    return Response(ConversionPage({"results": results, "next": following}).data)


def write_cursor(conversion: Conversion) -> str:
    """Where a page ends: opaque to clients, URL-safe."""
    micros = (conversion.occurred_at - EPOCH) // RESOLUTION
    return base64.urlsafe_b64encode(msgspec.json.encode([micros, conversion.pk])).decode().rstrip("=")


def read_cursor(cursor: str) -> Place:
    """The place that `write_cursor` wrote. Raises ValueError for anything else."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True)
        micros, id_ = msgspec.json.decode(text, type=tuple[int, int])
        occurred_at = EPOCH + micros * RESOLUTION
    except (binascii.Error, msgspec.DecodeError, OverflowError) as error:
        raise ValueError(cursor) from error
    if abs(id_) > LARGEST_ID:
        raise ValueError(cursor)
    return Place(occurred_at, id_)
