"""The credentials of a site. A secret is shown once, on the page that answers its creation or rotation."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.http.credentials import encode_api_key
from api.http.wording import count_of
from api.ingest.provisioning import (
    NewCredential,
    create_credential,
    read_scopes,
    revoke_credential,
    rotate_secret,
)
from api.insight.key_usage import describe_changes, describe_events, describe_use
from api.models import Credential, ManagementToken, Role, Scope, Site, Source
from api.models.audit import write_audits
from api.pages.access import show, site_page, sites_of
from api.pages.confirm import ask, is_confirmed
from api.pages.query_form import read_id

if TYPE_CHECKING:
    from django.db.models import QuerySet

MOST_HOURS: Final = 720  # of overlap
MOST_SITES: Final = 10  # of a credential, that a page names
Opener = TypeVar("Opener", Credential, ManagementToken)


@site_page(Role.OWNER)
def list_credentials(request: HttpRequest, site: Site) -> HttpResponseBase:
    return show(
        request,
        "pages/settings/credentials.html",
        title="Credentials",
        tab="settings-credentials",
        credentials=site.credentials.order_by("pk").prefetch_related("sites"),
        now=timezone.now(),
        most_hours=MOST_HOURS,
        scopes=Scope,
        others=other_sites(request, site),
    )


@site_page(Role.OWNER)
@require_POST
def change_credentials(request: HttpRequest, site: Site) -> HttpResponseBase:  # noqa: PLR0911 - a button each
    """Create a credential, rotate its secret, revoke it, or change its scopes, as the button `do` says."""
    do = request.POST.get("do", "")
    with transaction.atomic():
        if do == "create":
            try:
                new = create_credential(
                    chosen_sites(request, site),
                    name=request.POST.get("name", "").strip(),
                    scopes=request.POST.getlist("scope"),
                )
            except ValidationError as error:
                messages.error(request, " ".join(error.messages))
                return redirect("pages:settings-credentials", site.sitecode)
            after = {"name": new.credential.name, "scopes": new.credential.scopes}
            write_audits(
                request.user,
                new.credential.sites.all(),
                f"Created the credential {new.credential.client_id}",
                None,
                after,
            )
            return show_secret(request, new)
        credential = find_owned(request, site.credentials.all(), request.POST.get("credential", ""))
        if do == "rotate" and credential.revoked_at is None:
            hours = request.POST.get("hours", "")
            if not hours.isdecimal() or len(hours) > 4 or int(hours) > MOST_HOURS:  # noqa: PLR2004
                messages.error(request, f"Keep the old secret for 0 to {MOST_HOURS} hours.")
                return redirect("pages:settings-credentials", site.sitecode)
            if not is_confirmed(request):
                return ask_rotate(request, site, credential, hours=int(hours))
            new = rotate_secret(credential, overlap=timedelta(hours=int(hours)), now=timezone.now())
            action = f"Rotated the secret of the credential {credential.client_id}"
            write_audits(request.user, credential.sites.all(), action, None, {"the old one ends in hours": int(hours)})
            return show_secret(request, new)
        if do == "scopes" and credential.revoked_at is None:
            return set_scopes(request, site, credential)
        if do == "revoke" and credential.revoked_at is None:
            if not is_confirmed(request):
                return ask_revoke(request, site, credential)
            revoke_credential(credential, now=timezone.now())
            action = f"Revoked the credential {credential.client_id}"
            write_audits(
                request.user, credential.sites.all(), action, {"revoked": None}, {"revoked": credential.revoked_at}
            )
            messages.success(request, f"“{credential}” revoked. It is rejected within 5 seconds.")
    return redirect("pages:settings-credentials", site.sitecode)


def set_scopes(request: HttpRequest, site: Site, credential: Credential) -> HttpResponseBase:
    """Change the scopes of a credential after a confirmation that names the lost ones."""
    try:
        before, credential.scopes = credential.scopes, read_scopes(request.POST.getlist("scope"))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("pages:settings-credentials", site.sitecode)
    if before != credential.scopes:
        if not is_confirmed(request):
            return ask_scopes(request, site, credential, before=before)
        credential.save(update_fields=["scopes"])
        action = f"Changed the scopes of the credential {credential.client_id}"
        write_audits(request.user, credential.sites.all(), action, {"scopes": before}, {"scopes": credential.scopes})
    messages.success(request, f"Saved. Within 5 seconds “{credential}” can {credential.scopes_in_words}.")
    return redirect("pages:settings-credentials", site.sitecode)


def ask_scopes(
    request: HttpRequest, site: Site, credential: Credential, *, before: Collection[str]
) -> HttpResponseBase:
    """Return the page that says how the access of a credential with these scopes changes."""
    lost = [scope.label for scope in Scope if scope in before and scope not in credential.scopes]
    return ask(
        request,
        title=f"Change the access of “{credential}”",
        facts=[
            f"From now on it can {credential.scopes_in_words}.",
            *(f"It can no longer {label}." for label in lost),
            *describe_uses(credential, now=timezone.now()),
        ],
        warning="Programs that use it or its access tokens for that are rejected within 5 seconds. Events are lost."
        if lost
        else "Every program with its API key or secret can do that, also Segment if you pasted it there.",
        action="Change access",
        back=reverse("pages:settings-credentials", args=[site.sitecode]),
    )


def ask_rotate(request: HttpRequest, site: Site, credential: Credential, *, hours: int) -> HttpResponseBase:
    """Return the page that says which secrets end."""
    now = timezone.now()
    then = f"in {count_of(hours, 'hour')}" if hours else "within 5 seconds"
    is_renewed = credential.old_secret_ends_at is not None and credential.old_secret_ends_at > now
    return ask(
        request,
        title=f"Rotate the secret of “{credential}”",
        facts=[
            f"The present secret ends {then}.",
            "The previous secret, which still works, ends at once." if is_renewed else "",
            *describe_uses(credential, now=now),
        ],
        warning="Programs that still use the old secret then are rejected, and their events are lost.",
        action="Rotate secret",
        back=reverse("pages:settings-credentials", args=[site.sitecode]),
    )


def ask_revoke(request: HttpRequest, site: Site, credential: Credential) -> HttpResponseBase:
    """Return the page that shows the use of a credential."""
    return ask(
        request,
        title=f"Revoke the credential “{credential}”",
        facts=describe_uses(credential, now=timezone.now()),
        warning="Programs that use it are rejected within 5 seconds, and their events are lost. This can't be undone.",
        action="Revoke credential",
        back=reverse("pages:settings-credentials", args=[site.sitecode]),
    )


def describe_uses(credential: Credential, *, now: datetime) -> list[str]:
    """Return the sites of a credential and its uses, in sentences. Some queries a site."""
    sites = list(credential.sites.all())
    destinations = [
        source for site in sites[:MOST_SITES] for source in site.sources.filter(kind=Source.Kind.DESTINATION)
    ]
    return [
        f"It opens {count_of(len(sites), 'site')}: {', '.join(site.name for site in sites[:MOST_SITES])}.",
        describe_use(credential.last_used_at),
        *describe_events(destinations, now=now),
        describe_changes(sites, f"credential {credential.client_id}", now=now),
    ]


def find_owned(request: HttpRequest, keys: "QuerySet[Opener]", number: str) -> Opener:
    """Return a credential or token if the person owns all of its sites. Raises Http404. Three queries."""
    key = keys.filter(pk=read_id(number) or 0).first()
    if key is None or not {site.pk for site in key.sites.all()} <= {site.pk for site in owned_sites(request)}:
        raise Http404
    return key


def owned_sites(request: HttpRequest) -> "QuerySet[Site]":
    """Return the sites that the person owns."""
    least = {} if request.user.is_superuser else {"role": Role.OWNER}
    return sites_of(request.user).filter(**least)


def other_sites(request: HttpRequest, site: Site) -> list[Site]:
    """Return the sites, at most 100, that a new credential or token of this site may also open."""
    return [other for other in owned_sites(request)[:100] if other != site]


def chosen_sites(request: HttpRequest, site: Site) -> list[Site]:
    """Return this site and the others that the form of a new credential or token names."""
    codes = set(request.POST.getlist("site"))
    return [site, *(other for other in owned_sites(request) if other.sitecode in codes and other != site)]


def show_secret(request: HttpRequest, new: NewCredential) -> HttpResponseBase:
    """Return the page that shows a secret. It has no address, so that it cannot be opened again."""
    return show(
        request,
        "pages/settings/secret.html",
        title="Copy your key now",
        tab="settings-credentials",
        back="pages:settings-credentials",
        credential=new.credential,
        may=new.credential.scopes_in_words,
        secrets=[
            ("Client id", new.credential.client_id),
            ("Secret", new.secret),
            (
                "API key, for Segment" if Scope.SEND in new.credential.scopes else "API key",
                encode_api_key(new.credential.client_id, new.secret),
            ),
        ],
    )
