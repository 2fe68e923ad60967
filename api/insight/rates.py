"""Both sides of conversion rates: converting visitors, and the visitors of whom they are a part.

A request counts up to MOST_READ conversions of a period. More are counted in a thread of the web process, and the cache
keeps the counts. Without the cache there are no rates of such periods; losing it costs time alone.
"""

import hashlib
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import structlog
from django.core.cache import cache
from django.db import DatabaseError, connections
from django.db.models.functions import Coalesce
from redis.exceptions import RedisError

from api.models import Site
from goals.models import Goal
from goals.reports.figures import load_member_ids
from goals.reports.visitors_seen import SeenPeriod, SeenVisitors, count_visitors_seen

MOST_READ: Final = 20_000  # conversions of a period that a request reads: some 80 ms
MOST_COUNTED: Final = 3_000_000  # that a thread reads: some 10 s
FRESH: Final = timedelta(minutes=5)
OLD: Final = 2 * FRESH  # of a count of a period that went on: beside new conversions its rates would pass 100 %
KEPT_SECONDS: Final = 86_400
TOO_MANY_SECONDS: Final = 3_600  # until a period of more than MOST_COUNTED is tried again
CLAIM_SECONDS: Final = 60  # in which no other thread or process begins the same count
THREAD: Final = "visitors-seen"
MOST_THREADS: Final = 2  # of a process

log = structlog.get_logger(__name__)

Period = tuple[datetime, datetime | None]  # from a time until before another, None if it runs


@dataclass(frozen=True, slots=True)
class RateBase:
    """The visitors to whom converting ones are compared: all of a site, or those of a goal."""

    goal: Goal | None = None
    goal_ids: Sequence[int] | None = None  # the goal and those merged into it


@dataclass(frozen=True, slots=True)
class Rate:
    """Converting visitors as a part of the base."""

    converting: int
    base: int

    @property
    def value(self) -> float | None:
        """A number from 0 to 1; more than 1 if visitors converted the goal without the base goal. None without base."""
        return self.converting / self.base if self.base else None


class KeptCount(NamedTuple):
    """A count in the cache."""

    visitors: int | None  # None for more than MOST_COUNTED conversions
    steps: Mapping[datetime, int]
    at: datetime

    @property
    def seen(self) -> SeenVisitors | None:
        return None if self.visitors is None else SeenVisitors(self.visitors, self.steps)


class WantedCount(NamedTuple):
    """Visitors of some goals in a period, by steps that begin at these times."""

    site_id: int
    goal_ids: tuple[int, ...] | None
    begin: datetime
    end: datetime | None
    starts: tuple[datetime, ...]

    @property
    def key(self) -> str:
        return f"visitors-seen:{self.site_id}:{hashlib.sha256(repr(self[1:]).encode()).hexdigest()[:32]}"


def find_base(site: Site) -> RateBase:
    """Return the base of a site's rates: the target of a base goal that was merged, everybody if it was deleted.

    No query without a base goal, otherwise one.
    """
    if site.base_goal_id is None:
        return RateBase()
    live = Goal.objects.filter(site_id=site.pk, deleted_at=None).annotate(key=Coalesce("counts_for_id", "pk"))
    goals = {
        goal.pk: goal for goal in live.filter(key__in=live.filter(pk=site.base_goal_id).values("key")).order_by("pk")
    }
    target = next((goal for goal in goals.values() if goal.counts_for_id is None), None)
    return RateBase(target, list(goals)) if target else RateBase()


def visitors_of(goal: Goal) -> RateBase:
    """Return the visitors of a goal and of those merged into it. One query, none for a goal of `live_goals`."""
    return RateBase(goal, load_member_ids(goal.site_id, [goal])[goal.pk])


def load_seen(
    site_id: int,
    bases: Sequence[RateBase],
    periods: Sequence[Period],
    *,
    starts: Sequence[datetime] = (),
    now: datetime,
) -> list[list[SeenVisitors | None]]:
    """Return the visitors of each base in each period, and in the steps that begin at `starts`, which are sorted.

    None for more than MOST_READ conversions that no thread has counted yet: it begins to. Such a count is up to a few
    minutes old. None also for more than MOST_COUNTED, see `is_too_many`. One query at most, and one round trip to the
    cache.
    """
    asked = [SeenPeriod(*period, base.goal_ids) for base in bases for period in periods]
    wanted = _list_wanted(site_id, asked, starts)
    kept = {each: count for each, count in _read_kept(wanted).items() if not _is_old(each, count, now)}
    missing = [place for place, each in enumerate(wanted) if each not in kept]
    found = {place: kept[each].seen for place, each in enumerate(wanted) if each in kept}
    if missing:
        counts = count_visitors_seen(site_id, [asked[place] for place in missing], starts=starts, most_read=MOST_READ)
        found |= zip(missing, counts, strict=True)
    due = [each for place, each in enumerate(wanted) if _is_due(found[place], kept.get(each), now)]
    # A count of a period that begins at an odd second would be kept for nothing: no page asks for it again.
    begin_to_count([each for each in due if each.begin == round_down(each.begin)])
    counted = [found[place] for place in range(len(asked))]
    return [counted[begin : begin + len(periods)] for begin in range(0, len(asked), len(periods))]


def is_too_many(site_id: int, base: RateBase, period: Period, *, starts: Sequence[datetime] = ()) -> bool:
    """Return True if a thread found more than MOST_COUNTED conversions in a period. One round trip to the cache."""
    wanted = _list_wanted(site_id, [SeenPeriod(*period, base.goal_ids)], starts)
    return any(kept.visitors is None for kept in _read_kept(wanted).values())


def begin_to_count(wanted: Collection[WantedCount]) -> None:
    """Count in a thread, unless this process has MOST_THREADS already: then a later request asks again."""
    if wanted and sum(thread.name == THREAD for thread in threading.enumerate()) < MOST_THREADS:
        threading.Thread(target=_count_and_close, args=[list(wanted)], name=THREAD, daemon=True).start()


def count_and_keep(wanted: Iterable[WantedCount]) -> None:
    """Count visitors and keep the counts in the cache. A query each. Raises RedisError and DatabaseError.

    A count that began less than CLAIM_SECONDS ago is left to whoever began it. A period with more than MOST_COUNTED
    conversions stays uncounted, and for TOO_MANY_SECONDS no thread reads it again.
    """
    for each in wanted:
        if not cache.add(f"{each.key}:claim", 1, timeout=CLAIM_SECONDS):
            continue
        at = datetime.now(UTC)
        (seen,) = count_visitors_seen(
            each.site_id,
            [SeenPeriod(each.begin, each.end, each.goal_ids)],
            starts=each.starts,
            most_read=MOST_COUNTED,
        )
        count = KeptCount(None, {}, at) if seen is None else KeptCount(seen.visitors, dict(seen.steps), at)
        cache.set(each.key, tuple(count), timeout=TOO_MANY_SECONDS if seen is None else KEPT_SECONDS)


def _count_and_close(wanted: Sequence[WantedCount]) -> None:
    try:
        count_and_keep(wanted)
    except (RedisError, DatabaseError) as error:
        log.warning("rates.uncounted", error=type(error).__name__)
    finally:
        connections.close_all()


def _list_wanted(site_id: int, periods: Iterable[SeenPeriod], starts: Sequence[datetime]) -> list[WantedCount]:
    return [
        WantedCount(
            site_id,
            None if goal_ids is None else tuple(sorted(goal_ids)),
            begin,
            end and round_down(end),
            tuple(starts),
        )
        for begin, end, goal_ids in periods
    ]


def _read_kept(wanted: Sequence[WantedCount]) -> dict[WantedCount, KeptCount]:
    try:
        found: Mapping[str, Any] = cache.get_many([each.key for each in wanted])
    except RedisError as error:
        log.warning("rates.uncached", error=type(error).__name__)
        return {}
    return {each: KeptCount(*found[each.key]) for each in wanted if each.key in found}


def _is_due(seen: SeenVisitors | None, kept: KeptCount | None, now: datetime) -> bool:
    if kept is None:
        return seen is None
    return seen is not None and now - kept.at > FRESH


def _is_old(wanted: WantedCount, kept: KeptCount, now: datetime) -> bool:
    """Return True for a count of a period that went on after it, unless it is nearly new."""
    went_on = wanted.end is None or kept.at < wanted.end
    return kept.visitors is not None and went_on and now - kept.at > OLD


def round_down(at: datetime) -> datetime:
    """Return a bound of a period that moves with the clock in steps of FRESH, so that the cache finds its count."""
    return at - (at - datetime.min.replace(tzinfo=UTC)) % FRESH
