"""`/api/sites/{sitecode}/remote-data`: the operator's own keys of remote data, which `POST /map/maps` writes."""
# ruff: noqa: N815 - the names are the wire's

from http import HTTPStatus
from typing import Any, cast

import msgspec
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.models import Site, TokenScope
from api.remote_data.own_keys import delete_own_key
from api.rest.access import audit_reading, caller_of, open_site
from api.rest.reading import PAGE_LIMIT, Query
from api.rest.schema import answers
from cohorts import own_keys
from cohorts.models import OwnKey


@extend_schema_serializer(component_name="OwnKey")
class OwnKeyShape(serializers.Serializer[OwnKey]):
    """A key of remote data that the operator fills."""

    key = serializers.CharField()
    bytes = serializers.IntegerField(help_text="The size of its object as JSON.")
    expiresAt = serializers.DateTimeField(source="expires_at")
    dateModified = serializers.DateTimeField(source="updated_at")


@extend_schema_serializer(many=False)  # of a list, the generator expects an array
class OwnKeyPage(serializers.Serializer[Any]):
    results = OwnKeyShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="The `start` of the next page; null on the last.")


@extend_schema_serializer(component_name="OwnKeyWithValue")
class OwnKeyWithValueShape(OwnKeyShape):
    """A key of remote data with its object, as SDKs read it."""

    value = serializers.SerializerMethodField(method_name="get_document", help_text="The object under the key.")

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_document(self, own_key: OwnKey) -> Any:
        """Return the JSON as it was written, without a copy of it as Python objects."""
        return cast("Any", msgspec.Raw(own_key.document.encode()))


class OwnKeyQuery(Query):
    start = serializers.CharField(
        default="",
        allow_blank=True,
        trim_whitespace=False,
        help_text="The first key, such as `next` of the page before.",
    )
    limit = serializers.IntegerField(default=50, min_value=1, max_value=PAGE_LIMIT)


@extend_schema(tags=["remote data"])
class OwnKeys(ViewSet):
    """The own keys of a site that have not expired."""

    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(operation_id="listOwnKeys", parameters=[OwnKeyQuery], responses=answers(200, OwnKeyPage, 400, 404))
    def list(self, request: Request, sitecode: str) -> Response:
        """List the keys that `POST /map/maps` wrote, by key, without their objects."""
        query = OwnKeyQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        limit = query["limit"]
        found = own_keys.list_keys(site.pk, start=query["start"], limit=limit + 1, now=timezone.now())
        audit_reading(request, {site.pk})
        following = found[limit].key if len(found) > limit else None
        return Response(OwnKeyPage({"results": found[:limit], "next": following}).data)

    @extend_schema(operation_id="readOwnKey", responses=answers(200, OwnKeyWithValueShape, 404))
    def retrieve(self, request: Request, sitecode: str, own_key: str) -> HttpResponse:
        """Return a key with its object. Percent-encode the key, slashes too."""
        site = open_site(request, sitecode=sitecode)
        found = find_key(site, own_key)
        audit_reading(request, {site.pk})
        shaped = OwnKeyWithValueShape(found).data
        return HttpResponse(msgspec.json.encode(shaped), content_type="application/json")

    @extend_schema(operation_id="deleteOwnKey", responses=answers(204, None, 404))
    def destroy(self, request: Request, sitecode: str, own_key: str) -> Response:
        """Delete a key. SDKs read `{}` under it at once."""
        site = open_site(request, sitecode=sitecode)
        delete_own_key(site, find_key(site, own_key), by=caller_of(request).name)
        return Response(status=HTTPStatus.NO_CONTENT)


def find_key(site: Site, name: str) -> OwnKey:
    """Return a live key. Raises NotFound."""
    found = own_keys.find_key(site.pk, name, now=timezone.now())
    if found is None:
        raise NotFound
    return found
