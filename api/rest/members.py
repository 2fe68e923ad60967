"""`/api/sites/{sitecode}/members` and `invitations`: the members of a site, their roles, and links to join it."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

import names
from api.events.refusal import Refusal
from api.http import invitations, memberships
from api.http.memberships import LONGEST_USERNAME
from api.models import Membership, Role, Site, TokenScope
from api.rest import idempotency
from api.rest.access import caller_of, open_site, require_user
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


class InvitationToCreate(serializers.Serializer[Any]):
    """A person to invite, and their role in the site."""

    username = serializers.CharField(max_length=LONGEST_USERNAME)
    role = serializers.ChoiceField(choices=Role.values)

    def validate_username(self, username: str) -> str:
        return invitations.clean_username(username)


@extend_schema_serializer(component_name="Invitation")
class InvitationShape(InvitationToCreate):
    """A link at which the user of this name may join a site. It is the same whether there is such a user."""

    link = serializers.CharField(help_text="For this person, who opens it and signs in, or chooses a password if new.")
    expiresAt = serializers.DateTimeField(
        help_text="It also ends when its sender is no owner any more, when the person is removed, or when an "
        "administrator deletes the account."
    )


@extend_schema(tags=["sites"])
class SiteMembers(ViewSet):
    """The members of a site. Each method parses and answers; api.http.memberships decides."""

    reads_need = writes_need = TokenScope.ADMIN

    @extend_schema(operation_id="listSiteMembers", responses=answers(200, SiteMemberShape(many=True), 404))
    def list(self, request: Request, sitecode: str) -> Response:
        """List the members of a site by name."""
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


@extend_schema(tags=["sites"])
class Invitations(APIView):
    writes_need = TokenScope.ADMIN

    @extend_schema(
        operation_id="inviteSiteMember",
        request=InvitationToCreate,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, InvitationShape, 400, 403, 404, 409),
    )
    def post(self, request: Request, sitecode: str) -> Response:
        """Make a link for a username, which you pass on. Its sender is your user, so only a management token may."""
        site = open_site(request, sitecode=sitecode)
        new = InvitationToCreate(data=request.data)
        new.is_valid(raise_exception=True)
        username, role = new.validated_data["username"], Role(new.validated_data["role"])
        inviter = require_user(request)
        if site.memberships.filter(user__username=username).exists():
            raise serializers.ValidationError({"username": f"{username} is already a member."})

        def create(_secret: str) -> Mapping[str, Any]:
            by = caller_of(request).name
            link = invitations.invite(site, username, role, inviter=inviter, by=by)
            expires_at = timezone.now() + timedelta(days=invitations.DAYS)
            shape: Mapping[str, Any] = InvitationShape(
                {"username": username, "role": role, "link": link, "expiresAt": expires_at}
            ).data
            return shape

        def show_link(body: Mapping[str, Any], _secret: str) -> Mapping[str, Any]:
            return {"link": invitations.address_of(request, body["link"])}

        return idempotency.create_once(request, site, create, shown_once=show_link)


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
