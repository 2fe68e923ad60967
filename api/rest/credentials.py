"""`/api/sites/{sitecode}/credentials`: create, rotate, revoke. A secret is shown once."""
# ruff: noqa: N815 - the names are the wire's

from collections.abc import Collection, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from api.events.refusal import Refusal
from api.http.credentials import encode_api_key
from api.ingest import provisioning
from api.models import Credential, Role, Scope, Site, TokenScope
from api.models.audit import write_audits
from api.models.keys import SCOPES_OF_ROLE
from api.rest import idempotency
from api.rest.access import caller_of, open_site
from api.rest.schema import answers

MOST_OVERLAP = 720  # hours, as on the page
# The scopes that a caller needs to give a credential this one. Whoever has `admin` may make write keys, which send too.
NEEDED: Final[Mapping[str, Collection[TokenScope]]] = {
    Scope.SEND: (),
    Scope.READ: (TokenScope.READ_PERSONAL,),
    Scope.MANAGE: SCOPES_OF_ROLE[Role.OWNER],
}


@extend_schema_serializer(component_name="Credential")
class CredentialShape(serializers.Serializer[Credential]):
    """A client id and a hashed secret, which open sites to a sender, a reader or a program."""

    id = serializers.IntegerField()
    clientId = serializers.CharField(source="client_id")
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.values))
    sites = serializers.SerializerMethodField(help_text="The sitecodes of all sites that it opens.")
    dateCreated = serializers.DateTimeField(source="created_at")
    lastUsedAt = serializers.DateTimeField(source="last_used_at", allow_null=True, help_text="To the minute.")
    revokedAt = serializers.DateTimeField(source="revoked_at", allow_null=True)
    oldSecretEndsAt = serializers.DateTimeField(
        source="old_secret_ends_at", allow_null=True, help_text="The previous secret works until then."
    )

    def get_sites(self, credential: Credential) -> list[str]:
        return sorted(site.sitecode for site in credential.sites.all())


@extend_schema_serializer(component_name="CredentialWithSecret")
class NewCredentialShape(CredentialShape):
    """A credential with its new secret. It is shown once, and again only to a request with the same Idempotency-Key."""

    secret = serializers.CharField()
    apiKey = serializers.CharField(help_text="base64 of client id and secret as JSON, for Segment.")


class CredentialFields(serializers.Serializer[Any]):
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.values),
        min_length=1,
        help_text="`send` events, `read` remote data with private traits, `manage`: the management API as an owner.",
    )


class CredentialToCreate(CredentialFields):
    """A credential to create for one site."""

    name = serializers.CharField(max_length=100)


class CredentialChange(CredentialFields):
    """The scopes of a credential from now on."""


class SecretRotation(serializers.Serializer[Any]):
    """The time for which the old secret of a credential still works."""

    overlapHours = serializers.IntegerField(default=24, min_value=0, max_value=MOST_OVERLAP)


@extend_schema(tags=["credentials"])
class Credentials(ViewSet):
    """The credentials of a site. Only a caller that opens all sites of a credential may change it."""

    reads_need = writes_need = TokenScope.ADMIN

    @extend_schema(operation_id="listCredentials", responses=answers(200, CredentialShape(many=True), 404))
    def list(self, request: Request, sitecode: str) -> Response:
        """List the credentials of a site, oldest first, revoked ones too."""
        site = open_site(request, sitecode=sitecode)
        rows = site.credentials.order_by("pk").prefetch_related("sites")
        return Response([shape(credential) for credential in rows])

    @extend_schema(
        operation_id="createCredential",
        request=CredentialToCreate,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, NewCredentialShape, 400, 403, 404, 409),
    )
    def create(self, request: Request, sitecode: str) -> Response:
        """Create a credential of a site. Its secret is shown once."""
        site = open_site(request, sitecode=sitecode)
        new = CredentialToCreate(data=request.data)
        new.is_valid(raise_exception=True)
        require_own_scopes(request, new.validated_data["scopes"])

        def create(secret: str) -> Mapping[str, Any]:
            credential = provisioning.create_credential([site], secret=secret, **new.validated_data).credential
            after = {"name": credential.name, "scopes": credential.scopes}
            note(request, credential, f"Created the credential {credential.client_id}", None, after)
            return shape(credential)

        return idempotency.create_once(request, site, create, shown_once=show_secret)

    @extend_schema(
        operation_id="changeCredential",
        request=CredentialChange,
        responses=answers(200, CredentialShape, 400, 403, 404),
    )
    def partial_update(self, request: Request, sitecode: str, credential_id: int) -> Response:
        """Change the scopes of a credential, within 5 seconds."""
        credential = find_credential(request, open_site(request, sitecode=sitecode), credential_id)
        change = CredentialChange(data=request.data)
        change.is_valid(raise_exception=True)
        require_own_scopes(request, change.validated_data["scopes"])
        before = credential.scopes
        with transaction.atomic():
            provisioning.change_scopes(credential, change.validated_data["scopes"])
            if before != credential.scopes:
                action = f"Changed the scopes of the credential {credential.client_id}"
                note(request, credential, action, {"scopes": before}, {"scopes": credential.scopes})
        return Response(shape(credential))

    @extend_schema(
        operation_id="rotateSecret",
        request=SecretRotation,
        parameters=idempotency.PARAMETERS,
        responses=answers(201, NewCredentialShape, 400, 403, 404, 409),
    )
    def rotate(self, request: Request, sitecode: str, credential_id: int) -> Response:
        """Give a credential a new secret, which is shown once. The old one ends after `overlapHours`."""
        site = open_site(request, sitecode=sitecode)
        credential = find_credential(request, site, credential_id)
        rotation = SecretRotation(data=request.data)
        rotation.is_valid(raise_exception=True)
        require_own_scopes(request, credential.scopes)
        hours = rotation.validated_data["overlapHours"]

        def create(secret: str) -> Mapping[str, Any]:
            overlap = timedelta(hours=hours)
            provisioning.rotate_secret(credential, overlap=overlap, secret=secret, now=timezone.now())
            action = f"Rotated the secret of the credential {credential.client_id}"
            note(request, credential, action, None, {"the old one ends in hours": hours})
            return shape(credential)

        return idempotency.create_once(request, site, create, shown_once=show_secret)

    @extend_schema(operation_id="revokeCredential", responses=answers(204, None, 403, 404))
    def destroy(self, request: Request, sitecode: str, credential_id: int) -> Response:
        """Revoke a credential. It is refused everywhere within 5 seconds. This can't be undone."""
        credential = find_credential(request, open_site(request, sitecode=sitecode), credential_id)
        with transaction.atomic():
            provisioning.revoke_credential(credential, now=timezone.now())
            action = f"Revoked the credential {credential.client_id}"
            note(request, credential, action, {"revoked": None}, {"revoked": credential.revoked_at})
        return Response(status=HTTPStatus.NO_CONTENT)


def find_credential(request: Request, site: Site, credential_id: int) -> Credential:
    """Return a live credential if the caller opens all of its sites. Raises NotFound. Two queries."""
    credential = site.credentials.filter(pk=credential_id, revoked_at=None).prefetch_related("sites").first()
    if credential is None or not {one.pk for one in credential.sites.all()} <= caller_of(request).site_ids:
        raise NotFound
    return credential


def require_own_scopes(request: Request, scopes: Collection[str]) -> None:
    """Raise Refusal (403) if a credential with these scopes could do more than the caller."""
    own = caller_of(request).scopes
    for scope in scopes:
        missing = [needed.value for needed in NEEDED[scope] if needed not in own]
        if missing:
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "insufficient_scope",
                f"A credential with the scope `{scope}` could do more than your token, which lacks "
                f"{', '.join(f'`{name}`' for name in missing)}. Nothing was changed.",
            )


def note(
    request: Request,
    credential: Credential,
    action: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    write_audits(caller_of(request).name, credential.sites.all(), action, before, after)


def show_secret(body: Mapping[str, Any], secret: str) -> Mapping[str, Any]:
    """Return the fields of an answer that are shown once."""
    return {"secret": secret, "apiKey": encode_api_key(body["clientId"], secret)}


def shape(credential: Credential) -> Mapping[str, Any]:
    """Return a credential as JSON, without its secret."""
    shaped: Mapping[str, Any] = CredentialShape(credential).data
    return shaped
