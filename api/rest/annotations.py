"""`/api/sites/{sitecode}/annotations`: texts at times in the charts of goals, such as deploys."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.db.models import Q
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.insight import annotations
from api.models import Annotation, Site, TokenScope
from api.models.annotations import ANNOTATION_LENGTH
from api.rest import idempotency
from api.rest.access import caller_of, open_site
from api.rest.cursors import TimeCursorField, write_cursor
from api.rest.reading import PAGE_LIMIT, Query
from api.rest.schema import answers
from goals.queries import live_goals


class AnnotationFields(serializers.Serializer[Any]):
    """The editable fields of an annotation."""

    text = serializers.CharField(max_length=ANNOTATION_LENGTH)
    at = serializers.DateTimeField(required=False, help_text="From the year 2000 until a year from now. Default: now.")
    goal = serializers.IntegerField(
        source="goal_id",
        required=False,
        allow_null=True,
        min_value=1,
        max_value=2**63 - 1,
        help_text="The goal whose charts show it. Null: those of all goals of the site.",
    )

    def validate_at(self, at: datetime) -> datetime:
        if trouble := annotations.explain_time(at, now=timezone.now()):
            raise serializers.ValidationError(trouble)
        return at


@extend_schema_serializer(component_name="Annotation")
class AnnotationShape(AnnotationFields):
    """A text at a time in the charts of a goal, or of all goals."""

    id = serializers.IntegerField()
    who = serializers.CharField(
        allow_null=True, help_text="The author as the audit log names them; null without the scope `read:personal`."
    )
    dateCreated = serializers.DateTimeField(source="created_at")


@extend_schema_serializer(component_name="NewAnnotation")
class NewAnnotation(AnnotationFields):
    """An annotation to create."""


@extend_schema_serializer(component_name="AnnotationChange")
class AnnotationChange(AnnotationFields):
    """Changes of an annotation. Fields that are left out stay."""


@extend_schema_serializer(many=False)  # of a list, the generator expects an array
class AnnotationPage(serializers.Serializer[Any]):
    results = AnnotationShape(many=True)
    next = serializers.CharField(allow_null=True, help_text="The `cursor` of the next page; null on the last.")


class AnnotationQuery(Query):
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False, help_text="The first time no longer included.")
    goal = serializers.IntegerField(
        required=False, min_value=1, max_value=2**63 - 1, help_text="Only those of this goal, without those of all."
    )
    limit = serializers.IntegerField(default=50, min_value=1, max_value=PAGE_LIMIT)
    cursor = TimeCursorField()


@extend_schema(tags=["goals"])
class Annotations(ViewSet):
    """The annotations of a site's charts. Those that merges, renames and rules make are in the audit log."""

    @extend_schema(
        operation_id="listAnnotations", parameters=[AnnotationQuery], responses=answers(200, AnnotationPage, 400, 404)
    )
    def list(self, request: Request, sitecode: str) -> Response:
        """List the annotations of a site by their time, the latest first."""
        query = AnnotationQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        names = {"since": "at__gte", "until": "at__lt", "goal": "goal"}
        found = Annotation.objects.filter(site=site, **{names[name]: query[name] for name in names if name in query})
        if "cursor" in query:
            at, id_ = query["cursor"]
            found = found.filter(Q(at__lt=at) | Q(at=at, pk__lt=id_))
        page = list(found.order_by("-at", "-pk")[: query["limit"] + 1])
        last = page[query["limit"] - 1] if len(page) > query["limit"] else None
        following = write_cursor(last.at, last.pk) if last else None
        return Response({"results": [shape(each, request) for each in page[: query["limit"]]], "next": following})

    @extend_schema(
        operation_id="createAnnotation",
        request=NewAnnotation,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, AnnotationShape, 400, 403, 404, 409),
    )
    def create(self, request: Request, sitecode: str) -> Response:
        """Write an annotation: of a deploy, for example."""
        site = open_site(request, sitecode=sitecode)
        fields = {"at": timezone.now(), **read(NewAnnotation, request, site)}

        def create(_secret: str) -> Mapping[str, Any]:
            annotation = Annotation(site=site, **fields)
            annotations.create_annotation(annotation, by=caller_of(request).name)
            return shape(annotation, request)

        try:
            return idempotency.create_once(request, site, create)
        except annotations.TooManyAnnotationsError as error:
            raise serializers.ValidationError(annotations.TOO_MANY) from error

    @extend_schema(operation_id="readAnnotation", responses=answers(200, AnnotationShape, 404))
    def retrieve(self, request: Request, sitecode: str, annotation_id: int) -> Response:
        """Return one text with its time and goal."""
        return Response(shape(find_annotation(request, sitecode, annotation_id), request))

    @extend_schema(
        operation_id="changeAnnotation",
        request=AnnotationChange,
        responses=answers(200, AnnotationShape, 400, 403, 404),
    )
    def partial_update(self, request: Request, sitecode: str, annotation_id: int) -> Response:
        """Change an annotation. Its author stays."""
        annotation = find_annotation(request, sitecode, annotation_id)
        before = annotations.read_values(annotation)
        for name, value in read(AnnotationChange, request, annotation.site, of=annotation).items():
            setattr(annotation, name, value)
        try:
            annotations.change_annotation(annotation, before=before, by=caller_of(request).name)
        except Annotation.DoesNotExist as error:
            raise NotFound from error
        return Response(shape(annotation, request))

    @extend_schema(operation_id="deleteAnnotation", responses=answers(204, None, 403, 404))
    def destroy(self, request: Request, sitecode: str, annotation_id: int) -> Response:
        """Delete an annotation from the charts that show it."""
        annotations.delete_annotation(find_annotation(request, sitecode, annotation_id), by=caller_of(request).name)
        return Response(status=HTTPStatus.NO_CONTENT)


def read(kind: type[AnnotationFields], request: Request, site: Site, *, of: Annotation | None = None) -> dict[str, Any]:
    """Return the fields of a body, some of them if it changes an annotation.

    Raises ValidationError, also for a goal of another site; its own may stay, merged or not. One query at most.
    """
    given = kind(data=request.data, partial=of is not None)
    given.is_valid(raise_exception=True)
    fields: dict[str, Any] = given.validated_data
    goal_id = fields.get("goal_id")
    if of and goal_id == of.goal_id:
        return fields
    if goal_id is not None and not live_goals(site.pk).filter(pk=goal_id).exists():
        raise serializers.ValidationError({"goal": "The site has no such goal."})
    return fields


def find_annotation(request: Request, sitecode: str, annotation_id: int) -> Annotation:
    """Return an annotation of a site. Raises NotFound. Two queries."""
    site = open_site(request, sitecode=sitecode)
    annotation = Annotation.objects.filter(site=site, pk=annotation_id).select_related("site").first()
    if annotation is None:
        raise NotFound
    return annotation


def shape(annotation: Annotation, request: Request) -> Mapping[str, Any]:
    """Return an annotation as JSON, with its author if the caller may read data of people."""
    shaped: Mapping[str, Any] = AnnotationShape(annotation).data
    return shaped if TokenScope.READ_PERSONAL in caller_of(request).scopes else {**shaped, "who": None}
