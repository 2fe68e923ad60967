"""How many goals events may still create for a site, exactly, under any number of workers."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection

from goals.models import GoalCreation

# Any constant: it keeps our advisory locks apart from another program's in the same database.
LOCK_SPACE = 0x474F414C


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` creations in any half-open span of this length."""

    limit: int
    span: timedelta


def build_windows(*, per_10_seconds: int, per_hour: int) -> tuple[Window, Window]:
    """The two sliding windows of a site, consumed together (promises K-26, K-27)."""
    return Window(per_10_seconds, timedelta(seconds=10)), Window(per_hour, timedelta(minutes=60))


def lock_names(site_id: int) -> datetime:
    """Become the only writer of a site's goal names until the transaction ends; the database's time once locked.

    Everything that creates, renames, binds or deletes a goal takes this lock before it touches a goal,
    so two workers never both see the last free place, nor both find a name missing. One query.
    """
    with connection.cursor() as cursor:
        # Two statements: the clock must be read after the lock was granted.
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK_SPACE, site_id])
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def count_free(site_id: int, limits: tuple[Window, ...], *, now: datetime) -> int:
    """How many goals may be created at `now`. Call it under `lock_names`. One query.

    What the ledger holds of later than `now` counts too: the windows hold also when the database's clock was set back.
    """
    return min(count_free_by_window(site_id, limits, now=now))


def move_back_future_creations(site_id: int, *, now: datetime) -> int:
    """Move creations that a clock which was ahead dated later than `now` back to `now`; how many.

    Otherwise they would fill both windows until that time comes. Their distances stay, so that the windows hold. Call
    it under `lock_names`. One query.
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
    """How many places each window has left at `now`. One query."""
    counted = ", ".join("count(*) FILTER (WHERE created_at > %s)" for _ in limits)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {counted} FROM goals_goalcreation WHERE site_id = %s AND created_at > %s",
            [*(now - window.span for window in limits), site_id, now - max(window.span for window in limits)],
        )
        created: tuple[int, ...] = cursor.fetchone()
    return [max(0, window.limit - count) for window, count in zip(limits, created, strict=True)]


def find_peak(times: Iterable[datetime], span: timedelta) -> tuple[int, datetime | None]:
    """The most creations that any half-open span of this length holds, and when the first of them was.

    `times` ascend; of several such spans it is the earliest. Pure; as many times are held as one span has.
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
    """Note `granted` creations in the ledger; a rollback gives them back. One query."""
    GoalCreation.objects.bulk_create(GoalCreation(site_id=site_id, created_at=now) for _ in range(granted))
