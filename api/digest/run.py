"""A run of the digest over all sites, in turns, so that one site's flood does not delay another's events."""

import time
from datetime import UTC, datetime
from typing import Final

from django.conf import settings
from django.db import connection, transaction

from api.digest.claims import Claims, recover_from_dead_workers
from api.digest.digest import Ways, digest_deferred, digest_pending, load_ways
from api.models import Site
from goals import quota, waiting

RELEASE_CHUNK: Final = 5_000


def digest_all(claims: Claims, *, seconds: float) -> bool:
    """Digest until nothing is free to take or the time is up; whether something may be left.

    Each round gives every site with pending messages one batch.
    """
    until = time.monotonic() + seconds
    taken = 1
    while taken:
        taken = 0
        for ways in _pending_sites():
            taken += digest_pending(ways, claims, limit=settings.DIGEST_BATCH, now=datetime.now(UTC))
            if time.monotonic() > until:
                return True
    return False


def tend_queues(claims: Claims) -> bool:
    """What happens every second: dead workers' messages, and goal names whose turn has come; whether messages became
    pending or were digested.
    """
    moved = recover_from_dead_workers(attempts=settings.DIGEST_ATTEMPTS) > 0
    for site in Site.objects.filter(id__in=waiting.waiting_sites()):
        moved = release(load_ways(site), claims, now=datetime.now(UTC)) or moved
    return moved


def release(ways: Ways, claims: Claims, *, now: datetime) -> bool:
    """Create the goals whose turn has come, with their first conversion, and let the other messages of names that
    have a goal go on; whether anything moved.
    """
    with transaction.atomic():
        places = quota.room(ways.site_id, ways.policy.windows, now=quota.lock_names(ways.site_id))
        names = waiting.next_names(ways.site_id, places=places) if places else []
    # The digest checks the quota again: whoever creates meanwhile takes from it.
    taken = digest_deferred(ways, claims, names, now=now) if names else 0
    return bool(_let_go(ways.site_id)) or bool(taken)


def _let_go(site_id: int) -> int:
    """Make a chunk of the deferred messages pending whose goal exists now; how many."""
    with transaction.atomic():
        quota.lock_names(site_id)  # nobody defers a message for a name that is being forgotten
        names = waiting.names_to_release(site_id)
        if not names:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE api_message SET status = 'pending', reason = '', waiting_for = '', digested_at = NULL
                 WHERE id IN (SELECT id FROM api_message
                               WHERE site_id = %s AND status = 'deferred' AND waiting_for = ANY(%s)
                               ORDER BY id LIMIT %s FOR UPDATE)
                """,
                [site_id, names, RELEASE_CHUNK],
            )
            released = int(cursor.rowcount)
        if released < RELEASE_CHUNK:
            waiting.forget(site_id, names)
    return released


def _pending_sites() -> list[Ways]:
    """The sites that have pending messages. One query: a probe of the partial index for each site."""
    sites = Site.objects.extra(
        where=["EXISTS (SELECT 1 FROM api_message m WHERE m.site_id = api_site.id AND m.status = 'pending')"]
    )
    return [load_ways(site) for site in sites.order_by("id")]
