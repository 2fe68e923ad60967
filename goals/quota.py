"""New-goal limit of a site: two sliding windows, exact under any number of workers."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from goals.models import GoalCreation
from sessions import LockSpace, lock_until_commit


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` creations in any half-open span of this length."""

    limit: int
    span: timedelta


def build_windows(*, per_10_seconds: int, per_hour: int) -> tuple[Window, Window]:
    """Return the two sliding windows of a site, which are consumed together (promises K-26, K-27)."""
    return Window(per_10_seconds, timedelta(seconds=10)), Window(per_hour, timedelta(minutes=60))


def lock_names(site_id: int) -> datetime:
    """Lock the goal names of a site until the transaction ends. Return the database's time after the lock was granted.

    Each creation, renaming, binding or deletion of a goal takes this lock first. So two workers never both see the last
    free place, nor both miss a name. Two queries.
    """
    lock_until_commit(LockSpace.GOAL_NAMES, site_id)
    with connection.cursor() as cursor:  # a second statement, because the clock must be read after the lock was granted
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def count_free(site_id: int, limits: tuple[Window, ...], *, now: datetime) -> int:
    """Return how many goals may be created at `now`. Call it under `lock_names`. One query.

    Entries of the ledger later than `now` count, too: the limit holds also after the database's clock was set back.
    """
    return min(count_free_by_window(site_id, limits, now=now))


def move_back_future_creations(site_id: int, *, now: datetime) -> int:
    """Move creations that are dated later than `now` back to `now` and return their number.

    A clock that was ahead has dated them. Otherwise they would fill both windows until that time. Their distances stay,
    so that the limit holds. Call it under `lock_names`. One query.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE goals_goalcreation
               SET created_at = created_at - ahead.by
              FROM (SELECT max(created_at) - %(now)s AS by FROM goals_goalcreation WHERE site_id = %(site)s) AS ahead
             WHERE site_id = %(site)s AND created_at > %(now)s
            """,
            {"site": site_id, "now": now},
        )
        return int(cursor.rowcount)


def count_free_by_window(site_id: int, limits: tuple[Window, ...], *, now: datetime) -> list[int]:
    """Return how many creations each window has left at `now`. One query."""
    counted = ", ".join("count(*) FILTER (WHERE created_at > %s)" for _ in limits)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {counted} FROM goals_goalcreation WHERE site_id = %s AND created_at > %s",
            [*(now - window.span for window in limits), site_id, now - max(window.span for window in limits)],
        )
        created: tuple[int, ...] = cursor.fetchone()
    return [max(0, window.limit - count) for window, count in zip(limits, created, strict=True)]


def find_places(site_id: int, limits: tuple[Window, ...], count: int, *, now: datetime) -> list[datetime]:
    """Return when each of the next `count` goals may be created, `now` at the earliest. One query.

    A full window has room again when the oldest of its newest `limit` creations leaves it. Of each window the `count`
    creations that leave it next are read. The goals to come fill the windows, too.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT ARRAY(
                     SELECT created_at + l.span FROM goals_goalcreation WHERE site_id = %(site)s
                      ORDER BY created_at DESC OFFSET greatest(l.most - %(count)s, 0) LIMIT least(l.most, %(count)s))
              FROM unnest(%(limits)s::bigint[], %(spans)s::interval[]) WITH ORDINALITY AS l (most, span, place)
             ORDER BY place
            """,
            {
                "site": site_id,
                "count": count,
                "limits": [window.limit for window in limits],
                "spans": [window.span for window in limits],
            },
        )
        leaving = [found[::-1] for (found,) in cursor.fetchall()]
    rooms = [
        [now] * (min(window.limit, count) - len(found)) + found for window, found in zip(limits, leaving, strict=True)
    ]
    places: list[datetime] = []
    for number in range(count):
        places.append(max(now, *(room[number] for room in rooms)))
        for window, room in zip(limits, rooms, strict=True):
            room.append(places[-1] + window.span)
    return places


def find_peak(times: Iterable[datetime], span: timedelta) -> tuple[int, datetime | None]:
    """Return the most creations in any half-open span of this length, and the time of the first of them.

    `times` ascend. Of several such spans the earliest counts. Pure; it keeps as many times as one span has.
    """
    most, since = 0, None
    held: deque[datetime] = deque()
    for time in times:
        while held and time - held[0] >= span:
            held.popleft()
        held.append(time)
        if len(held) > most:
            most, since = len(held), held[0]
    return most, since


def consume(site_id: int, granted: int, *, now: datetime) -> None:
    """Insert `granted` creations into the ledger. A rollback returns them. One query."""
    GoalCreation.objects.bulk_create(GoalCreation(site_id=site_id, created_at=now) for _ in range(granted))
