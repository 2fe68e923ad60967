"""`/api/sites`: the sites of a caller, and their settings."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.events.refusal import Refusal
from api.ingest import provisioning
from api.models import Site, TokenScope
from api.models.audit import audit_values, write_audit
from api.rest import idempotency
from api.rest.access import caller_of, open_site
from api.rest.schema import answers
from api.rest.site_shapes import NewSite, SiteChange, SiteQuery, SiteShape


@extend_schema(tags=["sites"])
class Sites(ViewSet):
    """The sites of a caller. Each method parses and answers; api.ingest.provisioning decides."""

    writes_need = TokenScope.ADMIN

    @extend_schema(operation_id="listSites", responses=answers(200, SiteShape(many=True), 400))
    def list(self, request: Request) -> Response:
        """List your sites, oldest first."""
        SiteQuery.read(request)
        sites = Site.objects.filter(pk__in=caller_of(request).site_ids).order_by("pk")
        return Response([shape(site) for site in sites])

    @extend_schema(
        operation_id="createSite",
        request=NewSite,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, SiteShape, 400, 403, 409),
    )
    def create(self, request: Request) -> Response:
        """Create a site, which your token then opens. Only the token of an administrator may."""
        new = NewSite(data=request.data)
        new.is_valid(raise_exception=True)
        caller = caller_of(request)
        token = caller.token
        if token is None or token.user is None or not token.user.is_superuser:
            raise Refusal(HTTPStatus.FORBIDDEN, "forbidden", "Only the token of an administrator may create a site.")

        def create(_secret: str) -> Mapping[str, Any]:
            site = provisioning.create_site(**new.validated_data)
            token.sites.add(site)
            after = {"name": site.name, "sitecode": site.sitecode}
            write_audit(caller.name, site, f"Created the site {site.sitecode}", None, after)
            return shape(site)

        try:
            return idempotency.create_once(request, None, create)
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict) from error

    @extend_schema(operation_id="readSite", responses=answers(200, SiteShape, 404))
    def retrieve(self, request: Request, sitecode: str) -> Response:
        """Return a site with its settings."""
        return Response(shape(open_site(request, sitecode=sitecode)))

    @extend_schema(operation_id="changeSite", request=SiteChange, responses=answers(200, SiteShape, 400, 403, 404))
    def partial_update(self, request: Request, sitecode: str) -> Response:
        """Change settings of a site. Some of them decide what its events mean from now on."""
        site = open_site(request, sitecode=sitecode)
        change = SiteChange(data=request.data, partial=True, context={"site": shape(site)})
        change.is_valid(raise_exception=True)
        fields: dict[str, Any] = change.validated_data
        was, is_now = audit_values({name: getattr(site, name) for name in fields}, fields)
        try:
            with transaction.atomic():
                provisioning.change_site(site, fields=is_now, now=timezone.now())
                if is_now:
                    write_audit(caller_of(request).name, site, "Changed the site's settings", was, is_now)
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict) from error
        return Response(shape(site))


def shape(site: Site) -> Mapping[str, Any]:
    """Return a site as JSON."""
    shaped: Mapping[str, Any] = SiteShape(site).data
    return shaped
