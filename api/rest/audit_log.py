"""`/api/sites/{sitecode}/audit-log`: who changed what, when, before and after."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.models import AuditEntry, TokenScope
from api.rest.access import open_site
from api.rest.reading import PAGE_LIMIT, Query
from api.rest.schema import answers


@extend_schema_serializer(component_name="AuditEntry")
class EntryShape(serializers.Serializer[AuditEntry]):
    """One change by a person, a program or a command."""

    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    who = serializers.CharField()
    what = serializers.CharField(help_text="A sentence.")
    before = serializers.JSONField(allow_null=True, help_text="The fields that changed, null if the thing was new.")
    after = serializers.JSONField(allow_null=True, help_text="The same afterwards, null if the thing is gone.")


class AuditPage(serializers.Serializer[Any]):
    results = EntryShape(many=True)
    next = serializers.IntegerField(allow_null=True, help_text="The `before` of the next page; null on the last.")


class EntryQuery(Query):
    who = serializers.CharField(required=False, trim_whitespace=False, help_text="Exactly this name.")
    what = serializers.CharField(
        required=False, trim_whitespace=False, help_text="A part of the sentence, in any case."
    )
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False, help_text="The first time no longer included.")
    before = serializers.IntegerField(
        required=False, min_value=1, max_value=2**63 - 1, help_text="`next` of the page before."
    )
    limit = serializers.IntegerField(default=50, min_value=1, max_value=PAGE_LIMIT)


@extend_schema(tags=["sites"])
class AuditLog(APIView):
    reads_need = TokenScope.ADMIN

    @extend_schema(
        operation_id="listAuditEntries", parameters=[EntryQuery], responses=answers(200, AuditPage, 400, 404)
    )
    def get(self, request: Request, sitecode: str) -> Response:
        """List the audit log, newest first."""
        query = EntryQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        names = {"before": "pk__lt", "who": "who", "what": "what__icontains", "since": "at__gte", "until": "at__lt"}
        filters = {lookup: query[name] for name, lookup in names.items() if name in query}
        page = list(AuditEntry.objects.filter(site=site, **filters).order_by("-pk")[: query["limit"] + 1])
        entries = page[: query["limit"]]
        shaped = AuditPage({"results": entries, "next": entries[-1].pk if len(page) > len(entries) else None})
        return Response(shaped.data)
