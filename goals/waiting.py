"""The queue of goal names that wait for quota: first come, first created. Everything runs under `quota.lock_names`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import connection

from goals.matching import EventName
from goals.models import WaitingName


@dataclass(frozen=True, slots=True)
class Queue:
    """What a creation needs of a site's queue."""

    head: tuple[str, ...]  # the names whose turn it is, as many as there are places
    waiting: frozenset[str]  # which of the names asked for stand in it
    length: int


@dataclass(frozen=True, slots=True)
class Newcomer:
    name: str
    event: EventName


def load_queue(site_id: int, *, names: Iterable[str], places: int) -> Queue:
    """The head of a site's queue, which of `names` wait, and how many do. Three queries, one when it is empty."""
    queue = WaitingName.objects.filter(site_id=site_id, has_goal=False)
    length = queue.count()
    if not length:
        return Queue((), frozenset(), 0)
    head = tuple(next_names(site_id, places=places))
    waiting = frozenset(queue.filter(name__in=list(names)).values_list("name", flat=True))
    return Queue(head, waiting, length)


def join_queue(site_id: int, newcomers: Sequence[Newcomer], *, places: int) -> set[str]:
    """Let names wait, in their order, as long as there are places; the names that found one. One query."""
    admitted = list({newcomer.name: newcomer for newcomer in newcomers}.values())[: max(0, places)]
    if not admitted:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO goals_waitingname (site_id, name, event_type, event_name, has_goal, created_at)
            SELECT %s, name, type, event_name, false, now()
              FROM unnest(%b::text[], %b::text[], %b::text[]) WITH ORDINALITY AS n (name, type, event_name, place)
             ORDER BY place
            ON CONFLICT (site_id, name) DO UPDATE SET has_goal = false  -- its goal was deleted before its turn came
            """,
            [
                site_id,
                [newcomer.name for newcomer in admitted],
                [newcomer.event.type for newcomer in admitted],
                [newcomer.event.name for newcomer in admitted],
            ],
        )
    return {newcomer.name for newcomer in admitted}


def mark_created(site_id: int, names: Iterable[str]) -> None:
    """These names have their goal: they leave the queue, and their messages may go on. One query, if any."""
    names = list(names)
    if names:
        WaitingName.objects.filter(site_id=site_id, name__in=names).update(has_goal=True)


def release_all(site_id: int) -> None:
    """Let the messages of all names go on: what they mean may have changed. Those that wait for a name still will
    stand in the queue again, at their place. One query.
    """
    WaitingName.objects.filter(site_id=site_id).update(has_goal=True)


def names_to_release(site_id: int) -> list[str]:
    """Names whose goal exists and whose messages have not all gone on yet. One query."""
    return list(
        WaitingName.objects.filter(site_id=site_id, has_goal=True).order_by("id").values_list("name", flat=True)
    )


def forget(site_id: int, names: Iterable[str]) -> None:
    """No message waits for these names any more. One query."""
    WaitingName.objects.filter(site_id=site_id, name__in=list(names)).delete()


def waiting_sites() -> list[int]:
    """The sites with anything in their queue, or on its way out of it. One query."""
    return list(WaitingName.objects.order_by("site_id").values_list("site_id", flat=True).distinct())


def next_names(site_id: int, *, places: int) -> list[str]:
    """The head of the queue. One query."""
    return list(
        WaitingName.objects.filter(site_id=site_id, has_goal=False)
        .order_by("id")
        .values_list("name", flat=True)[:places]
    )
