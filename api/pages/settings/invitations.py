"""Invitations to a site: a signed link for one username, which an owner passes on and the person accepts.

An owner cannot add people who have not accepted. Nor can an owner find out which usernames exist, because the link
looks the same for a username without a user. Administrators, who see all users, add members without an invitation.
"""

from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core import signing
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache

from api.http.memberships import removed
from api.models import AuditEntry, Membership, Role, Site
from api.models.audit import write_audit
from api.pages.access import show

DAYS: Final = 7
ACCEPTED: Final = "Accepted an invitation"
SALT: Final = "api.pages.joining"  # invitations that were sent depend on it


def invitation(request: HttpRequest, site: Site, username: str, role: str) -> str:
    """Return the address at which the user of this name may join a site, for DAYS."""
    newest = AuditEntry.objects.filter(site=site).order_by("-pk").values_list("pk", flat=True).first() or 0
    token = signing.dumps([site.pk, username, role, request.user.pk, newest], salt=SALT)
    host = settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"
    return f"{host}{reverse('join', args=[token])}"


@never_cache
def join(request: HttpRequest, token: str) -> HttpResponseBase:
    """Ask the person who is signed in to confirm, then add the member. 404 for an invalid or foreign invitation."""
    if not request.user.is_authenticated or not request.user.is_active:
        return redirect_to_login(request.get_full_path(), "/admin/login/")
    with transaction.atomic():
        site, role = open_invitation(token, request.user.get_username())
        if site is None:
            return show(request, "pages/join.html", title="No invitation", days=DAYS, status=404)
        if request.method != "POST":
            return show(request, "pages/join.html", title=f"Join {site.name}", to=site, role=Role(role).label)
        _, is_new = Membership.objects.get_or_create(user=request.user, site=site, defaults={"role": role})
        if is_new:
            write_audit(request.user, site, ACCEPTED, None, {"role": role})
    return redirect("pages:home", site.sitecode)


def open_invitation(token: str, username: str) -> tuple[Site | None, str]:
    """Return the site and role of a person's invitation, no site if it has ended or names another user.

    It ends after DAYS, when its sender is not an owner any more, and when the person is removed from the site.
    """
    try:
        site_id, invited, role, inviter_id, newest = signing.loads(token, salt=SALT, max_age=DAYS * 24 * 3600)
    except (signing.BadSignature, ValueError, TypeError):
        return None, ""
    site = Site.objects.filter(pk=site_id).first()
    inviter = User.objects.filter(pk=inviter_id, is_active=True).first()
    if site is None or inviter is None or invited != username or role not in Role.values:
        return None, ""
    owns = Membership.objects.filter(user=inviter, site=site, role=Role.OWNER).exists()
    # A user who accepted it and is not a member any more was removed, for example in the tables.
    since = AuditEntry.objects.filter(site=site, pk__gt=newest)
    is_over = since.filter(what=removed(username)).exists() or (
        since.filter(what=ACCEPTED, who=username[:150]).exists()
        and not Membership.objects.filter(user__username=username, site=site).exists()
    )
    return (site, role) if (owns or inviter.is_superuser) and not is_over else (None, "")
