"""The management tokens of a site, for programs, each with scopes. A token is shown once, on its creation."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final, cast

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.http.tokens import describe, make_token, revoke, take_over, with_open_sites
from api.insight.key_usage import describe_changes, describe_use
from api.models import ManagementToken, Role, Site, TokenScope
from api.models.audit import write_audits
from api.pages.access import show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.settings.credentials import chosen_sites, find_owned, other_sites

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LIFETIMES: Final = {"30": "30 days", "90": "90 days", "365": "a year", "": "never"}


@site_page(Role.OWNER)
def list_tokens(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the tokens, revoked ones last. Three queries of its own (promise I-29)."""
    tokens = with_open_sites(site.management_tokens.order_by(F("revoked_at").desc(nulls_first=True), "-pk"))
    return show(
        request,
        "pages/settings/tokens.html",
        title="Management tokens",
        tab="settings-tokens",
        tokens=tokens.select_related("user").prefetch_related("sites")[:200],
        others=other_sites(request, site),
        scopes=TokenScope,
        lifetimes=LIFETIMES.items(),
        now=timezone.now(),
    )


@site_page(Role.OWNER)
@require_POST
def change_tokens(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Create, revoke or take over a token, as the button `do` says."""
    with transaction.atomic():
        if request.POST.get("do") == "create":
            try:
                return create(request, site)
            except ValidationError as error:
                messages.error(request, " ".join(error.messages))
        else:
            token = find_owned(request, site.management_tokens.all(), request.POST.get("token", ""))
            if request.POST.get("do") == "revoke" and token.revoked_at is None:
                if not is_confirmed(request):
                    return ask_revoke(request, site, token)
                revoke(token, by=request.user)
                messages.success(request, f"Token “{token}” revoked.")
            elif request.POST.get("do") == "take" and token.revoked_at is None and token.user != request.user:
                take_over(token, cast("User", request.user), by=request.user)
                messages.success(request, f"“{token}” belongs to you now. It works while you are an owner.")
    return redirect("pages:settings-tokens", site.sitecode)


def ask_revoke(request: HttpRequest, site: Site, token: ManagementToken) -> HttpResponseBase:
    """Return the page that shows the use of a token."""
    sites = list(token.sites.all())
    names = ", ".join(other.name for other in sites)
    return ask(
        request,
        title=f"Revoke the token “{token}”",
        facts=[
            f"Created by {token.made_by}, with the scopes {', '.join(token.granted)} in {names}.",
            describe_use(token.last_used_at),
            describe_changes(sites, f"token {token.pk} “{token}”", now=timezone.now()),
        ],
        warning="Programs that use it are rejected at once. This can't be undone.",
        action="Revoke token",
        back=reverse("pages:settings-tokens", args=[site.sitecode]),
    )


def create(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Create a token and return the page that shows it. Raises ValidationError."""
    lifetime = request.POST.get("lifetime", "90")
    if lifetime not in LIFETIMES:
        raise ValidationError("Choose when it expires.")
    token, value = make_token(
        chosen_sites(request, site),
        description=request.POST.get("description", "").strip(),
        scopes=request.POST.getlist("scope"),
        made_by=cast("User", request.user),
        expires_at=timezone.now() + timedelta(days=int(lifetime)) if lifetime else None,
    )
    write_audits(request.user, token.sites.all(), f"Created the management token {token.pk}", None, describe(token))
    return show(
        request,
        "pages/settings/secret.html",
        title="Copy your token now",
        tab="settings-tokens",
        back="pages:settings-tokens",
        credential=token,
        secrets=[("Token", value), ("Header", f"Authorization: Bearer {value}")],
    )
