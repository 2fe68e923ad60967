"""Run of the digest over all sites in turns, so that a flood of one site does not delay the events of another."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog
from django.conf import settings
from django.db import connection, transaction

from api.digest.claims import Claims, recover_from_dead_workers
from api.digest.digest import digest_deferred, digest_pending, digest_waiting
from api.digest.held_locks import PROBE, WAIT
from api.digest.readings import FIRST
from api.digest.site_config import SiteConfig, load_site_config
from api.digest.statistics import collect_missing_statistics
from api.digest.transaction_settings import limit_lock_waits
from api.digest.trouble import trouble_of
from api.models import Site
from api.models.message_rows import find_first_pending
from goals import quota, waiting
from locks import Lock, waits_for

RELEASE_CHUNK: Final = 5_000
TEND_EVERY: Final = 1.0  # seconds

log = structlog.get_logger(__name__)


def digest_all(claims: Claims, *, seconds: float) -> bool:
    """Digest until no message is free or the time is over. Return True if messages may be left.

    Each round gives every site with pending messages one batch. Once a second `tend_queues` runs between two rounds.
    """
    until, tend_at = time.monotonic() + seconds, time.monotonic() + TEND_EVERY
    first = find_first_pending()
    taken = 1
    while taken:
        taken = 0
        for site_id, pending in _pending_sites(first):
            with trouble_of(site_id):
                taken += digest_pending(
                    load_site_config(load_site(site_id)),
                    claims,
                    first=pending.first,
                    has_suspects=pending.has_suspects,
                    limit=settings.DIGEST_BATCH,
                    now=datetime.now(UTC),
                )
        if time.monotonic() > until:  # only between rounds, because a round cut short would always skip the same sites
            return taken > 0
        if time.monotonic() > tend_at:
            taken += tend_queues(claims)
            tend_at = time.monotonic() + TEND_EVERY
            first = find_first_pending()  # it may have released older messages
    return False


def tend_queues(claims: Claims) -> bool:
    """Run every second: analyze new tables, recover messages of dead workers, then create goals for queued names.

    True when messages became pending or were digested.
    """
    moved = False
    with trouble_of("statistics"):
        collect_missing_statistics()
    with trouble_of("claims"):
        moved = recover_from_dead_workers(attempts=settings.DIGEST_ATTEMPTS) > 0
    for site_id in waiting.list_waiting_sites():
        with trouble_of(site_id):
            moved = release(load_site_config(load_site(site_id)), claims, now=datetime.now(UTC)) or moved
    return moved


def release(config: SiteConfig, claims: Claims, *, now: datetime) -> bool:
    """Create the goals for which the limit has room, each with its first conversion, and release their other messages.

    Return True if anything moved.
    """
    looked_at = _look_again(config.site_id, claims, now=now)
    with _names_locked(config.site_id, claims) as locked_at:
        quota.move_back_future_creations(config.site_id, now=locked_at)
        places = quota.count_free(config.site_id, config.policy.windows, now=locked_at)
        names = waiting.load_next_names(config.site_id, places=places) if places else []
    # The digest checks the limit again, because another worker may create goals meanwhile.
    taken = digest_deferred(config, claims, names, now=now) if names else 0
    ready = waiting.load_names_to_release(config.site_id)
    released = _let_go(config.site_id, ready) if ready else 0
    _leave_queue(config.site_id, [*names, *ready], claims)
    return bool(looked_at or taken or released)


def _look_again(site_id: int, claims: Claims, *, now: datetime) -> int:
    """Digest again the messages that the digest deferred before the site's rules changed, and return how many.

    They are digested where they wait. If they were pending meanwhile, their names would have to leave the queue, and
    newcomers would overtake them. At most RELEASE_CHUNK messages.
    """
    taken = 0
    while taken < RELEASE_CHUNK and (times := waiting.load_names_to_digest_again(site_id, limit=settings.DIGEST_BATCH)):
        # Read after the names: rules that change later than this change the time again.
        config = load_site_config(load_site(site_id))
        # A name that its messages leave is not counted as queued, because their new name replaces it.
        most = config.policy.max_waiting_names + waiting.count_names_to_digest_again(site_id)
        config = replace(config, policy=replace(config.policy, max_waiting_names=most))
        until = max(now, *times.values())  # the other clock may be ahead; without this it would never end
        looked_at = digest_waiting(config, claims, times, limit=settings.DIGEST_BATCH, now=until)
        if not looked_at:
            if claims.held_locks.blocked_messages(site_id):  # some of their messages may be set aside
                break
            waiting.mark_digested_again(site_id, times, until=max(times.values()))
            _leave_queue(site_id, list(times), claims)
        taken += looked_at
    return taken


def _let_go(site_id: int, names: Sequence[str]) -> int:
    """Make a chunk of the messages pending whose goal exists, and return how many."""
    first = waiting.find_first_arrival(site_id, names)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH released AS MATERIALIZED (  -- IN (SELECT … LIMIT) may run once for each row, and lock others each time
                SELECT id FROM api_message
                 WHERE site_id = %s AND id >= %s AND status = 'deferred' AND waiting_for = ANY(%b::text[])
                 ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
            UPDATE api_message m SET status = 'pending', reason = '', waiting_for = '', digested_at = NULL,
                   reading = coalesce(m.reading, %s)  -- its facts were applied: the rest must fit them
              FROM released WHERE m.site_id = %s AND m.id >= %s AND m.id = released.id
            """,
            [site_id, first, list(names), RELEASE_CHUNK, FIRST, site_id, first],
        )
        return int(cursor.rowcount)


def _leave_queue(site_id: int, names: Sequence[str], claims: Claims) -> None:
    """Delete queued names for which no message waits any more.

    Their messages were digested, or mean something else since the site's rules changed. Under the names' lock no worker
    can defer a message, and messages deferred before are visible.
    """
    if not names:
        return
    with _names_locked(site_id, claims), connection.cursor() as cursor:
        first = waiting.find_first_arrival(site_id, names)
        cursor.execute(
            """
            SELECT DISTINCT waiting_for FROM api_message
             WHERE site_id = %s AND id >= %s AND status = 'deferred' AND waiting_for = ANY(%b::text[])
            """,
            [site_id, first, list(names)],
        )
        still_waiting = {row[0] for row in cursor.fetchall()}
        waiting.remove_names(site_id, set(names) - still_waiting)


@contextmanager
def _names_locked(site_id: int, claims: Claims) -> Iterator[datetime]:
    """Lock the goal names of a site for a transaction and yield the time of the lock.

    Raises HeldError. A site whose names were held the last time is not waited for long: others are behind it.
    """
    busy = claims.held_locks.busy_names
    with transaction.atomic():
        limit_lock_waits(PROBE if site_id in busy else WAIT)
        busy.add(site_id)
        with waits_for(Lock.NEW_GOALS):
            locked_at = quota.lock_names(site_id)
        busy.remove(site_id)
        yield locked_at


@dataclass(frozen=True, slots=True)
class _Pending:
    """Pending messages of a site."""

    first: int  # the lowest id
    has_suspects: bool  # some failed before, or their worker died


def load_site(site_id: int) -> Site:
    """Return a site with its sources and rules. Three queries, which name it."""
    return Site.objects.prefetch_related("sources", "rules").get(pk=site_id)


def _pending_sites(begin: int | None) -> list[tuple[int, _Pending]]:
    """Return the sites with pending messages from an id on, or none for None.

    Their order is random, because the messages of one may kill worker after worker. One query, with two probes of
    partial indexes for each site.
    """
    if begin is None:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT s.id, m.id, EXISTS (
                       SELECT FROM api_message
                        WHERE site_id = s.id AND status = 'pending' AND attempts > 0 AND id >= %(begin)s)
              FROM api_site s
              JOIN LATERAL (
                SELECT id FROM api_message
                 WHERE site_id = s.id AND status = 'pending' AND id >= %(begin)s ORDER BY id LIMIT 1
              ) AS m ON true
            """,
            {"begin": begin},
        )
        pending = [(site_id, _Pending(first, has_suspects)) for site_id, first, has_suspects in cursor.fetchall()]
    random.shuffle(pending)
    return pending
