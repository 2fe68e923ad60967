"""Management tokens, their users and the sites that they open.

A token can do no more than its user. It opens its sites in which the user has at least the token's role now, and none
if the user is deactivated or deleted.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from api.http.credentials import MANAGEMENT_TOKEN_PREFIX, generate_secret, hash_secret
from api.models import ManagementToken, Membership, Role, Site, TokenScope
from api.models.audit import write_audits
from api.models.keys import ROLE_OF_SCOPE

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

TokenSite = ManagementToken.sites.through  # the rows of a token's sites


def make_token(
    sites: Sequence[Site],
    *,
    description: str,
    scopes: Collection[str] = (),
    role: str = "",
    made_by: "User",
    expires_at: datetime | None,
    secret: str = "",
) -> tuple[ManagementToken, str]:
    """Make a management token and return it with its value, which is shown once (promise I-29).

    The value ends in the secret, a new one if none is given. With a role instead of scopes it is like a token from
    before scopes. Raises ValidationError.
    """
    if not set(scopes) <= set(TokenScope.values) or bool(scopes) == bool(role):
        raise ValidationError({"scopes": f"Say what it may do: {', '.join(TokenScope.values)}."})
    granted = [scope for scope in TokenScope if scope in scopes]
    value = MANAGEMENT_TOKEN_PREFIX + (secret or generate_secret())
    token = ManagementToken(
        token_hash=hash_secret(value),
        description=description,
        role=role or max((ROLE_OF_SCOPE[scope] for scope in granted), key=list(Role).index),
        scopes=granted,
        made_by=made_by.get_username(),
        user=made_by,
        expires_at=expires_at,
    )
    token.full_clean()
    with transaction.atomic():
        token.save()
        token.sites.set(sites)
    return token, value


def with_open_sites(tokens: "QuerySet[ManagementToken]") -> "QuerySet[ManagementToken]":
    """Annotate each token with `open_sites`, the ids of the sites that it opens now. Part of the same query."""
    allowed = Q(managementtoken__user__is_superuser=True)
    for role in Role:
        enough = [own for own in Role if own.includes(role)]
        member = Membership.objects.filter(
            user=OuterRef("managementtoken__user"), site=OuterRef("site"), role__in=enough
        )
        allowed |= Q(Exists(member), managementtoken__role=role)
    opened = TokenSite.objects.filter(allowed, managementtoken=OuterRef("pk"), managementtoken__user__is_active=True)
    return tokens.annotate(open_sites=ArraySubquery(opened.order_by("site_id").values("site_id")))


def live_tokens() -> "QuerySet[ManagementToken]":
    """Return the tokens that are neither revoked nor expired."""
    return ManagementToken.objects.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)


def tokens_that_end(user_ids: Collection[int], *, site: Site | None = None) -> list[ManagementToken]:
    """Return the live tokens that end with these users, or with their memberships in a site. Two queries.

    A superuser needs no membership, so that only deactivating or deleting them ends their tokens.
    """
    tokens = live_tokens().filter(user__in=user_ids).select_related("user").prefetch_related("sites").order_by("pk")
    if site is not None:
        tokens = tokens.filter(sites=site, user__is_superuser=False)
    return list(tokens)


def ended(tokens: Collection[ManagementToken], name: str) -> str:
    """Return a sentence, without its full stop, that names the ended tokens of a user."""
    names = ", ".join(f"“{token}”" for token in tokens)
    return f"The management token{'' if len(tokens) == 1 else 's'} {names} of {name} ended"


def describe(token: ManagementToken) -> dict[str, object]:
    """Return a token's values for the audit log."""
    return {
        "description": token.description,
        "scopes": list(token.granted),
        "sites": sorted(site.sitecode for site in token.sites.all()),
        "expires": token.expires_at,
    }


def revoke(token: ManagementToken, *, by: "User | AnonymousUser | str") -> None:
    """Revoke a token for good and audit it in each of its sites. Call it inside a transaction."""
    token.revoked_at = timezone.now()
    token.save(update_fields=["revoked_at"])
    write_audits(by, token.sites.all(), f"Revoked the management token {token.pk}", describe(token), None)


def take_over(token: ManagementToken, user: "User", *, by: "User | AnonymousUser | str") -> None:
    """Give a token to another user, who must own all of its sites, and audit it. Its value and its role stay."""
    before = {"belongs to": token.user.get_username() if token.user else None}
    token.user = user
    token.save(update_fields=["user"])
    what = f"Took over the management token {token.pk}"
    write_audits(by, token.sites.all(), what, before, {"belongs to": user.get_username()})
