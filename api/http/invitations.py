"""Invitations to a site: a signed link for one username, which an owner passes on or an e-mail brings.

The person signs in and accepts, or chooses a password if the username is free; then the link has done its work.
An owner cannot add people who have not accepted. The link looks the same whether the username exists, and accepting
it creates the user, under the invited name in the log. Administrators add users without an invitation.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.db.models.functions import Lower
from django.http import HttpRequest
from django.urls import reverse

from api.http.memberships import LONGEST_USERNAME, removed
from api.http.public_address import root_for
from api.models import AuditEntry, Membership, Role, Site
from api.models.audit import write_audit

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

DAYS: Final = 7
ACCEPTED: Final = "Accepted an invitation"
# Beginnings of entries of the audit log, before a username.
INVITED: Final = "Invited "
WITHDREW: Final = "Took back the invitation of "
DELETED: Final = "Deleted the user "
MOST_AN_HOUR: Final = 50  # of a site, that are sent by e-mail
SALT: Final = "api.pages.joining"  # invitations that were sent depend on it


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation that is valid now."""

    site: Site
    username: str
    role: Role


@dataclass(frozen=True, slots=True)
class OpenInvitation:
    """An invitation that was neither accepted nor taken back, as the owners of its site see it."""

    username: str
    role: Role
    by: str
    at: datetime

    @property
    def ends_at(self) -> datetime:
        return self.at + timedelta(days=DAYS)


def clean_username(text: str) -> str:
    """Return a username as accounts have it. Raises ValidationError if none can have this one."""
    username = User.normalize_username(text.strip())
    if not 0 < len(username) <= LONGEST_USERNAME:
        raise ValidationError(f"Enter an e-mail address or a username of at most {LONGEST_USERNAME} characters.")
    User.username_validator(username)
    return username


def invite(
    site: Site,
    username: str,
    role: Role,
    *,
    inviter: "User | AnonymousUser",
    by: "User | AnonymousUser | str",
) -> str:
    """Audit an invitation and return its token without the signature, which alone opens nothing."""
    logs = [AuditEntry.objects.filter(site=each) for each in (site, None)]
    newest = [log.order_by("-pk").values_list("pk", flat=True).first() or 0 for log in logs]
    token = signing.dumps([site.pk, username, role, inviter.pk, max(newest)], salt=SALT)
    write_audit(by, site, f"{INVITED}{username}", None, {"role": role})
    return token.rpartition(":")[0]


def list_open(site: Site, *, now: datetime) -> list[OpenInvitation]:
    """Return the open invitations of a site by username, the newest of each. Five queries.

    The audit log holds them, because links are signed and stored nowhere. The log does not know the user of a program.
    Its invitations therefore stay here, even if that user is no owner any more.
    """
    owners = set(site.memberships.filter(role=Role.OWNER, user__is_active=True).values_list("user_id", flat=True))
    owners |= set(User.objects.filter(is_superuser=True, is_active=True).values_list("pk", flat=True))
    found: dict[str, OpenInvitation] = {}
    recent = AuditEntry.objects.filter(at__gt=now - timedelta(days=DAYS))
    of_invitations = Q(what=ACCEPTED)
    for beginning in (INVITED, WITHDREW, removed("")):
        of_invitations |= Q(what__startswith=beginning)
    entries = [*recent.filter(of_invitations, site=site), *recent.filter(site=None, what__startswith=DELETED)]
    for entry in sorted(entries, key=lambda each: each.pk):
        if not entry.what.startswith(INVITED):
            found.pop(_ended_username(entry).casefold(), None)
        elif entry.user_id is None or entry.user_id in owners:
            username = entry.what.removeprefix(INVITED)
            role = Role((entry.after or {})["role"])
            found[username.casefold()] = OpenInvitation(username, role, entry.who, entry.at)
    members = site.memberships.annotate(name=Lower("user__username")).filter(name__in=list(found))
    for name in members.values_list("name", flat=True):
        found.pop(name, None)  # two members may differ in case only
    return sorted(found.values(), key=lambda each: each.username.casefold())


def _ended_username(entry: AuditEntry) -> str:
    """Return the user whose invitation ends with an entry of the audit log: by acceptance, withdrawal or removal."""
    if entry.what == ACCEPTED:
        return entry.who
    if entry.what.startswith(DELETED):
        return entry.what.partition("“")[2].removesuffix("”")
    return entry.what.removeprefix(WITHDREW).removeprefix(removed(""))


def withdraw(site: Site, username: str, *, by: "User | AnonymousUser | str") -> None:
    """End every invitation of a username to a site, by an entry of the audit log."""
    write_audit(by, site, f"{WITHDREW}{username}", {"invitation": "open"}, {"invitation": "withdrawn"})


def address_of(request: HttpRequest, unsigned: str) -> str:
    """Return the address at which the invited user may join a site, for DAYS. It is the same at each call."""
    return f"{root_for(request)}{reverse('join', args=[signing.Signer(salt=SALT).sign(unsigned)])}"


def may_send(site: Site, *, now: datetime) -> bool:
    """Return True if the site may send another invitation by e-mail. One query."""
    recent = AuditEntry.objects.filter(site=site, at__gt=now - timedelta(hours=1), what__startswith=INVITED)
    return recent.count() < MOST_AN_HOUR


def write_letter(site: Site, link: str, role: Role, *, inviter: str) -> tuple[str, str]:
    """Return subject and body of the e-mail with an invitation."""
    lines = [
        f"{inviter} has invited you to the site “{site.name}” ({site.sitecode}) of Goalpost, as {role.label.lower()}.",
        "",
        "Open this link to accept. If you are new here, you choose a password there.",
        link,
        "",
        f"It works for {DAYS} days and for you only. Do not pass it on.",
    ]
    return " ".join(f"[Goalpost] Invitation to {site.name}".split()), "\n".join(lines)


def open_invitation(token: str) -> Invitation | None:
    """Return the invitation of a link, None if it has ended. Eight queries at most.

    It ends after DAYS, when an owner takes it back, and when its sender is not an owner any more. It also ends when
    the person is removed from the site, or an administrator deletes the account. An account that differs in case only
    is the invited one.
    """
    try:
        site_id, username, role, inviter_id, newest = signing.loads(token, salt=SALT, max_age=DAYS * 24 * 3600)
    except (signing.BadSignature, ValueError, TypeError):
        return None
    site = Site.objects.filter(pk=site_id).first()
    inviter = User.objects.filter(pk=inviter_id, is_active=True).first()
    if site is None or inviter is None or role not in Role.values:
        return None
    alike = list(User.objects.filter(username__iexact=username).values_list("username", flat=True))
    if len(alike) == 1:
        (username,) = alike
    owns = Membership.objects.filter(user=inviter, site=site, role=Role.OWNER).exists()
    # A user who accepted it and is not a member any more was removed, for example in the tables.
    since = AuditEntry.objects.filter(site=site, pk__gt=newest)
    deletions = AuditEntry.objects.filter(site=None, pk__gt=newest, what__startswith=DELETED)
    is_over = (
        since.filter(what=removed(username)).exists()
        or since.filter(what__iexact=f"{WITHDREW}{username}").exists()
        or deletions.filter(what__iendswith=f" “{username}”").exists()
        or (
            since.filter(what=ACCEPTED, who=username[:150]).exists()
            and not Membership.objects.filter(user__username=username, site=site).exists()
        )
    )
    return Invitation(site, username, Role(role)) if (owns or inviter.is_superuser) and not is_over else None


def accept(invitation: Invitation, user: User) -> None:
    """Make the invited user a member, and audit it. Call it in a transaction."""
    _, is_new = Membership.objects.get_or_create(user=user, site=invitation.site, defaults={"role": invitation.role})
    if is_new:
        write_audit(user, invitation.site, ACCEPTED, None, {"role": invitation.role})
