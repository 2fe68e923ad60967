"""`/api/sources`: the senders of a site, with their write keys and counts."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Prefetch, Q
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.http import budgets
from api.ingest import provisioning
from api.ingest.refusals import load_refusal_counts
from api.ingest.source_counts import SourceCounts, begin_of_last_day, load_source_counts
from api.models import DuplicateSources, Source, TokenScope, WriteKey
from api.models.audit import audit_values, write_audit
from api.rest import idempotency
from api.rest.access import caller_of, find_in_sites, open_site, visible_sites
from api.rest.schema import answers
from api.rest.source_shapes import (
    DuplicateOf,
    NewSource,
    Rotation,
    SourceChange,
    SourceQuery,
    SourceReport,
    SourceShape,
    WriteKeyShape,
)


@extend_schema(tags=["sources"])
class Sources(ViewSet):
    """The sources of a caller's sites. Each method parses and answers; api.ingest.provisioning decides."""

    writes_need = TokenScope.ADMIN

    @extend_schema(
        operation_id="listSources", parameters=[SourceQuery], responses=answers(200, SourceShape(many=True), 400, 404)
    )
    def list(self, request: Request) -> Response:
        """List the sources of your sites, oldest first."""
        query = SourceQuery.read(request)
        site_ids = visible_sites(request, query.get("site", ""))
        reports = [report for site_id in site_ids for report in reports_of(site_id)]
        reports.sort(key=lambda report: (report.source.created_at, report.source.pk))
        return Response([SourceShape(report).data for report in reports])

    @extend_schema(
        operation_id="createSource",
        request=NewSource,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, SourceShape, 400, 403, 404, 409),
    )
    def create(self, request: Request) -> Response:
        """Create a source with a write key and the rules that senders of its kind need."""
        new = NewSource(data=request.data)
        new.is_valid(raise_exception=True)
        fields: dict[str, Any] = new.validated_data
        site = open_site(request, sitecode=fields.pop("sitecode", None))

        def create(_secret: str) -> Mapping[str, Any]:
            source = provisioning.create_source(site, **fields)
            after = {"name": source.name, "kind": source.kind}
            write_audit(caller_of(request).name, site, f"Created the source {source.pk}", None, after)
            return shape(source)

        try:
            return idempotency.create_once(request, site, create)
        except ValidationError as error:  # the name and the kind are checked by now
            raise serializers.ValidationError({"writeKey": error.messages}) from error

    @extend_schema(operation_id="readSource", responses=answers(200, SourceShape, 404))
    def retrieve(self, request: Request, source_id: int) -> Response:
        """Return a source with its keys and counts."""
        return Response(shape(find_source(request, source_id)))

    @extend_schema(
        operation_id="changeSource", request=SourceChange, responses=answers(200, SourceShape, 400, 403, 404)
    )
    def partial_update(self, request: Request, source_id: int) -> Response:
        """Change a source. To end one, disable it: its messages name it, so it cannot be deleted."""
        source = find_source(request, source_id)
        change = SourceChange(data=request.data, partial=True, context={"source": shape(source)})
        change.is_valid(raise_exception=True)
        fields: dict[str, Any] = change.validated_data
        was, is_now = audit_values({name: getattr(source, name) for name in fields}, fields)
        with transaction.atomic():
            provisioning.change_source(source, fields=fields, now=timezone.now())
            if is_now:
                write_audit(caller_of(request).name, source.site, f"Changed the source {source_id}", was, is_now)
        return Response(shape(source))


@extend_schema(tags=["sources"])
class WriteKeys(ViewSet):
    """Rotation and revocation of a source's keys."""

    writes_need = TokenScope.ADMIN

    @extend_schema(
        operation_id="rotateWriteKey",
        request=Rotation,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, WriteKeyShape, 400, 403, 404, 409),
    )
    def rotate(self, request: Request, source_id: int) -> Response:
        """Create a key. The other keys of the source end after `overlapHours`, or earlier if they already would."""
        source = find_source(request, source_id)
        rotation = Rotation(data=request.data)
        rotation.is_valid(raise_exception=True)
        hours = rotation.validated_data["overlapHours"]

        def create(_secret: str) -> Mapping[str, Any]:
            key = provisioning.rotate_write_key(source, overlap=timedelta(hours=hours), now=timezone.now())
            after = {"key begins with": key.key[:4], "others end in hours": hours}
            action = f"Rotated the write key of the source {source_id}"
            write_audit(caller_of(request).name, source.site, action, None, after)
            return WriteKeyShape(key).data

        return idempotency.create_once(request, source.site, create)

    @extend_schema(operation_id="revokeWriteKey", responses=answers(204, None, 403, 404))
    def revoke(self, request: Request, source_id: int, key: str) -> Response:
        """Revoke a key. It is refused everywhere within 5 seconds."""
        source = find_source(request, source_id)
        write_key = source.write_keys.filter(key=key).first()
        if write_key is None:
            raise NotFound
        with transaction.atomic():
            provisioning.revoke_write_key(write_key, now=timezone.now())
            before = {"key begins with": key[:4]}
            write_audit(
                caller_of(request).name, source.site, f"Revoked a write key of the source {source_id}", before, None
            )
        return Response(status=HTTPStatus.NO_CONTENT)


def find_source(request: Request, source_id: int) -> Source:
    """Return a source of the caller's sites. Raises NotFound. One query a site."""
    return find_in_sites(request, Source.objects.all(), source_id)


def shape(source: Source) -> Mapping[str, Any]:
    """Return a source as JSON. Eight queries."""
    return SourceShape(reports_of(source.site_id, pk=source.pk)[0]).data


def reports_of(site_id: int, **only: Any) -> Sequence[SourceReport]:
    """Return the sources of a site, oldest first. Seven queries."""
    sources = Source.objects.filter(site_id=site_id, **only)
    keys = Prefetch("write_keys", queryset=WriteKey.objects.order_by("pk"))
    found = list(sources.select_related("site").prefetch_related(keys).order_by("pk"))
    ids = [source.pk for source in found]
    ever, day, used = (
        load_source_counts(site_id, ids),
        load_source_counts(site_id, ids, since=begin_of_last_day(timezone.now())),
        budgets.load_use(site_id, ids),
    )
    refused = load_refusal_counts(site_id, ids)
    duplicates: dict[int, list[DuplicateOf]] = {id_: [] for id_ in ids}
    for pair in DuplicateSources.objects.filter(Q(one__in=ids) | Q(other__in=ids), site_id=site_id).order_by("pk"):
        for id_, other_id in ((pair.one_id, pair.other_id), (pair.other_id, pair.one_id)):
            if id_ in duplicates:
                duplicates[id_].append(DuplicateOf(pair, other_id))
    return [
        SourceReport(
            source,
            ever.get(id_, SourceCounts()),
            day.get(id_, SourceCounts()),
            duplicates[id_],
            used[id_],
            refused[id_],
        )
        for id_, source in zip(ids, found, strict=True)
    ]
