"""Follows links of ids with too many conversions or users for one batch, a bounded step at a time.

A batch changes the registers of its own identities at once, and later messages use them. Steps update the rows that
exist already, and survive interruptions. Each reads the code that is valid when it runs, so that the order of links
does not matter. An earlier link that arrives meanwhile starts the steps again.
"""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from typing import Final

import structlog
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from api.digest import segments
from api.digest.transaction_settings import prefer_index_plans
from api.models import LateLink
from cohorts import identities, people
from cohorts.changes import IdentityKey, Visitors
from cohorts.links import users_linked
from cohorts.models import Identity
from goals import rekeying, totals
from goals.recording import KeyedBy
from goals.rekeying import FirstVisitor
from site_rows import lock_first

Kind = Identity.Kind
CONVERSIONS: Final = 1_000  # a step, some 0.1 s, during which the id's own events wait
USERS: Final = 100  # a step, and as many by aliases; the registers of all are in memory
RETRIES: Final = 10

log = structlog.get_logger(__name__)


def postpone(site_id: int, *, shares: Collection[IdentityKey], rekeys: Collection[FirstVisitor]) -> None:
    """Leave the rest of a batch to the steps. Call it while these identities are locked. One query, if any."""
    shared = set(shares)
    rekeyed = {(int(Kind.ANONYMOUS if link.is_device else Kind.USER), link.id) for link in rekeys}
    keys = sorted(shared | rekeyed)
    if not keys:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO api_latelink AS t (site_id, kind, value, conversions_after, users_after)
            SELECT %s, * FROM unnest(%b::smallint[], %b::text[], %b::bigint[], %b::text[])
            ON CONFLICT (site_id, kind, value) DO UPDATE
               SET conversions_after = coalesce(excluded.conversions_after, t.conversions_after),
                   users_after = coalesce(excluded.users_after, t.users_after)
            """,
            [
                site_id,
                [kind for kind, _ in keys],
                [value for _, value in keys],
                [0 if key in rekeyed else None for key in keys],
                ["" if key in shared else None for key in keys],
            ],
        )


def step_any(*, conversions: int = CONVERSIONS, users: int = USERS) -> bool:
    """Do a step of the late link that waits longest and return whether there was one."""
    late = _take()
    if late is None:
        return False
    also: AbstractSet[IdentityKey] = frozenset()
    try:
        for _ in range(RETRIES):
            try:
                with transaction.atomic():
                    prefer_index_plans()
                    if late.conversions_after is not None:
                        _rekey(late, limit=conversions)
                    else:
                        _share(late, limit=users, most_conversions=conversions, also=also)
                    return True
            except identities.LostRaceError as error:
                also |= error.also
            except identities.TooManyBytesError:
                users, also = max(1, users // 4), frozenset()
    except OperationalError as error:  # a deadlock with a batch, or another session has locked the identity
        log.warning("late_link.delayed", late_link=late.pk, error=str(error).splitlines()[0])
    return False


def first_visitor(key: IdentityKey, visitors: Visitors) -> FirstVisitor | None:
    """Return the code that the conversions of an identity count for, unless a device of them has one. Pure."""
    kind, value = key
    if key in visitors.first:
        rule = KeyedBy.ANONYMOUS_LINK if kind == Kind.ANONYMOUS else KeyedBy.USER_LINK
        return FirstVisitor(rule, value, visitors.first[key])
    if kind == Kind.USER and value in visitors.device:
        return FirstVisitor(KeyedBy.DEVICE_LINK, value, visitors.device[value])
    return None


def _take() -> LateLink | None:
    """Return the late link that waits longest, after putting it behind the others. Three queries, one commit.

    It is not locked from then on, because identities are locked before late links everywhere.
    """
    with transaction.atomic():
        late = lock_first(LateLink.objects.order_by("stepped_at", "id"))
        if late is not None:
            LateLink.objects.filter(site_id=late.site_id, pk=late.pk).update(stepped_at=Now())
        return late


def _rekey(late: LateLink, *, limit: int) -> None:
    """Re-key the next conversions of the id."""
    key = (late.kind, late.value)
    link = first_visitor(key, people.lock_visitors(late.site_id, key))
    if not _is_still_so(late):
        return
    if link is None:  # erased meanwhile
        late.conversions_after = None
    else:
        moved, late.conversions_after = rekeying.rekey_next(
            late.site_id, link, after=late.conversions_after or 0, limit=limit
        )
        totals.count_conversions(late.site_id, [], moved)
        segments.note_moved(late.site_id, moved)
    _save(late)


def _share(late: LateLink, *, limit: int, most_conversions: int, also: AbstractSet[IdentityKey]) -> None:
    """Share the id's first visitor code with the next users that it is linked to."""
    key = (late.kind, late.value)
    users = users_linked(late.site_id, key, after=late.users_after or "", limit=limit)
    shared = people.share(late.site_id, [(key, user) for user in users], also=also, most_linked=limit)
    if not _is_still_so(late):
        transaction.set_rollback(True)
        return
    links = [FirstVisitor(KeyedBy.DEVICE_LINK, user, code) for user, code in shared.changed.device.items()]
    rekeyed = rekeying.rekey(late.site_id, links, most=most_conversions)
    totals.count_conversions(late.site_id, [], rekeyed.moved)
    segments.note_moved(late.site_id, rekeyed.moved)
    late.users_after = users[-1] if len(users) == limit else None
    _save(late)
    postpone(late.site_id, shares=shared.postponed, rekeys=rekeyed.postponed)


def _is_still_so(late: LateLink) -> bool:
    """Lock the late link after its identity; False if another worker or an earlier link changed it meanwhile."""
    rows = LateLink.objects.filter(
        site_id=late.site_id, pk=late.pk, conversions_after=late.conversions_after, users_after=late.users_after
    )
    return rows.select_for_update().exists()


def _save(late: LateLink) -> None:
    if late.conversions_after is None and late.users_after is None:
        late.delete()
    else:
        late.save(update_fields=["conversions_after", "users_after"])
