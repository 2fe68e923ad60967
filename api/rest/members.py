"""`/api/sites/{sitecode}/members`: the members of a site and their roles. Invitations are links of the page."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

import names
from api.events.refusal import Refusal
from api.http import memberships
from api.models import Membership, Role, Site, TokenScope
from api.rest.access import caller_of, open_site
from api.rest.schema import answers


@extend_schema_serializer(component_name="SiteMember")
class SiteMemberShape(serializers.Serializer[Membership]):
    """A person with a role in a site."""

    id = serializers.IntegerField()
    username = serializers.CharField(source="user.username")
    role = serializers.ChoiceField(choices=Role.values)
    isActive = serializers.BooleanField(source="user.is_active")
    dateCreated = serializers.DateTimeField(source="created_at")
    lastLogin = serializers.DateTimeField(source="user.last_login", allow_null=True)


class RoleChange(serializers.Serializer[Any]):
    """A new role. Tokens of the member that need a higher one end in this site."""

    role = serializers.ChoiceField(choices=Role.values)


@extend_schema(tags=["sites"])
class SiteMembers(ViewSet):
    """The members of a site. Each method parses and answers; api.http.memberships decides."""

    reads_need = writes_need = TokenScope.ADMIN

    @extend_schema(operation_id="listSiteMembers", responses=answers(200, SiteMemberShape(many=True), 404))
    def list(self, request: Request, sitecode: str) -> Response:
        """List the members of a site by name. An owner invites others on the page."""
        site = open_site(request, sitecode=sitecode)
        rows = site.memberships.select_related("user").order_by(names.sort_key("user__username"))
        return Response([SiteMemberShape(member).data for member in rows])

    @extend_schema(
        operation_id="changeSiteMember", request=RoleChange, responses=answers(200, SiteMemberShape, 400, 403, 404, 409)
    )
    def partial_update(self, request: Request, sitecode: str, member_id: int) -> Response:
        """Change the role of a member. The last owner stays one."""
        change = RoleChange(data=request.data)
        change.is_valid(raise_exception=True)
        with locked_member(request, sitecode, member_id) as member:
            memberships.change_role(member, Role(change.validated_data["role"]), by=caller_of(request).name)
        return Response(SiteMemberShape(member).data)

    @extend_schema(operation_id="removeSiteMember", responses=answers(204, None, 403, 404, 409))
    def destroy(self, request: Request, sitecode: str, member_id: int) -> Response:
        """Remove a member, who loses access at once, with the tokens here. The last owner stays."""
        with locked_member(request, sitecode, member_id) as member:
            memberships.remove_member(member, by=caller_of(request).name)
        return Response(status=HTTPStatus.NO_CONTENT)


@contextmanager
def locked_member(request: Request, sitecode: str, member_id: int) -> Iterator[Membership]:
    """Yield a member in a transaction that locks the site, because two owners must not remove each other.

    Raises NotFound, and Refusal (409) for the last owner.
    """
    site = open_site(request, sitecode=sitecode)
    with transaction.atomic():
        Site.objects.select_for_update().get(pk=site.pk)
        member = site.memberships.filter(pk=member_id).select_related("user", "site").first()
        if member is None:
            raise NotFound
        try:
            yield member
        except memberships.LastOwnerError as error:
            raise Refusal(HTTPStatus.CONFLICT, "last_owner", str(error)) from error
