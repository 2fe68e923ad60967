"""The members of a site: invited, changed and removed."""

from typing import Any, Final

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

import names
from api.http import invitations, memberships
from api.http.mail import MailError, has_mail, send_email
from api.http.tokens import ended, tokens_that_end
from api.http.wording import count_of, day_in_words
from api.insight.key_usage import describe_changes, describe_use
from api.models import AuditEntry, ManagementToken, Membership, Role, Site
from api.models.audit import write_audit
from api.pages.access import show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.query_form import read_id
from api.pages.settings.invitations import created_by_invitation, email_of
from api.pages.undo import CannotUndoError, say_with_kept

MOST_TOKENS: Final = 20  # of a member, on the page that asks before the removal
TOO_MANY: Final = f"A site sends {invitations.MOST_AN_HOUR} e-mails with invitations an hour."
KIND: Final = "role"  # of what Undo gives back
NOT_A_MEMBER: Final = "This user is not a member any more."


@site_page(Role.OWNER)
def list_members(request: HttpRequest, site: Site) -> HttpResponseBase:
    members = list(site.memberships.select_related("user").order_by(names.sort_key("user__username")))
    ending = tokens_that_end([member.user_id for member in members], site=site)
    for member in members:
        vars(member)["tokens"] = [token for token in ending if token.user_id == member.user_id]
    return show(
        request,
        "pages/settings/members.html",
        title="Members",
        tab="settings-members",
        members=members,
        invitations=invitations.list_open(site, now=timezone.now()),
        roles=Role,
        has_mail=has_mail(),
    )


@site_page(Role.OWNER)
@require_POST
def change_members(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Invite a person, change a role, or remove a member. One owner always stays."""
    asked = {name: request.POST.get(name, "") for name in ("do", "role", "username", "member")}
    role = asked["role"]
    if asked["do"] == "invite" and role in Role.values:
        return invite(request, site, asked["username"], Role(role))
    with transaction.atomic():
        Site.objects.select_for_update().get(pk=site.pk)  # two owners must not remove each other
        if asked["do"] == "remove":
            return remove(request, site, asked["member"])
        if asked["do"] == "withdraw":
            problem = withdraw(request, site, asked["username"])
        elif role not in Role.values:
            problem = "Choose a role."
        else:
            problem = change_role(request, site, asked["member"], role)
    if problem:
        messages.error(request, problem)
    return redirect("pages:settings-members", site.sitecode)


def invite(request: HttpRequest, site: Site, text: str, role: Role) -> HttpResponseBase:
    """Return the page with a link for this username, sent by e-mail if it is an address and a mail server is set.

    To an owner it looks the same if the user does not exist. An administrator, who sees all users, adds one at once.
    If an invitation created the account, an administrator sends a link too: its e-mail address may not be its owner's.
    """
    try:
        username = invitations.clean_username(text)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("pages:settings-members", site.sitecode)
    with transaction.atomic():
        Site.objects.select_for_update().get(pk=site.pk)
        if site.memberships.filter(user__username=username).exists():
            messages.error(request, f"{username} is already a member.")
            return redirect("pages:settings-members", site.sitecode)
        user = User.objects.filter(username=username, is_active=True).first() if request.user.is_superuser else None
        if user is not None and not AuditEntry.objects.filter(site=None, what=created_by_invitation(user)).exists():
            Membership.objects.create(user=user, site=site, role=role)
            write_audit(request.user, site, f"{invitations.INVITED}{username}", None, {"role": role})
            messages.success(request, f"{username} is a member now.")
            return redirect("pages:settings-members", site.sitecode)
        may_send = invitations.may_send(site, now=timezone.now())
        invitation = invitations.invite(site, username, role, inviter=request.user, by=request.user)
    return show_invitation(request, site, username, role, invitation, may_send=may_send)


def show_invitation(
    request: HttpRequest, site: Site, username: str, role: Role, invitation: str, *, may_send: bool
) -> HttpResponseBase:
    """Send an invitation and show its link. Not in a transaction: events would wait for the mail server."""
    link = invitations.address_of(request, invitation)
    sent, failure = False, ""
    if has_mail() and email_of(username):
        letter = invitations.write_letter(site, link, role, inviter=request.user.get_username())
        sent, failure = send(letter, username) if may_send else (False, TOO_MANY)
    return show(
        request,
        "pages/settings/invitation.html",
        title="Invitation",
        tab="settings-members",
        username=username,
        role=role.label.lower(),
        link=link,
        days=invitations.DAYS,
        sent=sent,
        failure=failure,
    )


def send(letter: tuple[str, str], address: str) -> tuple[bool, str]:
    """Send an invitation. Return whether the mail server took it, otherwise its reason."""
    try:
        send_email(*letter, address)
    except MailError as error:
        return False, str(error)
    return True, ""


def withdraw(request: HttpRequest, site: Site, username: str) -> str:
    """Take an open invitation back, and return the problem if there is one."""
    if username not in {invitation.username for invitation in invitations.list_open(site, now=timezone.now())}:
        return "This invitation was accepted, or it has ended."
    invitations.withdraw(site, username, by=request.user)
    messages.success(request, f"Invitation of {username} taken back. Its link does not work any more.")
    return ""


def find_member(site: Site, number: str) -> Membership | None:
    return site.memberships.filter(pk=read_id(number) or 0).select_related("user").first()


def change_role(request: HttpRequest, site: Site, member: str, role: str) -> str:
    """Change a role and return why that failed, empty if it did not."""
    membership = find_member(site, member)
    if membership is None:
        return NOT_A_MEMBER
    before, name = membership.role, membership.user.get_username()
    try:
        ending = memberships.change_role(membership, Role(role), by=request.user)
    except memberships.LastOwnerError as error:
        return str(error)
    if role == before:
        messages.info(request, f"{name} is {Role(role).label.lower()} already.")
    else:
        roles = {"member": membership.pk, "before": before, "after": role}
        say_with_kept(request, site, f"{name} is {Role(role).label.lower()} now.", KIND, roles)
    announce_end(request, name, ending)
    return ""


def undo_role(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Give a member the role before a change. Raises CannotUndoError if the member has left or has another role now."""
    with transaction.atomic():
        Site.objects.select_for_update().get(pk=site.pk)
        membership = find_member(site, str(values["member"]))
        if membership is None:
            raise CannotUndoError(NOT_A_MEMBER)
        if membership.role != values["after"]:
            raise CannotUndoError("The role was changed again meanwhile.")
        try:
            ending = memberships.change_role(membership, Role(values["before"]), by=request.user)
        except memberships.LastOwnerError as error:
            raise CannotUndoError(str(error)) from error
    name = membership.user.get_username()
    messages.success(request, f"{name} is {membership.get_role_display().lower()} again.")
    announce_end(request, name, ending)
    return redirect("pages:settings-members", site.sitecode)


def announce_end(request: HttpRequest, name: str, ending: list[ManagementToken]) -> None:
    """Name the tokens that ended here with a role or a membership to the owner."""
    if ending:
        messages.warning(request, f"{ended(ending, name)} here. To keep one, take it over under Tokens.")


def remove(request: HttpRequest, site: Site, member: str) -> HttpResponseBase:
    """Remove a member after a confirmation."""
    membership = find_member(site, member)
    if membership is None or memberships.is_last_owner(membership):
        messages.error(request, memberships.LAST_OWNER if membership else NOT_A_MEMBER)
    elif not is_confirmed(request):
        return ask_remove(request, site, membership)
    else:
        name = membership.user.get_username()
        announce_end(request, name, memberships.remove_member(membership, by=request.user))
        messages.success(request, f"{name} removed. They can't see this site any more.")
    return redirect("pages:settings-members", site.sitecode)


def ask_remove(request: HttpRequest, site: Site, membership: Membership) -> HttpResponseBase:
    """Return the page that shows what a member did and leaves behind."""
    now, user = timezone.now(), membership.user
    name, role = user.get_username(), membership.get_role_display().lower()
    tokens = tokens_that_end([user.pk], site=site)
    localtime = timezone.localtime
    since = day_in_words(localtime(membership.created_at))
    signed_in = (
        f"last signed in on {day_in_words(localtime(user.last_login))}" if user.last_login else "never signed in"
    )
    return ask(
        request,
        title=f"Remove {name}",
        facts=[
            f"{name} has been {role} since {since} and {signed_in}.",
            describe_changes([site], name, now=now),
            f"{count_of(len(tokens), 'management token')} of this user {'ends' if len(tokens) == 1 else 'end'} here.",
            "Credentials and write keys belong to the site and keep working. Rotate those that this user knows.",
            *(f"Token “{token}”: {describe_use(token.last_used_at)}" for token in tokens[:MOST_TOKENS]),
        ],
        warning="They lose access at once. Their changes stay, and an owner can invite them again. Take over tokens "
        "that you want to keep, under Tokens.",
        action=f"Remove {name}",
        back=reverse("pages:settings-members", args=[site.sitecode]),
    )
