"""Changes of the members of a site. One owner always stays. Call them with the site's row locked."""

from typing import TYPE_CHECKING, Final

from api.http.tokens import describe, tokens_that_end
from api.models import ManagementToken, Membership, Role
from api.models.audit import write_audit

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

LONGEST_USERNAME: Final = 150  # Django's
LAST_OWNER: Final = "This is the last owner. Make another member an owner first."


class LastOwnerError(Exception):
    """Raised if a site would have no owner any more."""

    def __init__(self) -> None:
        super().__init__(LAST_OWNER)


def is_last_owner(membership: Membership) -> bool:
    """Return True if no other active user owns the site. One query."""
    owners = membership.site.memberships.filter(role=Role.OWNER, user__is_active=True)
    return list(owners) == [membership]


def change_role(membership: Membership, role: Role, *, by: "User | AnonymousUser | str") -> list[ManagementToken]:
    """Change a role, audit it, and return the tokens of the user that end here. Raises LastOwnerError."""
    if role != Role.OWNER and is_last_owner(membership):
        raise LastOwnerError
    if membership.role == role:
        return []
    site, name, before = membership.site, membership.user.get_username(), {"role": membership.role}
    ending = [
        token for token in tokens_that_end([membership.user_id], site=site) if not role.includes(Role(token.role))
    ]
    membership.role = role
    membership.save(update_fields=["role"])
    write_audit(by, site, f"Changed the role of {name}", before, {"role": role})
    _audit_end(membership, ending, by=by)
    return ending


def remove_member(membership: Membership, *, by: "User | AnonymousUser | str") -> list[ManagementToken]:
    """Remove a member, audit it, and return the tokens of the user that end here. Raises LastOwnerError."""
    if is_last_owner(membership):
        raise LastOwnerError
    ending = tokens_that_end([membership.user_id], site=membership.site)
    membership.delete()
    write_audit(by, membership.site, removed(membership.user.get_username()), {"role": membership.role}, None)
    _audit_end(membership, ending, by=by)
    return ending


def removed(username: str) -> str:
    """Return the audit entry of a removed member, which ends earlier invitations."""
    return f"Removed the member {username}"


def _audit_end(membership: Membership, ending: list[ManagementToken], *, by: "User | AnonymousUser | str") -> None:
    name = membership.user.get_username()
    for token in ending:
        write_audit(by, membership.site, f"Ended the management token {token.pk} of {name} here", describe(token), None)
