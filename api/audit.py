"""What people changed: who, when, before and after."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django.http import HttpRequest
from django.utils import timezone

from api.models import AuditEntry, Site

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def record(
    site: Site | None,
    what: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    *,
    who: str,
    user: "User | None" = None,
) -> AuditEntry:
    """Write down that somebody changed something of a site, or with None of the installation.

    One query, in the caller's transaction. `what` is a sentence about the thing: `Renamed the goal 12`. `before` and
    `after` hold the fields that changed, as JSON can say them (times and decimals too); None where there was, or is,
    nothing. Never put a secret in.
    """
    return AuditEntry.objects.create(
        site=site, user=user, who=who[:150], at=timezone.now(), what=what, before=before, after=after
    )


def note(
    request: HttpRequest,
    site: Site | None,
    what: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """The same of who sends this request: a person who is signed in."""
    user = cast("User", request.user)  # its pages are for members
    return record(site, what, before, after, who=user.get_username(), user=user)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two states of one thing, the fields that differ: as they were, and as they are."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}
