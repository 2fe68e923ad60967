"""`/api/sites/{sitecode}/tokens`: management tokens. A token is shown once."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.events.refusal import Refusal
from api.http.credentials import MANAGEMENT_TOKEN_PREFIX
from api.http.tokens import describe, make_token, revoke, take_over, with_open_sites
from api.models import ManagementToken, Site, TokenScope
from api.models.audit import write_audits
from api.rest import idempotency
from api.rest.access import caller_of, open_site, require_user
from api.rest.reading import PageQuery, read_page
from api.rest.schema import PAGE_HEADERS, answers

LIFETIME: Final = timedelta(days=90)  # as on the page


@extend_schema_serializer(component_name="ManagementToken")
class TokenShape(serializers.Serializer[ManagementToken]):
    """A key to the management API, with scopes in its sites."""

    id = serializers.IntegerField()
    description = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=TokenScope.values), source="granted")
    sites = serializers.SerializerMethodField(help_text="The sitecodes of all its sites.")
    belongsTo = serializers.CharField(
        source="user.username", default=None, allow_null=True, help_text="Its user; null after the user was deleted."
    )
    isWorking = serializers.SerializerMethodField(
        help_text="False if it is revoked or expired, or if its user lost the role that it needs in all of its sites."
    )
    dateCreated = serializers.DateTimeField(source="created_at")
    expiresAt = serializers.DateTimeField(source="expires_at", allow_null=True, help_text="Null: never.")
    revokedAt = serializers.DateTimeField(source="revoked_at", allow_null=True)
    lastUsedAt = serializers.DateTimeField(source="last_used_at", allow_null=True, help_text="To the minute.")

    def get_sites(self, token: ManagementToken) -> list[str]:
        return sorted(site.sitecode for site in token.sites.all())

    def get_isWorking(self, token: ManagementToken) -> bool:  # noqa: N802 - the wire's name
        is_over = token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= timezone.now())
        return not is_over and bool(token.open_sites)  # type: ignore[attr-defined]  # annotated by with_open_sites


@extend_schema_serializer(component_name="ManagementTokenWithValue")
class NewTokenShape(TokenShape):
    """A new token with its value. It is shown once, and again only to a request with the same Idempotency-Key."""

    token = serializers.CharField(help_text="For the header `Authorization: Bearer <token>`.")


@extend_schema_serializer(component_name="ManagementTokenToCreate")
class TokenToCreate(serializers.Serializer[Any]):
    """A token to create for one site."""

    description = serializers.CharField(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=TokenScope.values),
        min_length=1,
        help_text="Those of your own token at most.",
    )
    expiresAt = serializers.DateTimeField(
        required=False,
        allow_null=True,
        help_text="Null: never. Without it, 90 days from now, or the end of your own token, which it must not outlive.",
    )

    def validate_expiresAt(self, expires_at: datetime | None) -> datetime | None:  # noqa: N802 - the wire's name
        if expires_at is not None and expires_at <= timezone.now():
            raise serializers.ValidationError("This time is over.")
        return expires_at


@extend_schema(tags=["tokens"])
class Tokens(ViewSet):
    """The management tokens of a site. Only a caller that opens all sites of a token may change it."""

    reads_need = writes_need = TokenScope.ADMIN

    @extend_schema(
        operation_id="listTokens",
        parameters=[PageQuery, *PAGE_HEADERS],
        responses=answers(200, TokenShape(many=True), 400, 404),
    )
    def list(self, request: Request, sitecode: str) -> Response:
        """List the management tokens of a site, newest first, revoked ones last."""
        query = PageQuery.read(request)
        rows = tokens_of(open_site(request, sitecode=sitecode))
        page, headers = read_page(rows.order_by(F("revoked_at").desc(nulls_first=True), "-pk"), query)
        return Response([TokenShape(token).data for token in page], headers=headers)

    @extend_schema(
        operation_id="createToken",
        request=TokenToCreate,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, NewTokenShape, 400, 403, 404, 409),
    )
    def create(self, request: Request, sitecode: str) -> Response:
        """Create a token of a site for your user. Its value is shown once. Only a management token may."""
        site = open_site(request, sitecode=sitecode)
        new = TokenToCreate(data=request.data)
        new.is_valid(raise_exception=True)
        fields: dict[str, Any] = new.validated_data
        user = require_user(request)
        require_own_scopes(request, fields["scopes"])
        expires_at = find_end(request, fields)

        def create(secret: str) -> Mapping[str, Any]:
            token, _ = make_token(
                [site],
                description=fields["description"],
                scopes=fields["scopes"],
                made_by=user,
                expires_at=expires_at,
                secret=secret,
            )
            what = f"Created the management token {token.pk}"
            write_audits(caller_of(request).name, [site], what, None, describe(token))
            return shape(site, token)

        try:
            return idempotency.create_once(request, site, create, shown_once=show_value)
        except ValidationError as error:
            raise serializers.ValidationError(error.message_dict) from error

    @extend_schema(operation_id="takeOverToken", request=None, responses=answers(200, TokenShape, 403, 404))
    def take_over(self, request: Request, sitecode: str, token_id: int) -> Response:
        """Let a token belong to your user, so that it works on when its user leaves. Its value stays."""
        site = open_site(request, sitecode=sitecode)
        user = require_user(request)
        with transaction.atomic():
            token = find_token(request, site, token_id)
            require_own_scopes(request, token.granted)
            if token.user != user:
                take_over(token, user, by=caller_of(request).name)
        return Response(shape(site, token))

    @extend_schema(operation_id="revokeToken", responses=answers(204, None, 403, 404))
    def destroy(self, request: Request, sitecode: str, token_id: int) -> Response:
        """Revoke a token. It is refused at once. This can't be undone."""
        site = open_site(request, sitecode=sitecode)
        with transaction.atomic():
            revoke(find_token(request, site, token_id), by=caller_of(request).name)
        return Response(status=HTTPStatus.NO_CONTENT)


def tokens_of(site: Site) -> QuerySet[ManagementToken]:
    return with_open_sites(site.management_tokens.all()).select_related("user").prefetch_related("sites")


def find_token(request: Request, site: Site, token_id: int) -> ManagementToken:
    """Return a token that is not revoked if the caller opens all of its sites. Raises NotFound. Two queries."""
    token = tokens_of(site).filter(pk=token_id, revoked_at=None).first()
    if token is None or not {one.pk for one in token.sites.all()} <= caller_of(request).site_ids:
        raise NotFound
    return token


def require_own_scopes(request: Request, scopes: list[str] | list[TokenScope]) -> None:
    """Raise Refusal (403) if a token with these scopes could do more than the caller."""
    missing = [scope for scope in TokenScope if scope in scopes and scope not in caller_of(request).scopes]
    if missing:
        noun, pronoun = ("scope", "it") if len(missing) == 1 else ("scopes", "them")
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "insufficient_scope",
            f"Your token lacks the {noun} {', '.join(f'`{scope}`' for scope in missing)}, so it cannot create or take "
            f"over a token with {pronoun}. Nothing was changed.",
        )


def find_end(request: Request, fields: Mapping[str, Any]) -> datetime | None:
    """Return when a new token ends. Raises Refusal (403) if it would outlive the caller's own."""
    token = caller_of(request).token
    own_end = None if token is None else token.expires_at
    if "expiresAt" not in fields:
        usual_end = timezone.now() + LIFETIME
        return usual_end if own_end is None else min(usual_end, own_end)
    asked: datetime | None = fields["expiresAt"]
    if own_end is not None and (asked is None or asked > own_end):
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "forbidden",
            f"Your token ends at {own_end.isoformat()}, and none that it creates may end later. Nothing was changed.",
        )
    return asked


def show_value(_body: Mapping[str, Any], secret: str) -> Mapping[str, Any]:
    """Return the field of an answer that is shown once."""
    return {"token": MANAGEMENT_TOKEN_PREFIX + secret}


def shape(site: Site, token: ManagementToken) -> Mapping[str, Any]:
    """Return a token as JSON, without its value."""
    shaped: Mapping[str, Any] = TokenShape(tokens_of(site).get(pk=token.pk)).data
    return shaped
