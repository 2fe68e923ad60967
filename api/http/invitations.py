"""Invitations to a site: a signed link for one username, which an owner passes on and the person accepts.

An owner cannot add people who have not accepted. Nor can an owner find out which usernames exist, because the link
looks the same for a username without a user. Administrators, who see all users, add members without an invitation.
"""

from typing import TYPE_CHECKING, Final

from django.contrib.auth.models import User
from django.core import signing
from django.http import HttpRequest
from django.urls import reverse

from api.http.memberships import removed
from api.http.public_address import root_for
from api.models import AuditEntry, Membership, Role, Site
from api.models.audit import write_audit

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

DAYS: Final = 7
ACCEPTED: Final = "Accepted an invitation"
SALT: Final = "api.pages.joining"  # invitations that were sent depend on it


def invite(
    site: Site,
    username: str,
    role: Role,
    *,
    inviter: "User | AnonymousUser",
    by: "User | AnonymousUser | str",
) -> str:
    """Audit an invitation and return its token without the signature, which alone opens nothing."""
    newest = AuditEntry.objects.filter(site=site).order_by("-pk").values_list("pk", flat=True).first() or 0
    token = signing.dumps([site.pk, username, role, inviter.pk, newest], salt=SALT)
    write_audit(by, site, f"Invited {username}", None, {"role": role})
    return token.rpartition(":")[0]


def address_of(request: HttpRequest, unsigned: str) -> str:
    """Return the address at which the invited user may join a site, for DAYS. It is the same at each call."""
    return f"{root_for(request)}{reverse('join', args=[signing.Signer(salt=SALT).sign(unsigned)])}"


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
