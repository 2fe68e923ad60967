"""`/api/sites/{sitecode}/exposures`: who saw which variation of an experiment, in pages."""
# ruff: noqa: N815 - the names are the wire's

from typing import Any, Final

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.models import TokenScope
from api.rest.access import audit_reading, open_site
from api.rest.cursors import LARGEST_ID, TimeCursorField, write_cursor
from api.rest.reading import Query
from api.rest.schema import answers
from goals.exposures import list_exposures
from goals.visit_models import Exposure

PAGE_LIMIT: Final = 1_000  # rows are small, and whoever analyses an experiment reads all of them


@extend_schema_serializer(component_name="Exposure")
class ExposureShape(serializers.Serializer[Exposure]):
    """The first time that a visitor saw a variation of an experiment."""

    experimentId = serializers.IntegerField(source="experiment_id")
    variationId = serializers.IntegerField(source="variation_id")
    visitorCode = serializers.CharField(
        source="visitor_code",
        help_text="The visitor code, or the id of a user. Empty if the sender knew an anonymous id only.",
    )
    isUser = serializers.BooleanField(
        source="is_user", help_text="True if the sender knew no visitor code, only the unique identifier of a user."
    )
    anonymousId = serializers.CharField(
        source="anonymous_id", help_text="Of an event without a visitor code, or empty."
    )
    countsFor = serializers.CharField(
        source="counts_for", help_text="The visitor for which results count it. A late link changes it."
    )
    time = serializers.DateTimeField(source="first_at", help_text="When the visitor first saw the variation.")


class ExposurePage(serializers.Serializer[Any]):
    results = ExposureShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="The `cursor` of the next page; null on the last.")


class ExposureQuery(Query):
    experimentId = serializers.IntegerField(
        min_value=-LARGEST_ID,
        max_value=LARGEST_ID,
        help_text="The `experimentId` of a rule of a feature flag, or the number of an experiment.",
    )
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False, help_text="The first time no longer included.")
    limit = serializers.IntegerField(default=50, min_value=1, max_value=PAGE_LIMIT)
    cursor = TimeCursorField()


@extend_schema(tags=["feature flags"])
class Exposures(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="listExposures", parameters=[ExposureQuery], responses=answers(200, ExposurePage, 400, 404)
    )
    def get(self, request: Request, sitecode: str) -> Response:
        """List the exposures to an experiment, newest first. A visitor has one for each variation.

        An event that arrives late may move an exposure to an earlier time. Pages then show it twice at most, and
        never leave one out.
        """
        query = ExposureQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        limit = query["limit"]
        found = list_exposures(
            site.pk,
            query["experimentId"],
            since=query.get("since"),
            until=query.get("until"),
            after=query.get("cursor"),
            limit=limit + 1,
        )
        page = found[:limit]
        audit_reading(request, {site.pk})
        following = write_cursor(page[-1].first_at, page[-1].pk) if len(found) > limit else None
        return Response(ExposurePage({"results": page, "next": following}).data)
