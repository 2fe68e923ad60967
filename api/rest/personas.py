"""`/api/sites/{sitecode}/personas` and `groups`: lists, members, traits."""

from datetime import timedelta
from typing import Any, Literal

import msgspec
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

import names
from api.insight import people
from api.models import Site, TokenScope
from api.rest.access import audit_reading, open_site
from api.rest.person_shapes import GroupShape, GroupTraitsShape, MemberPageShape, PersonaShape
from api.rest.reading import PageQuery, Query, read_page
from api.rest.schema import PAGE_HEADERS, answers
from cohorts import members, queries
from cohorts.models import Group, Identity, Persona
from cohorts.persona_history import LIST_DAYS, count_changes


class MemberQuery(Query):
    limit = serializers.IntegerField(default=50, min_value=1, max_value=members.PAGE)
    cursor = serializers.CharField(required=False, help_text="`next` of the page before, unchanged.")

    def validate_cursor(self, cursor: str) -> members.Key:
        try:
            kind, value = msgspec.json.decode(cursor, type=tuple[int, str])
            return int(Identity.Kind(kind)), value.replace("\0", "\ufffd")
        except (ValueError, msgspec.DecodeError) as error:
            raise serializers.ValidationError("This is no cursor. Send `next` of the page before.") from error


@extend_schema(tags=["personas"])
class Personas(APIView):
    @extend_schema(
        operation_id="listPersonas",
        parameters=[PageQuery, *PAGE_HEADERS],
        responses=answers(200, PersonaShape(many=True), 400, 404),
    )
    def get(self, request: Request, sitecode: str) -> Response:
        """List the personas of a site by name, with their sizes, changes, and the first and last event about them."""
        query = PageQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        page, headers = read_page(names.in_order(Persona.objects.filter(site=site), "name"), query)
        sizes, is_complete = members.sizes(site.pk) if page else ({}, True)
        seen = queries.load_first_and_last_events(site.pk, [persona.pk for persona in page])
        since = timezone.now() - timedelta(days=LIST_DAYS)
        changes = count_changes(site.pk, [persona.pk for persona in page], since=since, zone=site.time_zone)
        shaped = [
            {
                "changes": changes[persona.pk],
                "name": persona.name,
                "members": sizes.get(persona.name, 0),
                "is_complete": is_complete,
                "first_event": first_event,
                "last_event": last_event,
            }
            for persona in page
            for first_event, last_event in [seen.get(persona.pk, (persona.created_at, None))]
        ]
        return Response(PersonaShape(shaped, many=True).data, headers=headers)


@extend_schema(tags=["personas"])
class PersonaMembers(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="listMembersOfPersona",
        parameters=[MemberQuery],
        responses=answers(200, MemberPageShape, 400, 404),
    )
    def get(self, request: Request, sitecode: str, name: str) -> Response:
        """List the current members of a persona. Percent-encode its name, slashes too."""
        query = MemberQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        persona = get_object_or_404(Persona, site=site, name=name)
        return answer_members(request, site, "personas", persona.name, query)


@extend_schema(tags=["groups"])
class Groups(APIView):
    @extend_schema(
        operation_id="listGroups",
        parameters=[PageQuery, *PAGE_HEADERS],
        responses=answers(200, GroupShape(many=True), 400, 404),
    )
    def get(self, request: Request, sitecode: str) -> Response:
        """List the groups of a site by id, with their sizes."""
        query = PageQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        groups = names.in_order(Group.objects.filter(site=site).defer("registers"), "group_id")
        page, headers = read_page(groups, query)
        summaries = queries.load_group_summaries(site.pk, [group.pk for group in page])
        company_is_group = site.company_is_group
        sizes, is_complete = members.sizes(site.pk, "group", company_is_group=company_is_group) if page else ({}, True)
        shaped = [
            {
                "id": group.group_id,
                "traits": summaries[group.pk].traits if group.pk in summaries else 0,
                "members": sizes.get(group.group_id, 0),
                "is_complete": is_complete,
            }
            for group in page
        ]
        return Response(GroupShape(shaped, many=True).data, headers=headers)


@extend_schema(tags=["groups"])
class GroupTraits(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(operation_id="readGroupTraits", responses=answers(200, GroupTraitsShape, 404))
    def get(self, request: Request, sitecode: str, group_id: str) -> Response:
        """Return the traits of a group. Percent-encode its id, slashes too."""
        site = open_site(request, sitecode=sitecode)
        group = get_object_or_404(Group, site=site, group_id=group_id)
        audit_reading(request, {site.pk})
        return Response(GroupTraitsShape({"id": group.group_id, "traits": people.traits_of_group(group)}).data)


@extend_schema(tags=["groups"])
class GroupMembers(APIView):
    reads_need = TokenScope.READ_PERSONAL

    @extend_schema(
        operation_id="listMembersOfGroup",
        parameters=[MemberQuery],
        responses=answers(200, MemberPageShape, 400, 404),
    )
    def get(self, request: Request, sitecode: str, group_id: str) -> Response:
        """List the members of a group. Percent-encode its id, slashes too."""
        query = MemberQuery.read(request)
        site = open_site(request, sitecode=sitecode)
        group = get_object_or_404(Group, site=site, group_id=group_id)
        return answer_members(request, site, "group", group.group_id, query)


def answer_members(
    request: Request, site: Site, of: Literal["personas", "group"], name: str, query: dict[str, Any]
) -> Response:
    """Return a page of members. Three queries, and those of the audit log."""
    page = members.find_members(
        site.pk,
        of,
        name,
        after=query.get("cursor"),
        limit=query["limit"],
        company_is_group=of == "group" and site.company_is_group,
    )
    audit_reading(request, {site.pk})
    cursor = None if page.next is None else msgspec.json.encode(page.next).decode()
    return Response(MemberPageShape({"results": page.members, "next": cursor}).data)
