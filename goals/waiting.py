"""Queue of goal names that wait for quota, in order of arrival. Call its functions under `quota.lock_names`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import Min, Q, QuerySet

from goals.matching import EventName
from goals.models import WaitingName


@dataclass(frozen=True, slots=True)
class NameQueue:
    """Parts of a site's queue that a creation depends on."""

    head: Mapping[str, int]  # the first names, as many as may be created, and their arrivals
    waiting: Mapping[str, int]  # the requested names that are in the queue, and their arrivals
    length: int


@dataclass(frozen=True, slots=True)
class Newcomer:
    name: str
    event: EventName
    arrival: int


def select_queue(site_id: int) -> "QuerySet[WaitingName]":
    """Return the names in a site's queue, in its order."""
    return WaitingName.objects.filter(site_id=site_id, has_goal=False).order_by("arrival", "id")


def load_queue(site_id: int, *, names: Iterable[str], places: int) -> NameQueue:
    """Return the head of a site's queue, which of `names` wait, and how many do. Three queries, one if it is empty."""
    queue = select_queue(site_id)
    length = queue.count()
    if not length:
        return NameQueue({}, {}, 0)
    head = dict(queue.values_list("name", "arrival")[:places])
    waiting = dict(queue.filter(name__in=list(names)).values_list("name", "arrival"))
    return NameQueue(head, waiting, length)


def join_queue(site_id: int, comers: Sequence[Newcomer], queue: NameQueue, *, most: int) -> set[str]:
    """Insert names at the place of their arrival, up to `most` in all. Return those that wait; none loses its place.

    One query if anything changes.
    """
    earliest: dict[str, Newcomer] = {}
    for comer in sorted(comers, key=lambda newcomer: newcomer.arrival):
        earliest.setdefault(comer.name, comer)
    newcomers = [comer for comer in earliest.values() if comer.name not in queue.waiting]
    admitted = newcomers[: max(0, most - queue.length)]
    moved = [comer for comer in earliest.values() if comer.arrival < queue.waiting.get(comer.name, comer.arrival)]
    if rows := admitted + moved:
        _insert(site_id, rows)
    return {comer.name for comer in admitted} | (earliest.keys() & queue.waiting.keys())


def _insert(site_id: int, rows: Sequence[Newcomer]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_waitingname (site_id, name, event_type, event_name, has_goal, arrival, created_at)
            SELECT %s, name, type, event_name, false, arrival, now()
              FROM unnest(%b::text[], %b::text[], %b::text[], %b::bigint[]) WITH ORDINALITY
                   AS n (name, type, event_name, arrival, place)
             ORDER BY place
            ON CONFLICT (site_id, name) DO UPDATE  -- it is in the queue, or its goal was deleted before the release
               SET has_goal = false, arrival = least(goals_waitingname.arrival, EXCLUDED.arrival)
            """,
            [
                site_id,
                [row.name for row in rows],
                [row.event.type for row in rows],
                [row.event.name for row in rows],
                [row.arrival for row in rows],
            ],
        )


def mark_created(site_id: int, names: Iterable[str]) -> None:
    """Mark names whose goal exists: they leave the queue, and their messages are released. One query, if any."""
    names = list(names)
    if names:
        WaitingName.objects.filter(site_id=site_id, name__in=names).update(has_goal=True, look_again_at=None)


def request_digest_again(site_id: int, *, now: datetime) -> None:
    """Request that the messages of all names are digested again, because the rules have changed.

    The names keep their places meanwhile. If their messages were released first, newcomers would overtake them.
    One query.
    """
    WaitingName.objects.filter(site_id=site_id, has_goal=False).update(look_again_at=now)


def requeue_names(site_id: int, *, now: datetime) -> None:
    """Put the names that are about to leave the queue back in their places, because their goal may have gone.

    Call it when a goal is deleted or renamed, or loses an event. One query.
    """
    WaitingName.objects.filter(site_id=site_id, has_goal=True).update(has_goal=False, look_again_at=now)


def load_names_to_digest_again(site_id: int, *, limit: int) -> dict[str, datetime]:
    """Return the first names whose messages must be digested again, with the time of the request. One query."""
    rows = select_queue(site_id).filter(look_again_at__isnull=False)
    return dict(rows.values_list("name", "look_again_at")[:limit])  # type: ignore[arg-type]  # none is null


def find_first_arrival(site_id: int, names: Iterable[str]) -> int:
    """Return the lowest id that a message which waits for one of these names has, or 0 for other names. One query.

    With it a statement does not look for such messages in the whole inbox.
    """
    rows = WaitingName.objects.filter(site_id=site_id, name__in=list(names))
    return rows.aggregate(first=Min("arrival"))["first"] or 0


def count_names_to_digest_again(site_id: int) -> int:
    """Return how many names wait until their messages have been digested again. One query."""
    return select_queue(site_id).filter(look_again_at__isnull=False).count()


def mark_digested_again(site_id: int, names: Iterable[str], *, until: datetime) -> None:
    """Mark names whose messages were digested again, unless another request came later. One query."""
    rows = WaitingName.objects.filter(site_id=site_id, name__in=list(names), look_again_at__lte=until)
    rows.update(look_again_at=None)


def count_before(name: WaitingName, *, most: int) -> int:
    """Return how many names, up to `most`, become goals before this one. One query."""
    earlier = Q(arrival__lt=name.arrival) | Q(arrival=name.arrival, pk__lt=name.pk)
    return select_queue(name.site_id).filter(earlier)[:most].count()


def load_names_to_release(site_id: int) -> list[str]:
    """Return the names whose goal exists and that still have messages to release. One query."""
    return list(
        WaitingName.objects.filter(site_id=site_id, has_goal=True).order_by("id").values_list("name", flat=True)
    )


def remove_names(site_id: int, names: Iterable[str]) -> None:
    """Delete names without waiting messages. One query."""
    WaitingName.objects.filter(site_id=site_id, name__in=list(names)).delete()


def list_waiting_sites() -> list[int]:
    """Return the sites with names in their queue or names to release. One query, which goes to all sites."""
    return list(WaitingName.objects.order_by("site_id").values_list("site_id", flat=True).distinct())


def load_next_names(site_id: int, *, places: int) -> list[str]:
    """Return the head of the queue. One query."""
    return list(select_queue(site_id).values_list("name", flat=True)[:places])
