"""The credentials that open a site. A secret is told on the page that answers its making, and nowhere else."""

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.access import api_key
from api.audit import note
from api.models import Credential, Site
from api.pages.access import Role, show, site_page, sites_of
from api.sites import NewCredential, create_credential, renew_secret


@site_page(Role.OWNER)
def list_credentials(request: HttpRequest, site: Site) -> HttpResponseBase:
    return show(
        request,
        "pages/settings/credentials.html",
        title="Credentials",
        tab="settings-credentials",
        credentials=site.credentials.order_by("pk").prefetch_related("sites"),
    )


@site_page(Role.OWNER)
@require_POST
def change_credentials(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Make a credential, or renew or revoke one, as the button `do` says."""
    do = request.POST.get("do", "")
    with transaction.atomic():
        if do == "create":
            try:
                new = create_credential([site], name=request.POST.get("name", "").strip())
            except ValidationError as error:
                messages.error(request, " ".join(error.messages))
                return redirect("pages:settings-credentials", site.sitecode)
            note(request, site, f"Made the credential {new.credential.client_id}", None, {"name": new.credential.name})
            return tell_secret(request, new)
        credential = find_credential(request, site)
        if do == "renew" and credential.revoked_at is None:
            new = renew_secret(credential)
            note_everywhere(request, credential, f"Renewed the secret of the credential {credential.client_id}")
            return tell_secret(request, new)
        if do == "revoke" and credential.revoked_at is None:
            credential.revoked_at = timezone.now()
            credential.save(update_fields=["revoked_at"])
            note_everywhere(request, credential, f"Revoked the credential {credential.client_id}")
            messages.success(request, "Revoked: it is refused everywhere within 5 seconds.")
    return redirect("pages:settings-credentials", site.sitecode)


def find_credential(request: HttpRequest, site: Site) -> Credential:
    """A credential of this site, all of whose sites are this person's too. Raises Http404."""
    number = request.POST.get("credential", "")
    mine = set(sites_of(request.user).values_list("pk", flat=True).filter(**owned_by(request)))
    credential = site.credentials.filter(pk=number).first() if number.isdecimal() and len(number) < 19 else None  # noqa: PLR2004
    if credential is None or not set(credential.sites.values_list("pk", flat=True)) <= mine:
        raise Http404
    return credential


def owned_by(request: HttpRequest) -> dict[str, str]:
    """What narrows the sites of a person to those they own."""
    return {} if request.user.is_superuser else {"role": Role.OWNER}


def note_everywhere(request: HttpRequest, credential: Credential, what: str) -> None:
    """In the log of each site that a credential opens."""
    for site in credential.sites.all():
        note(request, site, what)


def tell_secret(request: HttpRequest, new: NewCredential) -> HttpResponseBase:
    """A page that cannot be called up again."""
    return show(
        request,
        "pages/settings/secret.html",
        title="Copy it now: a secret is shown once",
        tab="settings-credentials",
        credential=new.credential,
        secrets=[
            ("Client id", new.credential.client_id),
            ("Secret", new.secret),
            ("API key, for Segment", api_key(new.credential.client_id, new.secret)),
        ],
    )
