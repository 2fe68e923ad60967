"""Authentication, scopes and visible sites of the management API."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar, cast

from django.db.models import Model, QuerySet
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from api.events.refusal import Refusal
from api.http.credentials import (
    MANAGEMENT_TOKEN_PREFIX,
    check_authorization,
    hash_secret,
    hint_of_token,
    require_scope,
    unauthorized,
)
from api.http.key_usage import UsedKey, record_use
from api.http.refused_keys import KeyProblem, record_refused_key
from api.http.tokens import live_tokens, with_open_sites
from api.models import AuditEntry, ManagementToken, Role, Scope, Site, TokenScope
from api.models.audit import write_audit
from api.models.keys import SCOPES_OF_ROLE

if TYPE_CHECKING:  # it reads the settings, which name this module
    from django.contrib.auth.models import User
    from rest_framework.views import APIView

Row = TypeVar("Row", bound=Model)
READ_SENTENCE: Final = "Read data of people through the management API"
NEWEST_ENTRIES: Final = 200  # of a log, searched at each read


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of the management API."""

    key: str  # unique per credential or token, for the throttle
    name: str  # for people
    role: Role
    scopes: frozenset[TokenScope]
    site_ids: frozenset[int]
    token: ManagementToken | None = None

    @property
    def granted(self) -> list[TokenScope]:
        """Return the scopes in the order of the pages."""
        return [scope for scope in TokenScope if scope in self.scopes]


class CallerAuthentication(BaseAuthentication):
    """Authentication by a management token, a credential or a credential's access token; required everywhere."""

    def authenticate(self, request: Request) -> tuple[Caller, Caller]:
        """Return the caller as user and as auth. Raises Refusal (401, 403)."""
        try:
            caller = find_caller(request.headers.get("Authorization", ""))
        except Refusal as refusal:
            if refusal.status != HTTPStatus.UNAUTHORIZED:
                raise
            # Not Basic, although it is accepted: a browser would ask for it, keep it, and send it with any site's form.
            raise replace(refusal, headers=(("WWW-Authenticate", "Bearer"),)) from refusal
        return caller, caller


def find_caller(authorization: str) -> Caller:
    """Return the caller that an Authorization header names. Raises Refusal (401, 403).

    A credential with the scope `manage`, or an access token made with it, is an owner of its sites.
    """
    scheme, _, value = authorization.strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip().startswith(MANAGEMENT_TOKEN_PREFIX):
        return find_token(value.strip())
    bearer = check_authorization(authorization)
    require_scope(bearer, Scope.MANAGE)
    scopes = frozenset(SCOPES_OF_ROLE[Role.OWNER])
    key, name = f"credential-{bearer.credential_id}", f"credential {bearer.client_id}"
    return Caller(key, name, Role.OWNER, scopes, bearer.site_ids)


def find_token(value: str) -> Caller:
    """Return the caller of a management token, with the sites that its user may still open. Raises Refusal (401).

    One query at each use, so that a token that is revoked, expired or without a user is refused at once.
    """
    tokens = with_open_sites(live_tokens()).select_related("user")
    token = tokens.filter(token_hash=hash_secret(value)).first()
    if token is None:
        record_refused_key(KeyProblem.TOKEN, hash_secret(value), hint=hint_of_token(value))
        raise unauthorized("This management token is unknown, revoked or expired. Create one under Settings, Tokens.")
    open_sites: list[int] = token.open_sites  # type: ignore[attr-defined]  # annotated by with_open_sites
    if not open_sites:
        record_refused_key(KeyProblem.TOKEN, token.token_hash, hint=hint_of_token(value))
        raise unauthorized(
            "The user of this management token no longer has its role in any of its sites. "
            "An owner can take it over under Settings, Tokens."
        )
    record_use(UsedKey.TOKEN, token.pk)
    return Caller(
        f"token-{token.pk}",
        f"token {token.pk} “{token.description}”",
        Role(token.role),
        frozenset(token.granted),
        frozenset(open_sites),
        token,
    )


class ScopePermission(BasePermission):
    """Permission by the scope that a method of the view needs, and by the view's `least_role` if it has one."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Return True, or raise Refusal (403)."""
        caller = request.auth  # None where a view needs no authentication
        if not isinstance(caller, Caller):
            return True
        needed = scope_needed(view, request.method or "")
        if needed not in caller.scopes:
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "insufficient_scope",
                f"This needs the scope `{needed}`; your token has {', '.join(f'`{own}`' for own in caller.granted)}. "
                "An owner of the site creates one that may, under Settings, Tokens.",
            )
        least = getattr(view, "least_role", Role.VIEWER)
        if not caller.role.includes(least):
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "forbidden_role",
                f"This needs a token with scopes; yours is older and has the role {caller.role}, less than {least}.",
            )
        return True


def scope_needed(view: "APIView", method: str) -> TokenScope:
    """Return the scope that a method needs: `reads_need` or `writes_need` of the view, otherwise read or write."""
    if method in SAFE_METHODS:
        return getattr(view, "reads_need", TokenScope.READ)
    return getattr(view, "writes_need", TokenScope.WRITE)


def caller_of(request: Request) -> Caller:
    """Return the caller of an authenticated request."""
    return cast("Caller", request.auth)


def require_user(request: Request) -> "User":
    """Return the user of the caller's token. Raises Refusal (403) for a credential, which has none."""
    token = caller_of(request).token
    if token is None or token.user is None:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "forbidden",
            "This is done in the name of a user, and a credential has none. Send a management token instead. "
            "Nothing was changed.",
        )
    return token.user


def audit_reading(request: Request, site_ids: Collection[int]) -> None:
    """Write to the audit logs of these sites that the caller read data of people, once a day. One query a site.

    A site that logs more than NEWEST_ENTRIES changes meanwhile gets a further line.
    """
    name, day = caller_of(request).name, timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    for site in Site.objects.filter(pk__in=site_ids):
        newest = AuditEntry.objects.filter(site=site).order_by("-pk").values("pk")[:NEWEST_ENTRIES]
        read_today = AuditEntry.objects.filter(site=site, who=name[:150], what=READ_SENTENCE, at__gte=day)
        if not read_today.filter(pk__in=newest).exists():
            write_audit(name, site, READ_SENTENCE, None, {"day": f"{day:%Y-%m-%d}"})


def visible_sites(request: Request, sitecode: str = "") -> Collection[int]:
    """Return the ids of the caller's sites, or of the one with this code.

    Raises Refusal (404). One query for a code.
    """
    if not sitecode:
        return caller_of(request).site_ids
    return {open_site(request, sitecode=sitecode).pk}


def find_in_sites(request: Request, rows: QuerySet[Row], id_: int) -> Row:
    """Return the row with this id of one of the caller's sites. Raises NotFound. One query a site at most."""
    for site_id in sorted(caller_of(request).site_ids):
        row = rows.filter(site_id=site_id, pk=id_).first()
        if row is not None:
            return row
    raise NotFound


def open_site(request: Request, *, sitecode: str | None = None, site_id: int | None = None) -> Site:
    """Return the site with this code or id, or the caller's only site. One query.

    Raises Refusal (404) for a site that the credential does not open, ValidationError if none of several is named.
    """
    sites = Site.objects.filter(pk__in=caller_of(request).site_ids)
    if sitecode is not None:
        sites = sites.filter(sitecode=sitecode)
    if site_id is not None:
        sites = sites.filter(pk=site_id)
    matching = list(sites[:2])
    if len(matching) > 1:
        raise ValidationError({"sitecode": "This credential opens several sites: send the sitecode of one."})
    if not matching:
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_site", "Your credential opens no such site.")
    return matching[0]
