"""`/segments` of the Automation API: segments with their conditions in Kameleoon's words."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.remote_data import segment_changes
from api.remote_data.sdk_segments import find_sdk_segments
from api.rest import idempotency
from api.rest.access import caller_of, open_site
from api.rest.automation.lists import AutomationQuery, Row, named_sites, page_of
from api.rest.schema import PAGE_HEADERS, answers
from api.rest.segment_shapes import CONDITIONS_HELP, ConditionsField
from api.rest.segments import find_segment, refusing_faults
from cohorts.models import CustomData
from cohorts.segment_tables import DESCRIPTION_LENGTH, NAME_LENGTH, Segment
from cohorts.segments.conditions import write_conditions
from cohorts.segments.sdk_conditions import NotExpressibleError
from cohorts.segments.sdk_reading import Ids, read_sdk_conditions

FIELDS: Final[dict[str, type]] = {
    "id": int,
    "siteId": int,
    "name": str,
    "description": str,
    "segmentType": str,
    "dateCreated": datetime,
    "dateModified": datetime,
}
STANDARD: Final = "STANDARD"


@extend_schema_field({"type": "object", "nullable": True})
class ConditionsDataField(serializers.JSONField):
    """Conditions in Kameleoon's words, which cohorts.segments.sdk_reading reads."""


class AutomationSegmentFields(serializers.Serializer[Any]):
    """The editable fields of a segment."""

    name = serializers.CharField(max_length=NAME_LENGTH)
    description = serializers.CharField(required=False, allow_blank=True, max_length=DESCRIPTION_LENGTH)
    conditionsData = ConditionsDataField(
        source="conditions_data",
        required=False,
        allow_null=True,
        help_text="Conditions as SDKs read them: on custom data, converted goals and segments. Null if SDKs "
        "cannot judge this segment.",
    )
    conditions = ConditionsField(required=False, help_text=f"A field of Goalpost's own. {CONDITIONS_HELP}")


@extend_schema_serializer(component_name="AutomationSegment")
class AutomationSegmentShape(AutomationSegmentFields):
    """A segment by the names of the Automation API."""

    id = serializers.IntegerField()
    siteId = serializers.IntegerField(source="site_id")
    segmentType = serializers.CharField(source="segment_type", help_text="Always STANDARD.")
    audienceTracking = serializers.BooleanField(source="audience_tracking", help_text="Always false.")
    isFavorite = serializers.BooleanField(source="is_favorite", help_text="Always false.")
    tags = serializers.ListField(child=serializers.CharField(), help_text="Always empty.")
    dateCreated = serializers.DateTimeField(source="created_at")
    dateModified = serializers.DateTimeField(source="updated_at")


class GivenAutomationSegment(AutomationSegmentFields):
    """The fields that a request may send: `conditionsData`, or `conditions`."""

    segmentType = serializers.ChoiceField(source="segment_type", choices=[STANDARD], required=False)


@extend_schema_serializer(component_name="NewAutomationSegment")
class NewAutomationSegment(GivenAutomationSegment):
    """A segment to create."""

    siteId = serializers.IntegerField(
        source="site_id", required=False, min_value=1, max_value=2**63 - 1, help_text="If you open several sites."
    )


@extend_schema_serializer(component_name="AutomationSegmentChange")
class AutomationSegmentChange(GivenAutomationSegment):
    """Changes of a segment. Fields that are left out stay; other fields may be sent unchanged."""


@extend_schema(tags=["Automation API"])
class AutomationSegments(ViewSet):
    """Segments of a caller's sites. Each method parses and answers; api.remote_data.segment_changes decides."""

    @extend_schema(
        operation_id="automationListSegments",
        parameters=[AutomationQuery, *PAGE_HEADERS],
        responses=answers(200, AutomationSegmentShape(many=True), 400),
    )
    def list(self, request: Request) -> Response:
        """List segments as Kameleoon's Automation API does, one page as a JSON array."""
        query = AutomationQuery.read(request)
        found = {
            segment.pk: segment
            for site_id in named_sites(query, caller_of(request).site_ids)
            for segment in Segment.objects.filter(site_id=site_id)
        }
        page, headers = page_of([comparable(segment) for segment in found.values()], query, FIELDS)
        said: dict[int, Mapping[str, Any]] = {}
        for site_id in {row["siteId"] for row in page}:
            said |= find_sdk_segments(site_id).own_documents
        return Response([shape(found[row["id"]], said) for row in page], headers=headers)

    @extend_schema(
        operation_id="automationCreateSegment",
        request=NewAutomationSegment,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, AutomationSegmentShape, 400, 403, 404, 409),
    )
    def create(self, request: Request) -> Response:
        """Create a segment. A worker looks for its members; SDKs get it at their next read of the configuration."""
        new = NewAutomationSegment(data=request.data)
        new.is_valid(raise_exception=True)
        fields: dict[str, Any] = new.validated_data
        site = open_site(request, site_id=fields.pop("site_id", None))

        def create(_secret: str) -> Mapping[str, Any]:
            segment = segment_changes.create_segment(
                site,
                name=fields["name"],
                description=fields.get("description", ""),
                conditions=read_given(site.pk, fields),
                actor=caller_of(request).name,
                now=timezone.now(),
            )
            return shape_one(segment)

        with refusing_faults():
            return idempotency.create_once(request, site, create)

    @extend_schema(operation_id="automationReadSegment", responses=answers(200, AutomationSegmentShape, 404))
    def retrieve(self, request: Request, segment_id: int) -> Response:
        """Return one segment."""
        return Response(shape_one(find_segment(request, segment_id)))

    @extend_schema(
        operation_id="automationReplaceSegment",
        request=AutomationSegmentChange,
        responses=answers(200, AutomationSegmentShape, 400, 403, 404, 409),
    )
    def update(self, request: Request, segment_id: int) -> Response:
        """Change a segment. Fields that are left out stay as they are."""
        return self._change(request, segment_id)

    @extend_schema(
        operation_id="automationChangeSegment",
        request=AutomationSegmentChange,
        responses=answers(200, AutomationSegmentShape, 400, 403, 404, 409),
    )
    def partial_update(self, request: Request, segment_id: int) -> Response:
        """Change a segment. Fields that are left out stay as they are."""
        return self._change(request, segment_id)

    def _change(self, request: Request, segment_id: int) -> Response:
        segment = find_segment(request, segment_id)
        change = AutomationSegmentChange(data=request.data, partial=True)
        change.is_valid(raise_exception=True)
        fields: dict[str, Any] = change.validated_data
        before = {"conditions": segment.conditions, "conditions_data": shape_one(segment)["conditionsData"]}
        # A client that sends what it read means the other fields.
        given = {name: fields[name] for name in before if name in fields and fields[name] != before[name]}
        changed: dict[str, Any] = {name: fields[name] for name in ("name", "description") if name in fields}
        with refusing_faults():
            if given:
                changed["conditions"] = read_given(segment.site_id, given)
            saved = segment_changes.change_segment(segment, changed, actor=caller_of(request).name, now=timezone.now())
        return Response(shape_one(saved))

    @extend_schema(operation_id="automationDeleteSegment", responses=answers(204, None, 403, 404, 409))
    def destroy(self, request: Request, segment_id: int) -> Response:
        """Delete a segment with its members. One that others need is 409."""
        with refusing_faults():
            segment_changes.delete_segment(
                find_segment(request, segment_id), actor=caller_of(request).name, now=timezone.now()
            )
        return Response(status=HTTPStatus.NO_CONTENT)


def read_given(site_id: int, fields: Mapping[str, Any]) -> Any:
    """Return the conditions of a request as Goalpost writes them. Raises ValidationError. Two queries."""
    if (fields.get("conditions_data") is None) == ("conditions" not in fields):
        raise serializers.ValidationError({"conditionsData": "Send this, or `conditions` of Goalpost's own."})
    if "conditions" in fields:
        return fields["conditions"]
    segments = Segment.objects.filter(site_id=site_id).values_list("pk", flat=True)
    custom_data = CustomData.objects.filter(site_id=site_id).values_list("pk", "index")
    ids = Ids(segments={id_: id_ for id_ in segments}, custom_data=dict(custom_data))
    try:
        return write_conditions(read_sdk_conditions(fields["conditions_data"], ids))
    except NotExpressibleError as error:
        raise serializers.ValidationError({"conditionsData": str(error)}) from error


def comparable(segment: Segment) -> Row:
    """Return what filters compare of a segment."""
    return {
        "id": segment.pk,
        "siteId": segment.site_id,
        "name": segment.name,
        "description": segment.description,
        "segmentType": STANDARD,
        "dateCreated": segment.created_at,
        "dateModified": segment.updated_at,
    }


def shape(segment: Segment, said: Mapping[int, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a segment as JSON, with the conditions of the document that SDKs get, if they get one."""
    own = ("id", "site_id", "name", "description", "conditions", "created_at", "updated_at")
    shaped: Mapping[str, Any] = AutomationSegmentShape(
        {
            **{name: getattr(segment, name) for name in own},
            "conditions_data": said[segment.pk]["conditionsData"] if segment.pk in said else None,
            "segment_type": STANDARD,
            "audience_tracking": False,
            "is_favorite": False,
            "tags": [],
        }
    ).data
    return shaped


def shape_one(segment: Segment) -> Mapping[str, Any]:
    """Return one segment as JSON. Three queries, because SDKs get it only with those that it names."""
    return shape(segment, find_sdk_segments(segment.site_id).own_documents)
