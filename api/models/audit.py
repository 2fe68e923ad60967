"""Audit log: who changed what, when, before and after."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from api.models import AuditEntry, Site

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


def write_audit(
    actor: "User | AnonymousUser | str",
    site: Site | None,
    what: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Insert an entry into the log of a site, or with None of the installation. One query in the caller's transaction.

    `actor` is a user, a program with a key, or a command: `manage.py load`. A task names the author of the request that
    it carries out. `what` is a sentence: `Renamed the goal 12`. `before` and `after` hold the fields that changed, as
    JSON, None if the thing did not exist. Never pass a secret.
    """
    user = None if isinstance(actor, str) or not actor.pk else actor
    return AuditEntry.objects.create(
        site=site, user=user, who=who_of(actor), at=timezone.now(), what=what, before=before, after=after
    )


def who_of(actor: "User | AnonymousUser | str") -> str:
    """Return the name under which the audit log has an actor."""
    return (actor if isinstance(actor, str) else actor.get_username())[:150]


def audit_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields that differ between two states of a thing, as they were and as they are."""
    names = [name for name in after if before.get(name) != after[name]]
    return {name: before.get(name) for name in names}, {name: after[name] for name in names}


def write_audits(
    actor: "User | AnonymousUser | str",
    sites: Iterable[Site],
    what: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Insert the same entry into the log of each of these sites. One query a site."""
    for site in sites:
        write_audit(actor, site, what, before, after)
