"""`/api/sites/{sitecode}/rules`: a site's rules, and a forecast of what other rules would change."""

from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from api.digest.forecast import forecast_rules
from api.digest.site_config import rule_of
from api.ingest.provisioning import replace_rules
from api.models import Rule, Site, TokenScope
from api.models.audit import write_audit
from api.rest.access import caller_of, open_site
from api.rest.rule_shapes import Draft, ForecastShape, RulesShape
from api.rest.schema import answers


class SiteRules(APIView):
    writes_need = TokenScope.ADMIN

    @extend_schema(operation_id="listRules", tags=["rules"], responses=answers(200, RulesShape, 404))
    def get(self, request: Request, sitecode: str) -> Response:
        """List a site's rules in the order in which they run."""
        return Response(shape(open_site(request, sitecode=sitecode)))

    @extend_schema(
        operation_id="replaceRules",
        tags=["rules"],
        request=RulesShape,
        responses=answers(200, RulesShape, 400, 403, 404),
    )
    def put(self, request: Request, sitecode: str) -> Response:
        """Replace all rules of a site, or none if one is wrong."""
        site = open_site(request, sitecode=sitecode)
        rules = read(RulesShape, request, site)["rules"]
        with transaction.atomic():
            before = shape(site)
            replace_rules(site, [Rule(**fields) for fields in rules], now=timezone.now())
            after = shape(site)
            write_audit(caller_of(request).name, site, "Replaced the rules", before, after)
        return Response(after)


class WhatIf(APIView):
    writes_need = TokenScope.READ_PERSONAL  # it writes nothing, and shows profiles

    @extend_schema(
        operation_id="tryRules", tags=["rules"], request=Draft, responses=answers(200, ForecastShape, 400, 404)
    )
    def post(self, request: Request, sitecode: str) -> Response:
        """Forecast what the latest messages would do under other rules. Nothing is changed."""
        site = open_site(request, sitecode=sitecode)
        draft = read(Draft, request, site)
        rules = [Rule(**fields) for fields in draft["rules"]]
        forecast = forecast_rules(
            site, [(rule.source_id, rule_of(rule)) for rule in rules if rule.is_enabled], last=draft["last"]
        )
        return Response(ForecastShape(forecast).data)


def read(kind: type[RulesShape], request: Request, site: Site) -> dict[str, Any]:
    """Return the rules of a body, validated for this site. Raises ValidationError. Two queries."""
    context = {
        "source_ids": set(site.sources.values_list("pk", flat=True)),
        "actions": list(site.rules.values_list("action", flat=True)),
    }
    serializer = kind(data=request.data, context=context)
    serializer.is_valid(raise_exception=True)
    validated: dict[str, Any] = serializer.validated_data
    return validated


def shape(site: Site) -> Any:
    """Return a site's rules as JSON. One query."""
    return RulesShape({"rules": site.rules.all()}).data
