"""`/api/flags`: the feature flags that Kameleoon's SDKs read of a site."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.remote_data import configuration_changes
from api.remote_data.flag_import import Import, import_file
from api.rest.access import caller_of, find_in_sites, open_site, visible_sites
from api.rest.flag_shapes import (
    FlagFileShape,
    FlagShape,
    FlagSwitch,
    ImportShape,
)
from api.rest.reading import Query
from api.rest.schema import answers
from goals.flags.models import FeatureFlag
from goals.flags.saving import Saved


class FlagQuery(Query):
    """The parameters of the list."""

    site = serializers.CharField(required=False, help_text="A sitecode; all your sites without it.")


@extend_schema(tags=["feature flags"])
class Flags(ViewSet):
    """The feature flags of a caller's sites."""

    @extend_schema(
        operation_id="listFlags",
        parameters=[FlagQuery],
        responses=answers(200, FlagShape(many=True), 400, 404),
    )
    def list(self, request: Request) -> Response:
        """List the flags of your sites, by key."""
        query = FlagQuery.read(request)
        site_ids = sorted(visible_sites(request, query.get("site", "")))
        flags = [flag for site_id in site_ids for flag in FeatureFlag.objects.filter(site_id=site_id)]
        return Response([FlagShape(flag).data for flag in flags])

    @extend_schema(operation_id="importFlags", request=FlagFileShape, responses=answers(200, ImportShape, 400, 404))
    def create(self, request: Request) -> Response:
        """Import a file of the SDKs: its flags, segments and custom data. With a problem nothing is saved.

        The answer lists each value that an SDK would refuse or read differently from the others.
        """
        file = FlagFileShape(data=request.data)
        file.is_valid(raise_exception=True)
        fields: dict[str, Any] = file.validated_data
        site = open_site(request, sitecode=fields.get("sitecode"))
        result = import_file(
            site,
            msgspec.json.encode({name: fields[name] for name in ("featureFlags", "segments", "customData")}),
            environment=fields["environment"],
            actor=caller_of(request).name,
            now=timezone.now(),
            is_try=fields["isTry"],
        )
        return Response(shape_of(result))

    @extend_schema(operation_id="readFlag", responses=answers(200, FlagShape, 404))
    def retrieve(self, request: Request, flag_id: int) -> Response:
        """Return a flag with its document."""
        return Response(FlagShape(find_flag(request, flag_id)).data)

    @extend_schema(operation_id="switchFlag", request=FlagSwitch, responses=answers(200, FlagShape, 400, 404))
    def partial_update(self, request: Request, flag_id: int) -> Response:
        """Switch a flag on or off in an environment."""
        flag = find_flag(request, flag_id)
        change = FlagSwitch(data=request.data)
        change.is_valid(raise_exception=True)
        environment = change.validated_data["environment"]
        if environment not in configuration_changes.environments_of(flag.site):
            raise ValidationError({"environment": "The site has no such environment."})
        configuration_changes.switch_flag(
            flag,
            environment,
            is_on=change.validated_data["isEnabled"],
            actor=caller_of(request).name,
            now=timezone.now(),
        )
        return Response(FlagShape(flag).data)

    @extend_schema(operation_id="deleteFlag", responses=answers(204, None, 404))
    def destroy(self, request: Request, flag_id: int) -> Response:
        """Delete a flag with its versions."""
        configuration_changes.delete_flag(
            find_flag(request, flag_id), actor=caller_of(request).name, now=timezone.now()
        )
        return Response(status=HTTPStatus.NO_CONTENT)


def find_flag(request: Request, flag_id: int) -> FeatureFlag:
    """Look in each site of the caller. Raises NotFound. One query a site."""
    return find_in_sites(request, FeatureFlag.objects.select_related("site"), flag_id)


def shape_of(result: Import) -> Mapping[str, Any]:
    """Return the result of an import as JSON."""
    saved = result.saved or Saved((), (), (), ())
    return ImportShape(
        {
            "problems": result.problems,
            "created": saved.created,
            "changed": saved.changed,
            "unchanged": saved.unchanged,
            "segments": saved.segments,
            "customData": result.custom_data,
            "keptCustomData": result.kept,
        }
    ).data
