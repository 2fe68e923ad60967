"""The credentials that open a site. A secret is told on the page that answers its making, and nowhere else."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.access import api_key
from api.audit import note
from api.models import Credential, ManagementToken, Site
from api.pages.access import Role, show, site_page, sites_of
from api.sites import NewCredential, create_credential, renew_secret

if TYPE_CHECKING:
    from django.db.models import QuerySet

MOST_HOURS: Final = 720  # of overlap
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
        credential = find_owned(request, site.credentials.all(), request.POST.get("credential", ""))
        if do == "renew" and credential.revoked_at is None:
            hours = request.POST.get("hours", "")
            if not hours.isdecimal() or len(hours) > 4 or int(hours) > MOST_HOURS:  # noqa: PLR2004
                messages.error(request, f"The old secret may go on for 0 to {MOST_HOURS} hours.")
                return redirect("pages:settings-credentials", site.sitecode)
            new = renew_secret(credential, overlap=timedelta(hours=int(hours)), now=timezone.now())
            what = f"Renewed the secret of the credential {credential.client_id}"
            note_everywhere(request, credential, what, None, {"the old one ends in hours": int(hours)})
            return tell_secret(request, new)
        if do == "revoke" and credential.revoked_at is None:
            credential.revoked_at = timezone.now()
            credential.save(update_fields=["revoked_at"])
            what = f"Revoked the credential {credential.client_id}"
            note_everywhere(request, credential, what, {"revoked": None}, {"revoked": credential.revoked_at})
            messages.success(request, "Revoked: it is refused everywhere within 5 seconds.")
    return redirect("pages:settings-credentials", site.sitecode)


def find_owned(request: HttpRequest, keys: "QuerySet[Opener]", number: str) -> Opener:
    """A credential or token of these, all of whose sites are this person's. Raises Http404. Three queries."""
    key = keys.filter(pk=number).first() if number.isdecimal() and len(number) < 19 else None  # noqa: PLR2004
    if key is None or not {site.pk for site in key.sites.all()} <= {site.pk for site in owned_sites(request)}:
        raise Http404
    return key


def owned_sites(request: HttpRequest) -> "QuerySet[Site]":
    """The sites of a person that they own."""
    least = {} if request.user.is_superuser else {"role": Role.OWNER}
    return sites_of(request.user).filter(**least)


def note_everywhere(
    request: HttpRequest, credential: Credential, what: str, before: dict[str, Any] | None, after: dict[str, Any]
) -> None:
    """In the log of each site that a credential opens."""
    for site in credential.sites.all():
        note(request, site, what, before, after)


def tell_secret(request: HttpRequest, new: NewCredential) -> HttpResponseBase:
    """A page that cannot be called up again."""
    return show(
        request,
        "pages/settings/secret.html",
        title="Copy it now: a secret is shown once",
        tab="settings-credentials",
        back="pages:settings-credentials",
        credential=new.credential,
        secrets=[
            ("Client id", new.credential.client_id),
            ("Secret", new.secret),
            ("API key, for Segment", api_key(new.credential.client_id, new.secret)),
        ],
    )
