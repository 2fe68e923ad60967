"""`/api/goals/{id}/conversions` and `/api/visitors/{code}/conversions`, in pages that new events do not shift."""
# ruff: noqa: N815 - the names are the wire's

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, cast

import msgspec
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from api.http.chunks import iter_chunks
from api.models import TokenScope
from api.rest.access import audit_reading, visible_sites
from api.rest.cursors import TimeCursorField, write_cursor
from api.rest.goals import find_goal
from api.rest.reading import Query
from api.rest.schema import answers
from goals.models import Conversion
from goals.queries import (
    ConversionPosition,
    estimate_properties_bytes,
    list_goal_conversions,
    list_visitor_conversions,
    load_properties,
)

PAGE_LIMIT: Final = 200
PAGE_BYTES: Final = 4_194_304  # of properties: 200 events of 1 MB would be an answer of 400 MB


@extend_schema_serializer(component_name="Conversion")
class ConversionShape(serializers.Serializer[Conversion]):
    """One hit of a goal."""

    id = serializers.IntegerField()
    time = serializers.DateTimeField(source="occurred_at", help_text="When the event happened.")
    goalId = serializers.IntegerField(source="goal_id")
    goalName = serializers.CharField(source="goal.name")
    visitorCode = serializers.CharField(
        source="visitor_code", help_text="The visitor. Without a visitor code, the user id or anonymous id."
    )
    isMatched = serializers.BooleanField(source="is_matched", help_text="True if the visitor code is known.")
    userId = serializers.CharField(source="user_id", allow_null=True)
    anonymousId = serializers.CharField(source="anonymous_id", allow_null=True)
    revenue = serializers.DecimalField(max_digits=20, decimal_places=6, allow_null=True, help_text="An exact decimal.")
    currency = serializers.CharField(allow_null=True, help_text="ISO 4217; XXX if the event's currency is not one.")
    value = serializers.DecimalField(max_digits=20, decimal_places=6, allow_null=True)
    properties = serializers.SerializerMethodField(help_text="The event's properties.")
    hasAllProperties = serializers.SerializerMethodField(
        help_text="False if an earlier version stored more than 2 MiB of properties, which are left out here."
    )

    def get_properties(self, conversion: Conversion) -> dict[str, Any]:
        """Return the JSON as PostgreSQL wrote it, because as Python objects a page takes thirty times its bytes."""
        text: str | None = self.context["properties"][conversion.pk]
        return cast("dict[str, Any]", msgspec.Raw((text or "{}").encode()))

    def get_hasAllProperties(self, conversion: Conversion) -> bool:  # noqa: N802 - the wire's name
        return self.context["properties"][conversion.pk] is not None


class ConversionPage(serializers.Serializer[Any]):
    results = ConversionShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="The `cursor` of the next page; null on the last.")


class ConversionQuery(Query):
    limit = serializers.IntegerField(
        default=50,
        min_value=1,
        max_value=PAGE_LIMIT,
        help_text="The most conversions of a page. It has fewer if their properties exceed 4 MiB; `next` continues.",
    )
    cursor = TimeCursorField()

    def validate_cursor(self, cursor: tuple[datetime, int]) -> ConversionPosition:
        return ConversionPosition(*cursor)


class VisitorConversionQuery(ConversionQuery):
    site = serializers.CharField(required=False, help_text="A sitecode; all your sites without it.")


class GoalConversions(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="listConversionsOfGoal",
        tags=["conversions"],
        parameters=[ConversionQuery],
        responses=answers(200, ConversionPage, 400, 404),
    )
    def get(self, request: Request, goal_id: int) -> HttpResponse:
        """List a goal's conversions, newest first, with those of goals merged into it. Each names its own goal."""
        query = ConversionQuery.read(request)
        goal = find_goal(request, goal_id, follows_merge=True)
        found = list_goal_conversions(goal, after=query.get("cursor"), limit=query["limit"] + 1)
        return answer_page(request, found, limit=query["limit"])


class VisitorConversions(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="listConversionsOfVisitor",
        tags=["conversions"],
        parameters=[VisitorConversionQuery],
        responses=answers(200, ConversionPage, 400, 404),
    )
    def get(self, request: Request, code: str) -> HttpResponse:
        """List a visitor's conversions, newest first, without deleted goals. Percent-encode the code, slashes too."""
        query = VisitorConversionQuery.read(request)
        found = [
            conversion
            for site_id in visible_sites(request, query.get("site", ""))
            for conversion in list_visitor_conversions(
                site_id,
                code,
                after=query.get("cursor"),
                limit=query["limit"] + 1,
            )
        ]
        found.sort(key=lambda conversion: (conversion.occurred_at, conversion.pk), reverse=True)
        return answer_page(request, found[: query["limit"] + 1], limit=query["limit"])


def answer_page(request: Request, found: Sequence[Conversion], *, limit: int) -> HttpResponse:
    """Answer `{"results": […], "next": cursor or null}` from up to `limit + 1` conversions.

    A page ends earlier if its properties would exceed PAGE_BYTES. Two queries a site for each 4 MiB of them.
    """
    results, properties = with_properties(found[:limit])
    audit_reading(request, {conversion.site_id for conversion in results})
    last = results[-1] if results and len(found) > len(results) else None
    following = None if last is None else write_cursor(last.occurred_at, last.pk)
    page = ConversionPage({"results": results, "next": following}, context={"properties": properties})
    return HttpResponse(msgspec.json.encode(page.data), content_type="application/json")


def with_properties(conversions: Sequence[Conversion]) -> tuple[list[Conversion], dict[int, str | None]]:
    """Return the first conversions with PAGE_BYTES of properties, at least one, and the JSON of each by id."""
    texts: dict[int, str | None] = {}
    total = 0
    sizes: dict[int, int] = {}
    site_of = {conversion.pk: conversion.site_id for conversion in conversions}
    for site_id, ids in group_by_site(site_of).items():
        sizes |= dict(estimate_properties_bytes(site_id, ids))
    for chunk in iter_chunks((id_, sizes[id_]) for id_ in site_of if id_ in sizes):
        loaded: dict[int, str | None] = {}
        for site_id, ids in group_by_site({id_: site_of[id_] for id_ in chunk}).items():
            loaded |= load_properties(site_id, ids)
        for id_ in chunk:
            properties = loaded.get(id_)  # None also for a row that was erased at this moment
            total += len(properties or "")
            if texts and total > PAGE_BYTES:
                return [conversion for conversion in conversions if conversion.pk in texts], texts
            texts[id_] = properties
    return [conversion for conversion in conversions if conversion.pk in texts], texts


def group_by_site(site_of: Mapping[int, int]) -> dict[int, list[int]]:
    """Return the ids of rows by site. Pure."""
    ids = defaultdict[int, list[int]](list)
    for id_, site_id in site_of.items():
        ids[site_id].append(id_)
    return ids
