"""`/sites` of the Automation API: the numeric id, the code and the name of each site."""
# ruff: noqa: N815 - the names are the wire's

from datetime import datetime
from typing import Final

from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.models import Site
from api.rest.access import caller_of
from api.rest.automation.lists import AutomationQuery, page_of
from api.rest.schema import PAGE_HEADERS, answers

FIELDS: Final[dict[str, type]] = {"id": int, "code": str, "name": str, "dateCreated": datetime}


@extend_schema_serializer(component_name="AutomationSite")
class AutomationSiteShape(serializers.Serializer[Site]):
    """A site by the names of the Automation API."""

    id = serializers.IntegerField()
    code = serializers.CharField(source="sitecode")
    name = serializers.CharField()
    dateCreated = serializers.DateTimeField(source="created_at")


@extend_schema(tags=["Automation API"])
class AutomationSites(ViewSet):
    @extend_schema(
        operation_id="automationListSites",
        parameters=[AutomationQuery, *PAGE_HEADERS],
        responses=answers(200, AutomationSiteShape(many=True), 400),
    )
    def list(self, request: Request) -> Response:
        """List your sites as Kameleoon's Automation API does. The id is what other operations take as `siteId`."""
        query = AutomationQuery.read(request)
        sites = Site.objects.in_bulk(list(caller_of(request).site_ids))
        rows = [
            {"id": site.pk, "code": site.sitecode, "name": site.name, "dateCreated": site.created_at}
            for site in sites.values()
        ]
        page, headers = page_of(rows, query, FIELDS)
        return Response([AutomationSiteShape(sites[row["id"]]).data for row in page], headers=headers)

    @extend_schema(operation_id="automationReadSite", responses=answers(200, AutomationSiteShape, 404))
    def retrieve(self, request: Request, site_id: int) -> Response:
        """Return id, code and name. Settings are at `/api/sites/{sitecode}`."""
        site = Site.objects.filter(pk=site_id, pk__in=caller_of(request).site_ids).first()
        if site is None:
            raise NotFound
        return Response(AutomationSiteShape(site).data)
