"""The credentials that open a site. A secret is told on the page that answers its making, and nowhere else."""

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
from api.ingest.provisioning import NewCredential, create_credential, read_scopes, renew_secret
from api.insight.key_usage import describe_changes, describe_events, describe_use
from api.models import Credential, ManagementToken, Role, Scope, Site, Source
from api.models.audit import write_audits
from api.pages.access import show, site_page, sites_of
from api.pages.confirm import ask, is_confirmed
from api.pages.query_form import read_id

if TYPE_CHECKING:
    from django.db.models import QuerySet

MOST_HOURS: Final = 720  # of overlap
MOST_TOLD: Final = 10  # sites of a credential
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
    """Make a credential, renew or revoke one, or change what it may do, as the button `do` says."""
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
                request.user, new.credential.sites.all(), f"Made the credential {new.credential.client_id}", None, after
            )
            return tell_secret(request, new)
        credential = find_owned(request, site.credentials.all(), request.POST.get("credential", ""))
        if do == "renew" and credential.revoked_at is None:
            hours = request.POST.get("hours", "")
            if not hours.isdecimal() or len(hours) > 4 or int(hours) > MOST_HOURS:  # noqa: PLR2004
                messages.error(request, f"The old secret may go on for 0 to {MOST_HOURS} hours.")
                return redirect("pages:settings-credentials", site.sitecode)
            if not is_confirmed(request):
                return ask_renew(request, site, credential, hours=int(hours))
            new = renew_secret(credential, overlap=timedelta(hours=int(hours)), now=timezone.now())
            what = f"Renewed the secret of the credential {credential.client_id}"
            write_audits(request.user, credential.sites.all(), what, None, {"the old one ends in hours": int(hours)})
            return tell_secret(request, new)
        if do == "scopes" and credential.revoked_at is None:
            return set_scopes(request, site, credential)
        if do == "revoke" and credential.revoked_at is None:
            if not is_confirmed(request):
                return ask_revoke(request, site, credential)
            credential.revoked_at = timezone.now()
            credential.save(update_fields=["revoked_at"])
            what = f"Revoked the credential {credential.client_id}"
            write_audits(
                request.user, credential.sites.all(), what, {"revoked": None}, {"revoked": credential.revoked_at}
            )
            messages.success(request, f"Revoked: “{credential}” is refused everywhere within 5 seconds.")
    return redirect("pages:settings-credentials", site.sitecode)


def set_scopes(request: HttpRequest, site: Site, credential: Credential) -> HttpResponseBase:
    """Let a credential do what the form says, once the person has seen what it may do no more."""
    try:
        before, credential.scopes = credential.scopes, read_scopes(request.POST.getlist("scope"))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("pages:settings-credentials", site.sitecode)
    if before != credential.scopes:
        if not is_confirmed(request):
            return ask_scopes(request, site, credential, before=before)
        credential.save(update_fields=["scopes"])
        what = f"Changed what the credential {credential.client_id} may do"
        write_audits(request.user, credential.sites.all(), what, {"scopes": before}, {"scopes": credential.scopes})
    messages.success(request, f"Saved: “{credential}” may {credential.scopes_in_words}, within 5 seconds.")
    return redirect("pages:settings-credentials", site.sitecode)


def ask_scopes(
    request: HttpRequest, site: Site, credential: Credential, *, before: Collection[str]
) -> HttpResponseBase:
    """Return the page that says what a credential, whose scopes were these, may do from now on."""
    lost = [scope.label for scope in Scope if scope in before and scope not in credential.scopes]
    return ask(
        request,
        title=f"Change what “{credential}” may do",
        facts=[
            f"From now on it may {credential.scopes_in_words}.",
            *(f"It may no longer {each}." for each in lost),
            *uses_of(credential, now=timezone.now()),
        ],
        warning="Within 5 seconds, programs that use it or its access tokens for that are refused. Events that they "
        "then send are lost."
        if lost
        else "Whoever has its API key or its secret may do that; Segment too, if it is pasted there.",
        action="Change it",
        back=reverse("pages:settings-credentials", args=[site.sitecode]),
    )


def ask_renew(request: HttpRequest, site: Site, credential: Credential, *, hours: int) -> HttpResponseBase:
    """Return the page that says what a new secret ends."""
    now = timezone.now()
    then = f"in {count_of(hours, 'hour')}" if hours else "within 5 seconds"
    is_renewed = credential.old_secret_ends_at is not None and credential.old_secret_ends_at > now
    return ask(
        request,
        title=f"Renew the secret of “{credential}”",
        facts=[
            f"The secret of now ends {then}.",
            "The one before it, which is still taken, ends at once." if is_renewed else "",
            *uses_of(credential, now=now),
        ],
        warning="Whatever uses the old secret when it ends is refused, and the events that it sends are lost.",
        action="Renew the secret",
        back=reverse("pages:settings-credentials", args=[site.sitecode]),
    )


def ask_revoke(request: HttpRequest, site: Site, credential: Credential) -> HttpResponseBase:
    """Return the page that says who still uses a credential."""
    return ask(
        request,
        title=f"Revoke the credential “{credential}”",
        facts=uses_of(credential, now=timezone.now()),
        warning="Whatever uses it is refused within 5 seconds, and the events that it sends are lost.",
        action="Revoke the credential",
        back=reverse("pages:settings-credentials", args=[site.sitecode]),
    )


def uses_of(credential: Credential, *, now: datetime) -> list[str]:
    """Return what a credential opens and how it was used. Some queries a site."""
    sites = list(credential.sites.all())
    destinations = Source.objects.filter(site__in=sites[:MOST_TOLD], kind=Source.Kind.DESTINATION).order_by("pk")
    return [
        f"It opens {count_of(len(sites), 'site')}: {', '.join(site.name for site in sites[:MOST_TOLD])}.",
        describe_use(credential.last_used_at),
        *describe_events(destinations, now=now),
        describe_changes(sites, f"credential {credential.client_id}", now=now),
    ]


def find_owned(request: HttpRequest, keys: "QuerySet[Opener]", number: str) -> Opener:
    """A credential or token of these, all of whose sites are this person's. Raises Http404. Three queries."""
    key = keys.filter(pk=read_id(number) or 0).first()
    if key is None or not {site.pk for site in key.sites.all()} <= {site.pk for site in owned_sites(request)}:
        raise Http404
    return key


def owned_sites(request: HttpRequest) -> "QuerySet[Site]":
    """The sites of a person that they own."""
    least = {} if request.user.is_superuser else {"role": Role.OWNER}
    return sites_of(request.user).filter(**least)


def other_sites(request: HttpRequest, site: Site) -> list[Site]:
    """Return the sites, at most 100, that a new credential or token of this site may also open."""
    return [other for other in owned_sites(request)[:100] if other != site]


def chosen_sites(request: HttpRequest, site: Site) -> list[Site]:
    """Return this site and the others that the form of a new credential or token names."""
    codes = set(request.POST.getlist("site"))
    return [site, *(other for other in owned_sites(request) if other.sitecode in codes and other != site)]


def tell_secret(request: HttpRequest, new: NewCredential) -> HttpResponseBase:
    """A page that cannot be called up again."""
    return show(
        request,
        "pages/settings/secret.html",
        title="Copy it now: a secret is shown once",
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
