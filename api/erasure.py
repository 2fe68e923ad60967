"""Erasing a person: over all identifiers, in identities, usernames, conversions and messages (promises N-13).

What an index finds goes at once: identities, usernames, conversions by their keys, and the messages of these. No index
leads to what else names the person, so the rest is swept in chunks by a worker, until the receipt says that it is done.
Conversions stay as figures: without ids, properties or message, under a marker that means nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import structlog
from django.db import OperationalError, connection, transaction
from django.db.models import Max
from django.db.models.functions import Collate

from api.digest.suppression import hash_id
from api.insight.bodies import names, spellings
from api.insight.people import messages_of
from api.models import Erasure, Message, Site, Suppression
from cohorts import merge
from cohorts.finding import find_person
from cohorts.models import Identity, Link, Username
from goals import rollups
from goals.models import Conversion

MOST_IDENTITIES: Final = 1_000  # of a person; an id like "test" may be on every device
CHUNK: Final = 5_000  # rows of a table, whatever their site, that a step of a sweep looks at
LINKS: Final = ("user", "anonymous", "visitor", "device_visitor")  # registers that name another identity

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
        erasure.waits_for = _clock()
    elif erasure.stage == Erasure.Stage.DONE:
        erasure.finished_at, erasure.sought = now, []
    elif erasure.waits_for is not None and _is_older_work_going_on(erasure.waits_for):
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
            SELECT c.id FROM unnest(%(sites)s::bigint[], %(ids)s::text[]) AS n (site_id, id)
              JOIN goals_conversion c
                ON c.site_id = n.site_id AND c.visitor_code = n.id AND c.keyed_by <> ALL(%(linked)s)
             UNION
            SELECT c.id FROM unnest(%(sites)s::bigint[], %(ids)s::text[]) AS n (site_id, id)
              JOIN goals_conversion c ON c.site_id = n.site_id AND c.user_id = n.id AND c.keyed_by >= 1
             UNION
            SELECT c.id FROM unnest(%(sites)s::bigint[], %(ids)s::text[]) AS n (site_id, id)
              JOIN goals_conversion c ON c.site_id = n.site_id AND c.anonymous_id = n.id AND c.keyed_by >= 1
            """,
            {"sites": [site_id] * len(sought), "ids": sought, "linked": list(Conversion.LINKED)},
        )
        conversions = [row[0] for row in cursor.fetchall()]
    mine = Identity.objects.filter(site_id=site_id, kind__in=Identity.Kind.values, value__in=sought)
    # Locked first, as the digest locks them: what a batch adds to their history in personas meanwhile goes along.
    locked = list(mine.order_by("kind", Collate("value", "C")).select_for_update().values_list("pk", flat=True))
    erasure.identities += Identity.objects.filter(pk__in=locked).delete()[1].get("cohorts.Identity", 0)
    _remove_links(erasure)
    erasure.usernames += Username.objects.filter(site_id=site_id, user_value__in=sought).delete()[0]
    _forget_conversions(erasure, conversions)  # after the identities, as the digest locks them


def _remove_links(erasure: Erasure) -> None:
    """Delete the links from and to the person's ids. Two statements, by indexes."""
    links = Link.objects.filter(site_id=erasure.site_id)
    links.filter(kind__in=Identity.Kind.values, value__in=erasure.sought).delete()
    links.filter(user_value__in=erasure.sought).delete()


def _forget_conversions(erasure: Erasure, conversion_ids: Sequence[int]) -> None:
    """Delete the messages of conversions whose event names the person, and leave of these what figures need."""
    if not conversion_ids:
        return
    keys = Conversion.objects.filter(pk__in=conversion_ids).values_list("message_key", flat=True)
    messages = [message.pk for message in messages_of(erasure.site_id, list(keys))]
    erasure.messages += Message.objects.filter(pk__in=messages).delete()[0]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE goals_conversion AS c
               SET visitor_code = %s, keyed_by = 0, user_id = NULL, anonymous_id = NULL, properties = '{}',
                   message_key = 'erased:' || c.id
              FROM (SELECT id, visitor_code FROM goals_conversion WHERE id = ANY(%s) ORDER BY id FOR UPDATE) AS old
             WHERE c.id = old.id
            RETURNING c.id, c.occurred_at, c.goal_id, old.visitor_code, c.visitor_code
            """,
            [erasure.marker, list(conversion_ids)],
        )
        erasure.conversions += _count(erasure, cursor.fetchall())


def _count(erasure: Erasure, rows: Sequence[tuple[Any, ...]]) -> int:
    """Have the figures follow conversions that were given to the marker; how many there are."""
    rollups.count(
        erasure.site_id, [], [rollups.Moved(id_, at, (goal, old), (goal, new)) for id_, at, goal, old, new in rows]
    )
    return len(rows)


def _sweep_chunk(erasure: Erasure) -> None:
    """Look at the next rows of the table in hand; at its end, go on to the next table."""
    model, sweep_rows = SWEEPS[Erasure.Stage(erasure.stage)]
    if erasure.until is None:
        erasure.until = model.objects.aggregate(last=Max("pk"))["last"] or 0
    begin, erasure.position = erasure.position, erasure.position + CHUNK
    sweep_rows(erasure, begin, erasure.position)
    if erasure.position >= erasure.until:
        erasure.stage, erasure.position, erasure.until = erasure.stage + 1, 0, None


def _sweep_conversions(erasure: Erasure, begin: int, end: int) -> None:
    """Those that name the person under a visitor code of somebody else's."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM goals_conversion
             WHERE id > %(begin)s AND id <= %(end)s AND site_id = %(site)s
               AND (user_id = ANY(%(ids)s) OR anonymous_id = ANY(%(ids)s)
                    OR (visitor_code = ANY(%(ids)s) AND keyed_by <> ALL(%(linked)s)))
            """,
            {
                "begin": begin,
                "end": end,
                "site": erasure.site_id,
                "ids": erasure.sought,
                "linked": list(Conversion.LINKED),
            },
        )
        found = [row[0] for row in cursor.fetchall()]
    _forget_conversions(erasure, found)


def _sweep_identities(erasure: Erasure, begin: int, end: int) -> None:
    """Identities that came while the person was being erased, and other people's that point at one of theirs: there
    the marker takes its place, so that what the registers say of order stays true.
    """
    _remove_links(erasure)  # those that came since; now nothing adds any
    named = " OR ".join(f"registers #>> '{{{name},3}}' = ANY(%(ids)s)" for name in LINKS)
    rows = Identity.objects.raw(
        f"""
        SELECT * FROM cohorts_identity
         WHERE id > %(begin)s AND id <= %(end)s AND site_id = %(site)s AND (value = ANY(%(ids)s) OR {named})
         ORDER BY kind, value COLLATE "C" FOR UPDATE
        """,
        {"begin": begin, "end": end, "site": erasure.site_id, "ids": erasure.sought},
    )
    for identity in rows:
        if identity.value in erasure.sought:
            identity.delete()
            erasure.identities += 1
            continue
        registers = identity.registers
        for name in LINKS:
            if name in registers and registers[name][3] in erasure.sought:
                if name in merge.EARLIEST:
                    _forget_link(erasure, identity, name)
                registers[name][3] = erasure.marker
        parent = merge.parent_of(registers)
        identity.parent_value = parent[1] if parent else None
        identity.save(update_fields=["registers", "parent_value"])


def _forget_link(erasure: Erasure, identity: Identity, register: str) -> None:
    """Give somebody else's conversions that count for a visitor code of the person to the marker."""
    visitor_code = identity.registers[register][3]
    column = {Identity.Kind.USER: "user_id", Identity.Kind.ANONYMOUS: "anonymous_id"}[Identity.Kind(identity.kind)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE goals_conversion AS c SET visitor_code = %s
             WHERE site_id = %s AND visitor_code = %s AND keyed_by = ANY(%s) AND {column} = %s
            RETURNING c.id, c.occurred_at, c.goal_id, %s, c.visitor_code
            """,
            [
                erasure.marker,
                erasure.site_id,
                visitor_code,
                list(Conversion.LINKED),
                identity.value,
                visitor_code,
            ],
        )
        _count(erasure, cursor.fetchall())


def _sweep_messages(erasure: Erasure, begin: int, end: int) -> None:
    """Those with one of the ids as a whole value somewhere in their body."""
    sought = set(erasure.sought)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, body FROM api_message m
             WHERE id > %s AND id <= %s AND site_id = %s
               AND EXISTS (SELECT 1 FROM unnest(%s::bytea[]) AS n (spelling) WHERE position(n.spelling IN m.body) > 0)
             ORDER BY id FOR UPDATE
            """,
            [begin, end, erasure.site_id, spellings(erasure.sought)],
        )
        found = [id_ for id_, body in cursor.fetchall() if names(bytes(body), sought)]
    erasure.messages += Message.objects.filter(pk__in=found).delete()[0]


SWEEPS: Final[dict[Erasure.Stage, Any]] = {
    Erasure.Stage.CONVERSIONS: (Conversion, _sweep_conversions),
    Erasure.Stage.IDENTITIES: (Identity, _sweep_identities),
    Erasure.Stage.MESSAGES: (Message, _sweep_messages),
}


def _clock() -> datetime:
    """When this transaction began, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        began: datetime = cursor.fetchone()[0]
        return began


def _is_older_work_going_on(since: datetime) -> bool:
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
