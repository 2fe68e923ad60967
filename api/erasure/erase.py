"""Erasure of a person by all identifiers, in every table that events or people fill (promise N-13).

Rows that an index finds are deleted at once: identities, usernames, up to 5,000 conversions and their messages. No
index finds other rows that name the person. So a worker sweeps all tables in chunks (api.erasure.sweeps). The receipt
says when it is done. Conversions stay in the totals without ids, properties or message, under a meaningless
marker.

Other people's events, conversions, traits and groups get a pseudonym in place of the id. Deleting such an event would
leave its conversion without proof that it counts once.
"""

from datetime import datetime
from typing import Final

import structlog
from django.db import OperationalError, connection, transaction
from django.db.models import Max, Min
from django.db.models.functions import Collate

from api.erasure.conversions import (
    forget_cancellations,
    forget_conversions,
    forget_exposures,
    remove_links,
    remove_visits,
)
from api.erasure.sweeps import SWEEPS, end_of_step
from api.ingest.erased import hash_id
from api.models import Erasure, Site, Suppression
from cohorts import identities
from cohorts.models import Identity, Username
from cohorts.queries import find_person
from goals.models import Conversion
from sessions import is_older_writer_at_work
from site_rows import has_site, lock_first

MOST_IDENTITIES: Final = 1_000  # of a person; an id like "test" may be on every device
CHUNK: Final = 5_000  # ids of a table that a step of a sweep searches
CHUNK_BYTES: Final = 33_554_432  # of these rows, as stored: 5,000 events of 1 MB would be minutes in one statement

log = structlog.get_logger(__name__)


class TooManyIdentitiesError(Exception):
    """Raised for more linked identities than one person can have."""


def erase(site: Site, id_: str, *, by: str, now: datetime) -> Erasure | None:
    """Erase the rows of a person that indexes find, and return the receipt, None for an unknown id.

    After the first commit, events that name the person are dropped. Raises TooManyIdentitiesError.
    """
    erasure = begin(site, id_, by=by, now=now)
    if erasure is None:
        return None
    try:
        step(erasure, now=now)
    except OperationalError:  # a deadlock with a worker; the sweep begins with it
        log.warning("erasure.delayed", erasure=erasure.pk)
    erasure.refresh_from_db()
    return erasure


def begin(site: Site, id_: str, *, by: str, now: datetime) -> Erasure | None:
    """Insert the receipt of a person, whose events are dropped after the commit. Return None for an unknown id.

    A worker does the rest. Raises TooManyIdentitiesError.
    """
    identities = find_person(site.pk, [id_], most=MOST_IDENTITIES + 1)
    if not identities:
        return None
    if len(identities) > MOST_IDENTITIES:
        raise TooManyIdentitiesError
    sought = sorted({identity.value for identity in identities})
    hashes = [hash_id(site.pk, value) for value in sought]
    with transaction.atomic():
        erasure = Erasure.objects.create(site=site, erased_by=by, created_at=now, sought=sought, hashes=hashes)
        Suppression.objects.bulk_create(
            [Suppression(site=site, erasure=erasure, hash=hash_) for hash_ in hashes], ignore_conflicts=True
        )
    return erasure


def sweep(*, now: datetime) -> bool:
    """Do one step of the oldest unfinished erasure that no other worker has locked. Return True if there was one."""
    with transaction.atomic():
        erasure = lock_first(Erasure.objects.filter(finished_at=None).order_by("pk"))
        return erasure is not None and _step(erasure, now=now)


def step(erasure: Erasure, *, now: datetime) -> bool:
    """Do one step of an erasure, and return True if it did anything."""
    with transaction.atomic():
        erasure = Erasure.objects.select_for_update().get(site_id=erasure.site_id, pk=erasure.pk)
        return erasure.finished_at is None and _step(erasure, now=now)


def allow_again(erasure: Erasure) -> None:
    """Accept events that name the person again. Erased data stays erased."""
    with transaction.atomic():
        erasure.suppressions.all().delete()
        Erasure.objects.filter(site_id=erasure.site_id, pk=erasure.pk).update(is_allowed_again=True)


def _step(erasure: Erasure, *, now: datetime) -> bool:
    """Delete the rows that indexes find, later sweep the tables.

    Between the two, wait until no transaction runs that may not see the suppression. A batch claims its messages before
    it reads suppressions, so that PostgreSQL knows by then that it writes.
    """
    if erasure.removed_at is None:
        _remove(erasure)
        erasure.removed_at = now
        erasure.waits_for = clock()
    elif erasure.stage == Erasure.Stage.DONE:
        erasure.finished_at, erasure.sought = now, []
    elif erasure.waits_for is not None and is_older_writer_at_work(erasure.waits_for):
        if erasure.waits_for > (now_here := clock()):
            # The clock was ahead, so that all work is older. Wait for the transactions of this moment.
            Erasure.objects.filter(site_id=erasure.site_id, pk=erasure.pk).update(waits_for=now_here)
        return False
    else:
        _sweep_chunk(erasure)
    erasure.save()
    return True


def _remove(erasure: Erasure) -> None:
    site_id, sought = erasure.site_id, erasure.sought
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT id FROM (
            SELECT c.id FROM unnest(%(ids)s::text[]) AS n (id)
              JOIN goals_conversion c
                ON c.site_id = %(site)s AND c.visitor_code = n.id AND c.keyed_by <> ALL(%(linked)s)
             UNION ALL
            SELECT c.id FROM unnest(%(ids)s::text[]) AS n (id)
              JOIN goals_conversion c ON c.site_id = %(site)s AND c.user_id = n.id AND c.keyed_by >= 1
             UNION ALL
            SELECT c.id FROM unnest(%(ids)s::text[]) AS n (id)
              JOIN goals_conversion c ON c.site_id = %(site)s AND c.anonymous_id = n.id AND c.keyed_by >= 1
             LIMIT %(most)s) AS its
            """,
            {
                "site": site_id,
                "ids": sought,
                "linked": list(Conversion.LINKED),
                "most": CHUNK,  # the sweep finds the others
            },
        )
        conversions = [row[0] for row in cursor.fetchall()]
    mine = Identity.objects.filter(site_id=site_id, kind__in=Identity.Kind.values, value__in=sought)
    # Lock first, as the digest does, so that persona history which a batch adds meanwhile is deleted too.
    locked = list(mine.order_by("kind", Collate("value", "C")).select_for_update().values_list("pk", flat=True))
    erasure.identities += identities.delete(site_id, locked)
    remove_links(erasure)
    remove_visits(erasure)
    forget_exposures(erasure)
    forget_cancellations(erasure)
    erasure.usernames += Username.objects.filter(site_id=site_id, user_value__in=sought).delete()[0]
    forget_conversions(erasure, conversions)  # after the identities, as the digest locks them


def _sweep_chunk(erasure: Erasure) -> None:
    """Sweep the next rows of a table. At its end, continue with the next table."""
    model, sweep_rows = SWEEPS[Erasure.Stage(erasure.stage)]
    if erasure.until is None:
        rows = model._default_manager.all()  # noqa: SLF001 - Django's own way
        if has_site(model):
            rows = rows.filter(site_id=erasure.site_id)
        ends = rows.aggregate(first=Min("pk"), last=Max("pk"))
        # A site's ids begin anywhere: sequences serve all sites, and several servers may share them.
        erasure.position, erasure.until = (ends["first"] or 1) - 1, ends["last"] or 0
    begin, stage = erasure.position, Erasure.Stage(erasure.stage)
    erasure.position = end_of_step(erasure.site_id, stage, begin, most_rows=CHUNK, most_bytes=CHUNK_BYTES)
    sweep_rows(erasure, begin, erasure.position)
    if erasure.position >= erasure.until:
        erasure.stage, erasure.position, erasure.until = erasure.stage + 1, 0, None


def clock() -> datetime:
    """Return the start of this transaction by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        started_at: datetime = cursor.fetchone()[0]
        return started_at
