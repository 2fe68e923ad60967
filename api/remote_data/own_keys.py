"""Deletion of an operator's own key of remote data, by a page or the management API."""

from typing import TYPE_CHECKING

from django.db import transaction

from api.models import Site
from api.models.audit import write_audit
from cohorts.models import OwnKey

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


def delete_own_key(site: Site, own_key: OwnKey, *, by: "User | AnonymousUser | str") -> None:
    """Delete a key and audit it. The entry has the id of the row only, because a key may name a person."""
    what = f"Deleted the own key {own_key.pk} of remote data"
    before = {"bytes": len(own_key.document.encode()), "expires": own_key.expires_at.isoformat()}
    with transaction.atomic():
        own_key.delete()
        write_audit(by, site, what, before, None)
