"""What people changed: who, when, before and after."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django.http import HttpRequest
from django.utils import timezone

from api.models import AuditEntry, Site

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def note(
    request: HttpRequest,
    site: Site,
    what: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Write down that who sends this request changed something of a site. One query, in the caller's transaction.

    `what` is a sentence about the thing: `Renamed the goal 12`. `before` and `after` hold the fields that changed, as
    JSON can say them (times and decimals too); None where there was, or is, nothing. Never put a secret in.
    """
    user = cast("User", request.user)  # its pages are for members
    return AuditEntry.objects.create(
        site=site, user=user, who=user.get_username(), at=timezone.now(), what=what, before=before, after=after
    )


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of two states of one thing, the fields that differ: as they were, and as they are."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}
