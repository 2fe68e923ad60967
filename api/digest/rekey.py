"""Re-keys stored conversions after an upgrade, by links that earlier versions did not keep (`manage.py rekey`).

Runs beside the digest and can be interrupted: every batch is one transaction that also notes how far it came.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

from django.conf import settings
from django.db import OperationalError, transaction
from django.db.models import Manager, Max, QuerySet

from api.digest import late_links, segments
from api.digest.derivation import StoredMessage
from api.digest.digest import RETRIES, list_first_visitors
from api.digest.mapping import derive
from api.digest.site_config import SiteConfig, load_site_config
from api.http.chunks import iter_chunks
from api.models import Backfill, Message, Site
from api.models.message_rows import load_bodies
from cohorts import changes, identities, people
from cohorts.models import Identity
from goals import rekeying, totals
from goals.models import Conversion
from goals.recording import KeyedBy
from goals.rekeying import FirstVisitor

BATCH: Final = 1_000  # rows of any site
Stage = Backfill.Stage
TABLES: Final[dict[Stage, Manager[Any]]] = {
    Stage.IDENTITIES: Identity.objects,
    Stage.CONVERSIONS: Conversion.objects,
    Stage.MESSAGES: Message.objects,
}


def step(backfill: Backfill, config: dict[int, SiteConfig]) -> int:
    """Process the next rows of the current table, or go on to the next table, and return how many conversions moved.

    `config` remembers the settings of the sites between steps. Some ten queries a site.
    """
    begin, end = backfill.position, _find_end(backfill)
    if end is None:
        backfill.stage, backfill.position = backfill.stage + 1, 0
        backfill.save()
        return 0
    match Stage(backfill.stage):
        case Stage.IDENTITIES:
            links = _links_of_identities(begin, end)
        case Stage.CONVERSIONS:
            links = _links_of_conversions(begin, end)
        case _:
            links = _links_of_messages(begin, end, config)
    by_site: dict[int, set[changes.Link]] = {}
    for site_id, link in links:
        by_site.setdefault(site_id, set()).add(link)
    moved = sum(_apply(site_id, linked) for site_id, linked in by_site.items())
    backfill.position = end
    backfill.save()
    return moved


def is_waiting() -> bool:
    """Return True after an upgrade until `manage.py rekey` has gone through the stored rows. One query."""
    return Backfill.objects.filter(finished_at=None).exists()


def last_id(backfill: Backfill) -> int:
    """Return the highest id of the current table, with which `position` is compared. One query."""
    return TABLES[Stage(backfill.stage)].aggregate(last=Max("pk"))["last"] or 0


def _find_end(backfill: Backfill) -> int | None:
    """Return the last id of the next batch, None at the end of the table."""
    rows = TABLES[Stage(backfill.stage)]
    if backfill.stage == Stage.MESSAGES:  # their ids have an index only within a site
        of_sites = [_find_end_in(rows.filter(site=site), backfill.position) for site in Site.objects.only("pk")]
        return min((end for end in of_sites if end is not None), default=None)
    return _find_end_in(rows, backfill.position)


def _find_end_in(rows: Manager[Any] | QuerySet[Any], after: int) -> int | None:
    ids = list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:BATCH])
    return ids[-1] if ids else None


def _links_of_identities(begin: int, end: int) -> Iterator[tuple[int, changes.Link]]:
    """Yield the last owner of each device, and the users that aliases point former ids at."""
    rows = Identity.objects.filter(
        pk__gt=begin, pk__lte=end, kind__in=[Identity.Kind.USER, Identity.Kind.ANONYMOUS], registers__has_key="user"
    )
    for identity in rows:
        yield identity.site_id, ((identity.kind, identity.value), identity.registers["user"][3])


def _links_of_conversions(begin: int, end: int) -> Iterator[tuple[int, changes.Link]]:
    """Yield the devices and users that one event named together, however long ago."""
    rows = Conversion.objects.filter(pk__gt=begin, pk__lte=end, user_id__isnull=False, anonymous_id__isnull=False)
    for site_id, anonymous, user in rows.values_list("site_id", "anonymous_id", "user_id"):
        yield site_id, ((int(Identity.Kind.ANONYMOUS), str(anonymous)), str(user))


def _links_of_messages(begin: int, end: int, config: dict[int, SiteConfig]) -> Iterator[tuple[int, changes.Link]]:
    """Yield the links of processed messages that are still kept, also those that a later one replaced."""
    for site in Site.objects.prefetch_related("sources", "rules"):
        rows = Message.objects.filter(site=site, pk__gt=begin, pk__lte=end, digested_at__isnull=False)
        for chunk in iter_chunks(rows.exclude(status="rejected").order_by("pk").values_list("pk", "size")):
            if site.pk not in config:
                config[site.pk] = load_site_config(site)
            bodies = load_bodies(site.pk, chunk)
            for message in Message.objects.filter(site=site, pk__in=chunk):
                stored = StoredMessage.of_message(message, bodies[message.pk].body)
                change = derive(stored, config[site.pk].for_message(stored)).change
                yield from ((site.pk, link) for link in (changes.links_of(change) if change else ()))


def _apply(site_id: int, links: Collection[changes.Link]) -> int:
    """Add the links of one site and re-key its conversions, and return how many moved."""
    also: frozenset[changes.IdentityKey] = frozenset()
    for attempt in range(1, RETRIES + 1):
        try:
            with transaction.atomic():
                linked = people.link(site_id, links, also=also, most_linked=settings.MOST_LINKED)
                # Earlier versions preferred a user's link to its device's.
                late_ones = [*list_first_visitors(linked.changed), *_device_links(linked.visitors)]
                rekeyed = rekeying.rekey(site_id, late_ones, most=settings.MOST_REKEYED)
                late_links.postpone(site_id, shares=linked.postponed, rekeys=rekeyed.postponed)
                totals.count_conversions(site_id, [], rekeyed.moved)
                segments.note_moved(site_id, rekeyed.moved)
                return len(rekeyed.moved)
        except identities.LostRaceError as error:
            also |= error.also
        except OperationalError:  # a deadlock with a worker
            if attempt == RETRIES:
                raise
    raise identities.LostRaceError(also)


def _device_links(visitors: changes.Visitors) -> Iterable[FirstVisitor]:
    for (kind, value), code in visitors.first.items():
        if kind == Identity.Kind.ANONYMOUS:
            yield FirstVisitor(KeyedBy.ANONYMOUS_LINK, value, code)
