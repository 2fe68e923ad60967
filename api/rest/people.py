"""`/api/sites/{sitecode}/people`, `person` and `erasures`: find, export and erase people."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from django.db import transaction
from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

from api.erasure import erase
from api.insight import people
from api.insight.export import export
from api.insight.person_rows import load_person_rows
from api.models import Erasure, Role, Site, TokenScope
from api.models.audit import write_audit
from api.rest import idempotency
from api.rest.access import audit_reading, caller_of, open_site
from api.rest.person_shapes import ErasureShape, FoundPersonShape, PersonShape, PersonToErase
from api.rest.reading import PageQuery, Query, read_page
from api.rest.schema import PAGE_HEADERS, answers
from cohorts import search


class PeopleQuery(Query):
    search = serializers.CharField(
        max_length=255, help_text="An identifier or username, or the beginning of one, of a name or an e-mail address."
    )


class PersonQuery(Query):
    id = serializers.CharField(max_length=255, trim_whitespace=False, help_text="Any identifier of the person.")


@extend_schema(tags=["people"])
class People(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="findPeople",
        parameters=[PeopleQuery],
        responses=answers(200, FoundPersonShape(many=True), 400, 404),
    )
    def get(self, request: Request, sitecode: str) -> Response:
        """Find people by identifier, username, name or e-mail address, 50 at most.

        An exact identifier or username is all that is found.
        """
        query = PeopleQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        audit_reading(request, {site.pk})
        found = load_person_rows(site, search.find_keys(site.pk, query["search"]))
        return Response([FoundPersonShape(row).data for row in found])


@extend_schema(tags=["people"])
class OnePerson(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(operation_id="readPerson", parameters=[PersonQuery], responses=answers(200, PersonShape, 400, 404))
    def get(self, request: Request, sitecode: str) -> Response:
        """Return what is known of a person."""
        site = open_site(request, sitecode=sitecode)
        person = find_person(request, site)
        audit_reading(request, {site.pk})
        return Response(PersonShape(person).data)


@extend_schema(tags=["people"])
class PersonExport(APIView):
    reads_need = TokenScope.READ_PERSONAL
    least_role = Role.EDITOR  # as on the page of a person

    @extend_schema(
        operation_id="exportPerson",
        parameters=[PersonQuery],
        responses=answers(200, OpenApiTypes.OBJECT, 400, 403, 404),
    )
    def get(self, request: Request, sitecode: str) -> StreamingHttpResponse:
        """Export everything stored about a person, as the page does. The audit log names the export, not the person."""
        site = open_site(request, sitecode=sitecode)
        person = find_person(request, site)
        after = {"identifiers": len(person.identities)}
        write_audit(caller_of(request).name, site, "Exported a person", None, after)
        return StreamingHttpResponse(
            export(site, person, now=datetime.now(UTC)),
            content_type="application/json",
            headers={"Content-Disposition": 'attachment; filename="person.json"'},
        )


@extend_schema(tags=["people"])
class Erasures(ViewSet):
    """Receipts of erased people."""

    writes_need = TokenScope.ADMIN

    @extend_schema(
        operation_id="listErasures",
        parameters=[PageQuery, *PAGE_HEADERS],
        responses=answers(200, ErasureShape(many=True), 400, 404),
    )
    def list(self, request: Request, sitecode: str) -> Response:
        """List receipts, newest first."""
        query = PageQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        page, headers = read_page(Erasure.objects.filter(site=site).order_by("-pk"), query)
        return Response([shape(erasure) for erasure in page], headers=headers)

    @extend_schema(
        operation_id="erasePerson",
        request=PersonToErase,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, ErasureShape, 400, 403, 404, 409),
    )
    def create(self, request: Request, sitecode: str) -> Response:
        """Erase a person. Events that name the person are dropped from now on; a worker deletes the rest.

        The receipt says when it is done. This can't be undone.
        """
        site = open_site(request, sitecode=sitecode)
        asked = PersonToErase(data=request.data)
        asked.is_valid(raise_exception=True)

        def create(_secret: str) -> Mapping[str, Any]:
            name = caller_of(request).name
            erasure = erase.begin(site, asked.validated_data["id"], by=name[:150], now=timezone.now())
            if erasure is None:
                raise NotFound
            write_audit(name, site, f"Erased a person: receipt {erasure.pk}", None, {"receipt": erasure.pk})
            return shape(erasure)

        try:
            return idempotency.create_once(request, site, create)
        except erase.TooManyIdentitiesError as error:
            most = f"More than {erase.MOST_IDENTITIES:,} identifiers are linked, which can’t be one person."
            raise serializers.ValidationError({"id": most}) from error

    @extend_schema(operation_id="readErasure", responses=answers(200, ErasureShape, 404))
    def retrieve(self, request: Request, sitecode: str, erasure_id: int) -> Response:
        """Return a receipt."""
        return Response(shape(find_erasure(request, sitecode, erasure_id)))

    @extend_schema(
        operation_id="allowErasedPerson", request=None, responses=answers(HTTPStatus.OK, ErasureShape, 403, 404)
    )
    def allow(self, request: Request, sitecode: str, erasure_id: int) -> Response:
        """Accept events of an erased person again, once the erasure is finished. Erased data stays erased."""
        erasure = find_erasure(request, sitecode, erasure_id)
        if erasure.finished_at is None:
            raise NotFound
        if not erasure.is_allowed_again:
            what = f"Allowed events of the erased person again: receipt {erasure.pk}"
            before, after = {"is_allowed_again": False}, {"is_allowed_again": True}
            with transaction.atomic():
                erase.allow_again(erasure)
                write_audit(caller_of(request).name, erasure.site, what, before, after)
            erasure.refresh_from_db()
        return Response(shape(erasure))


def find_person(request: Request, site: Site) -> people.Person:
    """Return the person with the identifier of a query. Raises NotFound."""
    person = people.look_up(site, PersonQuery.read(request)["id"])
    if person is None:
        raise NotFound
    return person


def find_erasure(request: Request, sitecode: str, erasure_id: int) -> Erasure:
    """Return a receipt of a site. Raises NotFound."""
    erasure = Erasure.objects.filter(site=open_site(request, sitecode=sitecode), pk=erasure_id).first()
    if erasure is None:
        raise NotFound
    return erasure


def shape(erasure: Erasure) -> Mapping[str, Any]:
    """Return a receipt as JSON."""
    shaped: Mapping[str, Any] = ErasureShape(erasure).data
    return shaped
