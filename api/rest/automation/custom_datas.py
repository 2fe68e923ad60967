"""`/custom-datas` of the Automation API: the definitions of custom data."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.remote_data.definitions import WrongDefinitionError, delete_definition, first_free_index, save_definition
from api.rest import idempotency
from api.rest.access import caller_of, find_in_sites, open_site
from api.rest.automation.lists import AutomationQuery, Row, named_sites, page_of
from api.rest.schema import PAGE_HEADERS, answers
from cohorts.custom_data import LARGEST_INDEX, Definition, definition_of
from cohorts.models import CustomData

METHODS: Final = ("SDK", "CLIENT", "CUSTOM_CODE", "GTM", "TC", "TEALIUM", "ADOBE_ANALYTICS")
FIELDS: Final[dict[str, type]] = {
    "id": int,
    "siteId": int,
    "index": int,
    "name": str,
    "description": str,
    "type": str,
    "format": str,
    "scope": str,
    "isLocalOnly": bool,
    "isMappingIdentifier": bool,
    "dateCreated": datetime,
    "modificationDate": datetime,
}


class CustomDataFields(serializers.Serializer[Any]):
    """The editable fields of custom data."""

    name = serializers.CharField(max_length=255)
    index = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=LARGEST_INDEX,
        help_text="By which SDKs send it. Default: the next free one.",
    )
    description = serializers.CharField(required=False, allow_blank=True, max_length=1_000)
    type = serializers.ChoiceField(choices=CustomData.Type.values, required=False)
    format = serializers.ChoiceField(choices=CustomData.Format.values, required=False)
    scope = serializers.ChoiceField(choices=CustomData.Scope.values, required=False)
    isMappingIdentifier = serializers.BooleanField(source="is_mapping_identifier", required=False)
    isLocalOnly = serializers.BooleanField(source="is_local_only", required=False)
    filledFrom = serializers.ChoiceField(
        source="filled_from", choices=CustomData.Filling.values, required=False, help_text="A field of Goalpost's own."
    )
    filling = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=500,
        help_text="With `filledFrom` trait its path, with segment its id. A field of Goalpost's own.",
    )


@extend_schema_serializer(component_name="CustomData")
class CustomDataShape(CustomDataFields):
    """A value that each visitor may have, with its index."""

    id = serializers.IntegerField()
    siteId = serializers.IntegerField(source="site_id")
    method = serializers.SerializerMethodField()
    dateCreated = serializers.DateTimeField(source="created_at")
    modificationDate = serializers.DateTimeField(source="updated_at")

    def get_method(self, _row: CustomData) -> str:
        return "SDK"


class GivenCustomData(CustomDataFields):
    """The fields that a request may send."""

    method = serializers.ChoiceField(choices=METHODS, required=False, help_text="Always SDK; others are read as SDK.")


@extend_schema_serializer(component_name="NewCustomData")
class NewCustomData(GivenCustomData):
    """Custom data to create."""

    siteId = serializers.IntegerField(
        source="site_id", required=False, min_value=1, max_value=2**63 - 1, help_text="If you open several sites."
    )


@extend_schema_serializer(component_name="CustomDataChange")
class CustomDataChange(GivenCustomData):
    """Changes of custom data. Fields that are left out stay; other fields may be sent unchanged."""


@extend_schema(tags=["Automation API"])
class AutomationCustomDatas(ViewSet):
    """Custom data of a caller's sites. Each method parses and answers; api.remote_data.definitions decides."""

    @extend_schema(
        operation_id="automationListCustomData",
        parameters=[AutomationQuery, *PAGE_HEADERS],
        responses=answers(200, CustomDataShape(many=True), 400),
    )
    def list(self, request: Request) -> Response:
        """List custom data as Kameleoon's Automation API does, one page as a JSON array."""
        query = AutomationQuery.read(request)
        found = {
            row.pk: row
            for site_id in named_sites(query, caller_of(request).site_ids)
            for row in CustomData.objects.filter(site_id=site_id)
        }
        page, headers = page_of([comparable(row) for row in found.values()], query, FIELDS)
        return Response([shape(found[row["id"]]) for row in page], headers=headers)

    @extend_schema(
        operation_id="automationCreateCustomData",
        request=NewCustomData,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, CustomDataShape, 400, 403, 404, 409),
    )
    def create(self, request: Request) -> Response:
        """Create custom data, which SDKs get at their next read of the configuration."""
        new = NewCustomData(data=request.data)
        new.is_valid(raise_exception=True)
        fields: dict[str, Any] = new.validated_data
        site = open_site(request, site_id=fields.pop("site_id", None))
        fields.pop("method", None)

        def create(_secret: str) -> Mapping[str, Any]:
            definition = Definition(**{"index": first_free_index(site), **fields})
            return shape(save_definition(site, definition, by=caller_of(request).name, now=timezone.now()))

        try:
            return idempotency.create_once(request, site, create)
        except WrongDefinitionError as error:
            raise wrong(error) from error

    @extend_schema(operation_id="automationReadCustomData", responses=answers(200, CustomDataShape, 404))
    def retrieve(self, request: Request, custom_data_id: int) -> Response:
        """Return one definition, not the values of visitors."""
        return Response(shape(find_in_sites(request, CustomData.objects.all(), custom_data_id)))

    @extend_schema(
        operation_id="automationReplaceCustomData",
        request=CustomDataChange,
        responses=answers(200, CustomDataShape, 400, 403, 404),
    )
    def update(self, request: Request, custom_data_id: int) -> Response:
        """Change custom data. Fields that are left out stay as they are."""
        return self._change(request, custom_data_id)

    @extend_schema(
        operation_id="automationChangeCustomData",
        request=CustomDataChange,
        responses=answers(200, CustomDataShape, 400, 403, 404),
    )
    def partial_update(self, request: Request, custom_data_id: int) -> Response:
        """Change custom data. Fields that are left out stay as they are."""
        return self._change(request, custom_data_id)

    def _change(self, request: Request, custom_data_id: int) -> Response:
        row = find_in_sites(request, CustomData.objects.all(), custom_data_id)
        change = CustomDataChange(data=request.data, partial=True)
        change.is_valid(raise_exception=True)
        fields = {name: value for name, value in change.validated_data.items() if name != "method"}
        definition = msgspec.structs.replace(definition_of(row), **fields)
        try:
            save_definition(row.site, definition, row=row, by=caller_of(request).name, now=timezone.now())
        except WrongDefinitionError as error:
            raise wrong(error) from error
        return Response(shape(row))

    @extend_schema(operation_id="automationDeleteCustomData", responses=answers(204, None, 403, 404))
    def destroy(self, request: Request, custom_data_id: int) -> Response:
        """Delete custom data. Values that visitors have stay, and are served no more."""
        row = find_in_sites(request, CustomData.objects.all(), custom_data_id)
        delete_definition(row, by=caller_of(request).name, now=timezone.now())
        return Response(status=HTTPStatus.NO_CONTENT)


def comparable(row: CustomData) -> Row:
    """Return what filters compare of custom data."""
    names = {"siteId": "site_id", "isLocalOnly": "is_local_only", "isMappingIdentifier": "is_mapping_identifier"}
    names |= {"dateCreated": "created_at", "modificationDate": "updated_at"}
    return {name: getattr(row, names.get(name, name)) for name in FIELDS}


def wrong(error: WrongDefinitionError) -> serializers.ValidationError:
    """Return the error of the wrong fields by their names in JSON."""
    names = {str(field.source or name): name for name, field in CustomDataFields().fields.items()}
    return serializers.ValidationError({names.get(name, name): text for name, text in error.problems.items()})


def shape(row: CustomData) -> Mapping[str, Any]:
    """Return custom data as JSON."""
    shaped: Mapping[str, Any] = CustomDataShape(row).data
    return shaped
