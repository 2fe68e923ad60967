"""Remote data under keys of the operator's own: what may be written, and how it is written and expires."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import BooleanField, Func, IntegerField, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.functions import Left

from cohorts.models import OwnKey
from cohorts.remote_data import MOST_KEY
from site_rows import lock_first

MOST_FIELD: Final = 1_024  # characters
PURGED: Final = 1_000  # rows in a transaction
SHOWN: Final = 2_000  # characters of an object in a list
BYTES: Final = Func("document", function="octet_length", output_field=IntegerField())

# The objects of one site under these keys, each in place of the one before, and the keys without an object.
WRITE: Final = """
WITH emptied AS (
    DELETE FROM cohorts_ownkey WHERE site_id = %(site)s AND key = ANY(%(emptied)s::text[])
), written AS (
    INSERT INTO cohorts_ownkey AS k (site_id, key, document, expires_at, updated_at)
    SELECT %(site)s, given.key, given.document, %(expires_at)s, %(now)s
      FROM unnest(%(keys)s::text[], %(documents)s::text[]) AS given (key, document)
        ON CONFLICT (site_id, key) DO UPDATE
           SET document = excluded.document, expires_at = excluded.expires_at, updated_at = excluded.updated_at
)
SELECT 1
"""


def write_parameters(
    site_id: int, documents: Mapping[str, str | None], *, now: datetime, expires_at: datetime
) -> dict[str, Any]:
    """Return the parameters of WRITE. A key without a document is deleted."""
    # Two requests lock the rows of their keys in the same order.
    kept = sorted((key, document) for key, document in documents.items() if document is not None)
    return {
        "site": site_id,
        "keys": [key for key, _ in kept],
        "documents": [document for _, document in kept],
        "emptied": sorted(key for key, document in documents.items() if document is None),
        "expires_at": expires_at,
        "now": now,
    }


def find_fault(key: str, document: Mapping[str, Any]) -> str:
    """Return why this object cannot be stored under this key, or an empty text. Pure."""
    if not key:
        return "A key is empty."
    if len(key) > MOST_KEY:
        return f"The key {key[:MOST_KEY]!r}… is longer than {MOST_KEY} characters."
    if "\0" in key:
        return f"The key {key!r} holds the character NUL."
    longest = max(map(len, document), default=0)
    return f"A field under the key {key!r} is longer than {MOST_FIELD:,} characters." if longest > MOST_FIELD else ""


def list_keys(site_id: int, *, start: str = "", limit: int, now: datetime) -> list[OwnKey]:
    """Return live keys of a site by key from `start` on. One query.

    Each has the `bytes` of its object, and the `beginning` of it in place of the whole.
    """
    live = OwnKey.objects.filter(site_id=site_id, key__gte=start, expires_at__gt=now).defer("document")
    return list(live.annotate(bytes=BYTES, beginning=Left("document", SHOWN)).order_by("key")[:limit])


def find_key(site_id: int, key: str, *, now: datetime) -> OwnKey | None:
    """Return a live key of a site with its object and its `bytes`. One query."""
    return OwnKey.objects.filter(site_id=site_id, key=key, expires_at__gt=now).annotate(bytes=BYTES).first()


def named_after(site_id: int, ids: Collection[str]) -> QuerySet[OwnKey]:
    """Return the keys of a site that are one of these ids, or end in one after a `_` as `IDENTIFY_<id>` does."""
    is_named = RawSQL(
        """
        EXISTS (SELECT 1 FROM unnest(%s::text[]) AS asked (id)
                 WHERE cohorts_ownkey.key = asked.id
                    OR right(cohorts_ownkey.key, length(asked.id) + 1) = '_' || asked.id)
        """,
        [list(ids)],
        output_field=BooleanField(),
    )
    return OwnKey.objects.filter(is_named, site_id=site_id)


def purge_expired(*, now: datetime) -> bool:
    """Delete some expired keys of one site. Return False if none is left."""
    with transaction.atomic():
        first = lock_first(OwnKey.objects.filter(expires_at__lte=now).order_by("expires_at"))
        if first is None:
            return False
        expired = OwnKey.objects.filter(site_id=first.site_id, expires_at__lte=now).order_by("expires_at")
        ids = list(expired.select_for_update(skip_locked=True).values_list("pk", flat=True)[:PURGED])
        OwnKey.objects.filter(site_id=first.site_id, pk__in=ids).delete()
    return True
