"""`/api/segments` and `person/segments`: audiences by conditions, their members, and the reasons for one person."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from api.events.refusal import Refusal
from api.insight import segments
from api.models import TokenScope
from api.models.site_days import day_of, start_of_day
from api.remote_data import segment_changes
from api.remote_data.sdk_segments import explain_withheld
from api.remote_data.segment_changes import WrongConditionsError, describe_fault
from api.rest import idempotency
from api.rest.access import audit_reading, caller_of, find_in_sites, open_site, visible_sites
from api.rest.cursors import TimeCursorField, write_cursor
from api.rest.people import PersonQuery
from api.rest.reading import PageQuery, Query, first_row, page_headers
from api.rest.schema import PAGE_HEADERS, answers
from api.rest.segment_shapes import (
    ChangedSegment,
    NewSegment,
    PreviewShape,
    SegmentDayShape,
    SegmentEntriesShape,
    SegmentMembersShape,
    SegmentReasonShape,
    SegmentShape,
    SegmentToTry,
)
from cohorts.changes import IdentityKey
from cohorts.models import Identity
from cohorts.segment_tables import Segment
from cohorts.segments import listing
from cohorts.segments.saving import SegmentError, SegmentInUseError, SegmentNameTakenError

DAYS: Final = 30  # of the history, unless asked otherwise


class SegmentQuery(PageQuery):
    site = serializers.CharField(required=False, help_text="A sitecode; all your sites without it.")


class MemberOfSegmentQuery(Query):
    limit = serializers.IntegerField(default=50, min_value=1, max_value=listing.PAGE)
    cursor = serializers.IntegerField(
        required=False, min_value=0, max_value=2**63 - 1, help_text="`next` of the page before, unchanged."
    )


class HistoryQuery(Query):
    days = serializers.IntegerField(default=DAYS, min_value=1, max_value=400, help_text="Entries are kept 400 days.")


class SegmentEntryQuery(Query):
    limit = serializers.IntegerField(default=50, min_value=1, max_value=listing.PAGE)
    cursor = TimeCursorField()


@extend_schema(tags=["segments"])
class Segments(ViewSet):
    """The segments of a caller's sites. Each method parses and answers; api.remote_data.segment_changes decides."""

    @extend_schema(
        operation_id="listSegments",
        parameters=[SegmentQuery, *PAGE_HEADERS],
        responses=answers(200, SegmentShape(many=True), 400, 404),
    )
    def list(self, request: Request) -> Response:
        """List the segments of your sites by name, with their sizes."""
        query = SegmentQuery.read(request)
        found = [
            segment
            for site_id in sorted(visible_sites(request, query.get("site", "")))
            for segment in segments.find_segments(site_id)
        ]
        first = first_row(query)
        page = found[first : first + query["perPage"]]
        now = timezone.now()
        shaped: list[Mapping[str, Any]] = []
        for site_id in dict.fromkeys(segment.site_id for segment in page):
            reports = segments.report(site_id, [each for each in page if each.site_id == site_id], now=now)
            context = context_of(request, site_id)
            shaped += [SegmentShape(reported, context=context).data for reported in reports]
        headers = page_headers(len(found), per_page=query["perPage"])
        return Response(shaped, headers=headers)

    @extend_schema(
        operation_id="createSegment",
        request=NewSegment,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, SegmentShape, 400, 403, 404, 409),
    )
    def create(self, request: Request) -> Response:
        """Create a segment. A worker looks for its members; `percent` says how far it is."""
        new = NewSegment(data=request.data)
        new.is_valid(raise_exception=True)
        fields: dict[str, Any] = {"description": "", **new.validated_data}
        site = open_site(request, sitecode=fields.pop("sitecode", None))

        def create(_secret: str) -> Mapping[str, Any]:
            actor = caller_of(request).name
            return shape(request, segment_changes.create_segment(site, **fields, actor=actor, now=timezone.now()))

        with refusing_faults():
            return idempotency.create_once(request, site, create)

    @extend_schema(operation_id="readSegment", responses=answers(200, SegmentShape, 404))
    def retrieve(self, request: Request, segment_id: int) -> Response:
        """Return a segment with its size and what depends on it."""
        return Response(shape(request, find_segment(request, segment_id)))

    @extend_schema(
        operation_id="changeSegment", request=ChangedSegment, responses=answers(200, SegmentShape, 400, 403, 404, 409)
    )
    def partial_update(self, request: Request, segment_id: int) -> Response:
        """Change a segment. If its conditions change, members are found again and the old ones stop counting."""
        segment = find_segment(request, segment_id)
        change = ChangedSegment(data=request.data, partial=True)
        change.is_valid(raise_exception=True)
        with refusing_faults():
            saved = segment_changes.change_segment(
                segment, change.validated_data, actor=caller_of(request).name, now=timezone.now()
            )
        return Response(shape(request, saved))

    @extend_schema(operation_id="deleteSegment", responses=answers(204, None, 403, 404, 409))
    def destroy(self, request: Request, segment_id: int) -> Response:
        """Delete a segment with its members and history. One that others need is 409."""
        with refusing_faults():
            segment_changes.delete_segment(
                find_segment(request, segment_id), actor=caller_of(request).name, now=timezone.now()
            )
        return Response(status=HTTPStatus.NO_CONTENT)


@extend_schema(tags=["segments"])
class SegmentPreview(APIView):
    writes_need = TokenScope.READ_PERSONAL  # it writes nothing, and names people

    @extend_schema(operation_id="previewSegment", request=SegmentToTry, responses=answers(200, PreviewShape, 400, 404))
    def post(self, request: Request) -> Response:
        """Say whom conditions would hold, and who would enter and leave a segment. Nothing is changed."""
        draft = SegmentToTry(data=request.data)
        draft.is_valid(raise_exception=True)
        fields: dict[str, Any] = draft.validated_data
        segment = find_segment(request, fields["segment_id"]) if "segment_id" in fields else None
        site = segment.site if segment is not None else open_site(request, sitecode=fields.get("sitecode"))
        with refusing_faults():
            conditions = segment_changes.check_conditions(
                site.pk, fields["conditions"], segment_id=fields.get("segment_id")
            )
        preview = segments.preview(site, conditions, segment=segment, now=timezone.now())
        audit_reading(request, {site.pk})
        samples = ("sample", "entering_sample", "leaving_sample")
        shaped = {name: [shape_key(key) for key in getattr(preview, name)] for name in samples}
        names = ("people", "is_complete", "members", "entering", "leaving")
        return Response(PreviewShape({**shaped, **{name: getattr(preview, name) for name in names}}).data)


@extend_schema(tags=["segments"])
class SegmentMembers(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="listMembersOfSegment",
        parameters=[MemberOfSegmentQuery],
        responses=answers(200, SegmentMembersShape, 400, 404),
    )
    def get(self, request: Request, segment_id: int) -> Response:
        """List the members of a segment, of one that is filling those found so far."""
        query = MemberOfSegmentQuery.read(request)
        segment = find_segment(request, segment_id)
        page = listing.list_members(segment, after=query.get("cursor"), limit=query["limit"], now=timezone.now())
        audit_reading(request, {segment.site_id})
        return Response(SegmentMembersShape({"results": page.members, "next": page.next}).data)


@extend_schema(tags=["segments"])
class SegmentHistory(APIView):
    reads_need = TokenScope.READ_PERSONAL  # a segment may be about one person

    @extend_schema(
        operation_id="readHistoryOfSegment",
        parameters=[HistoryQuery],
        responses=answers(200, SegmentDayShape(many=True), 400, 404),
    )
    def get(self, request: Request, segment_id: int) -> Response:
        """Count the entries and exits of each day in the site's zone, today included. Days without any are left out."""
        query = HistoryQuery.read(request)
        segment = find_segment(request, segment_id)
        first = day_of(segment.site, timezone.now()) - timedelta(days=query["days"] - 1)
        since = start_of_day(segment.site, first)
        days = listing.count_changes(segment, since=since, zone=segment.site.time_zone)
        return Response([SegmentDayShape(day).data for day in days])


@extend_schema(tags=["segments"])
class SegmentEntries(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="listEntriesOfSegment",
        parameters=[SegmentEntryQuery],
        responses=answers(200, SegmentEntriesShape, 400, 404),
    )
    def get(self, request: Request, segment_id: int) -> Response:
        """List who entered and left a segment, the newest first."""
        query = SegmentEntryQuery.read(request)
        segment = find_segment(request, segment_id)
        limit = query["limit"]
        found = listing.list_changes(segment, before=query.get("cursor"), limit=limit + 1)
        page = found[:limit]
        cursor = write_cursor(page[-1].at, page[-1].id) if len(found) > limit else None
        audit_reading(request, {segment.site_id})
        return Response(SegmentEntriesShape({"results": page, "next": cursor}).data)


@extend_schema(tags=["people"])
class PersonSegments(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="explainSegmentsOfPerson",
        parameters=[PersonQuery],
        responses=answers(200, SegmentReasonShape(many=True), 400, 404),
    )
    def get(self, request: Request, sitecode: str) -> Response:
        """Say for each segment whether a person is in it, by which conditions, since when and until when."""
        query = PersonQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        reasons = segments.explain(site, query["id"], now=timezone.now())
        if reasons is None:
            raise NotFound
        audit_reading(request, {site.pk})
        return Response([SegmentReasonShape(reason).data for reason in reasons])


def find_segment(request: Request, segment_id: int) -> Segment:
    """Look in each site of the caller. Raises NotFound. One query a site."""
    return find_in_sites(request, Segment.objects.select_related("site"), segment_id)


def shape(request: Request, segment: Segment) -> Mapping[str, Any]:
    """Return a segment as JSON. Six queries."""
    reported = segments.report_one(segment, now=timezone.now())
    shaped: Mapping[str, Any] = SegmentShape(reported, context=context_of(request, segment.site_id)).data
    return shaped


def context_of(request: Request, site_id: int) -> Mapping[str, Any]:
    """Return what the shape of a segment asks for beside it. Three queries.

    Whoever may choose conditions could find out anything about one person by the sizes of segments.
    """
    return {
        "withheld": explain_withheld(site_id),
        "shows_members": TokenScope.READ_PERSONAL in caller_of(request).scopes,
    }


def shape_key(key: IdentityKey) -> dict[str, str]:
    """Return the identifier of a person as JSON."""
    return {"kind": str(Identity.Kind(key[0]).label), "value": key[1]}


@contextmanager
def refusing_faults() -> Iterator[None]:
    """Answer 400 or 409 to a segment that cannot be saved or deleted."""
    try:
        yield
    except (WrongConditionsError, SegmentError) as error:
        raise refusal_of(error) from error


def refusal_of(error: WrongConditionsError | SegmentError) -> Exception:
    match error:
        case WrongConditionsError():
            return serializers.ValidationError({"conditions": [describe_fault(fault) for fault in error.faults]})
        case SegmentNameTakenError():
            return Refusal(HTTPStatus.CONFLICT, "name_taken", f"{error} Choose another name.")
        case SegmentInUseError():
            return Refusal(HTTPStatus.CONFLICT, "in_use", str(error))
    return serializers.ValidationError(str(error))
