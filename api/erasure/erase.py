"""Erasing a person: over all identifiers, in every table that events or people fill (promises N-13).

What an index finds goes at once: identities, usernames, conversions by their keys, up to 5,000, and the messages of
these. No index leads to other rows that name the person, so a worker sweeps them in chunks. The receipt says when it is
done (api.erasure.sweeps). Conversions stay as figures: without ids, properties or message, under a marker that means
nothing.

What others said stays theirs: in their events, conversions, traits and groups a stand-in takes the place of the id. To
delete such an event would leave its conversion without proof that it counts once.
"""

from datetime import datetime
from typing import Final

import structlog
from django.db import OperationalError, connection, transaction
from django.db.models import Max
from django.db.models.functions import Collate

from api.erasure.sweeps import SWEEPS, end_of_step, forget_conversions, remove_links
from api.ingest.erased import hash_id
from api.models import Erasure, Site, Suppression
from cohorts.models import Identity, Username
from cohorts.queries import find_person
from goals.models import Conversion

MOST_IDENTITIES: Final = 1_000  # of a person; an id like "test" may be on every device
CHUNK: Final = 5_000  # rows of a table, whatever their site, that a step of a sweep looks at
CHUNK_BYTES: Final = 33_554_432  # of these rows, as stored: 5,000 events of 1 MB would be minutes in one statement

log = structlog.get_logger(__name__)


class TooManyIdentitiesError(Exception):
    """So many identities are linked that they cannot be one person's."""


def erase(site: Site, id_: str, *, by: str, now: datetime) -> Erasure | None:
    """Erase the person whom an id names, as far as indexes lead; the receipt, or None where it names nobody.

    From its first commit on, events that name the person are dropped. Raises TooManyIdentitiesError.
    """
    found = find_person(site.pk, [id_], most=MOST_IDENTITIES + 1)
    if not found:
        return None
    if len(found) > MOST_IDENTITIES:
        raise TooManyIdentitiesError
    sought = sorted({identity.value for identity in found})
    hashes = [hash_id(site.pk, each) for each in sought]
    with transaction.atomic():
        erasure = Erasure.objects.create(site=site, erased_by=by, created_at=now, sought=sought, hashes=hashes)
        Suppression.objects.bulk_create(
            [Suppression(site=site, erasure=erasure, hash=each) for each in hashes], ignore_conflicts=True
        )
    try:
        step(erasure.pk, now=now)
    except OperationalError:  # a deadlock with a worker; the sweep begins with it
        log.warning("erasure.delayed", erasure=erasure.pk)
    erasure.refresh_from_db()
    return erasure


def sweep(*, now: datetime) -> bool:
    """Do one step of the oldest erasure that is not done and that nobody else has in hand; whether there was one."""
    with transaction.atomic():
        waiting = Erasure.objects.filter(finished_at=None).order_by("pk").select_for_update(skip_locked=True)
        erasure = waiting.first()
        return erasure is not None and _step(erasure, now=now)


def step(erasure_id: int, *, now: datetime) -> bool:
    """Do one step of an erasure; whether it did anything."""
    with transaction.atomic():
        erasure = Erasure.objects.select_for_update().get(pk=erasure_id)
        return erasure.finished_at is None and _step(erasure, now=now)


def allow_again(erasure: Erasure) -> None:
    """Take events that name the person again. What was erased stays so."""
    with transaction.atomic():
        Suppression.objects.filter(erasure=erasure).delete()
        Erasure.objects.filter(pk=erasure.pk).update(is_allowed_again=True)


def _step(erasure: Erasure, *, now: datetime) -> bool:
    """Remove what indexes find; then, once no transaction runs that may not see the suppression, chunk by chunk."""
    if erasure.removed_at is None:
        _remove(erasure)
        erasure.removed_at = now
        erasure.waits_for = clock()
    elif erasure.stage == Erasure.Stage.DONE:
        erasure.finished_at, erasure.sought = now, []
    elif erasure.waits_for is not None and is_older_work_going_on(erasure.waits_for):
        if erasure.waits_for > (now_here := clock()):
            # The clock was ahead, and all work is older than that: wait for what runs now.
            Erasure.objects.filter(pk=erasure.pk).update(waits_for=now_here)
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
            SELECT c.id FROM unnest(%(sites)s::bigint[], %(ids)s::text[]) AS n (site_id, id)
              JOIN goals_conversion c
                ON c.site_id = n.site_id AND c.visitor_code = n.id AND c.keyed_by <> ALL(%(linked)s)
             UNION ALL
            SELECT c.id FROM unnest(%(sites)s::bigint[], %(ids)s::text[]) AS n (site_id, id)
              JOIN goals_conversion c ON c.site_id = n.site_id AND c.user_id = n.id AND c.keyed_by >= 1
             UNION ALL
            SELECT c.id FROM unnest(%(sites)s::bigint[], %(ids)s::text[]) AS n (site_id, id)
              JOIN goals_conversion c ON c.site_id = n.site_id AND c.anonymous_id = n.id AND c.keyed_by >= 1
             LIMIT %(most)s) AS its
            """,
            {
                "sites": [site_id] * len(sought),
                "ids": sought,
                "linked": list(Conversion.LINKED),
                "most": CHUNK,  # the sweep finds the others
            },
        )
        conversions = [row[0] for row in cursor.fetchall()]
    mine = Identity.objects.filter(site_id=site_id, kind__in=Identity.Kind.values, value__in=sought)
    # Locked first, as the digest locks them: what a batch adds to their history in personas meanwhile goes along.
    locked = list(mine.order_by("kind", Collate("value", "C")).select_for_update().values_list("pk", flat=True))
    erasure.identities += Identity.objects.filter(pk__in=locked).delete()[1].get("cohorts.Identity", 0)
    remove_links(erasure)
    erasure.usernames += Username.objects.filter(site_id=site_id, user_value__in=sought).delete()[0]
    forget_conversions(erasure, conversions)  # after the identities, as the digest locks them


def _sweep_chunk(erasure: Erasure) -> None:
    """Look at the next rows of a table; at its end, go on to the next table."""
    model, sweep_rows = SWEEPS[Erasure.Stage(erasure.stage)]
    if erasure.until is None:
        erasure.until = model._default_manager.aggregate(last=Max("pk"))["last"] or 0  # noqa: SLF001
    begin, stage = erasure.position, Erasure.Stage(erasure.stage)
    erasure.position = end_of_step(stage, begin, most_rows=CHUNK, most_bytes=CHUNK_BYTES)
    sweep_rows(erasure, begin, erasure.position)
    if erasure.position >= erasure.until:
        erasure.stage, erasure.position, erasure.until = erasure.stage + 1, 0, None


def clock() -> datetime:
    """When this transaction began, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        began: datetime = cursor.fetchone()[0]
        return began


def is_older_work_going_on(since: datetime) -> bool:
    """Whether a transaction that writes began before: it may have looked before the ids were suppressed.

    A batch has claimed its messages when it looks, so that it is known to write by then.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT EXISTS (
                SELECT 1 FROM pg_stat_activity
                 WHERE datname = current_database() AND backend_xid IS NOT NULL AND xact_start < %s)
            """,
            [since],
        )
        return bool(cursor.fetchone()[0])
