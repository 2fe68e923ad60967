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
from goals.reports.visitors_seen import SeenVisitors, count_visitors_seen

MOST_READ: Final = 20_000  # conversions of a period that a request reads: some 80 ms
MOST_COUNTED: Final = 3_000_000  # that a thread reads: some 10 s
FRESH: Final = timedelta(minutes=5)
KEPT_SECONDS: Final = 86_400
THREAD: Final = "visitors-seen"

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

    visitors: int
    steps: Mapping[datetime, int]
    at: datetime


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
    site_id: int, base: RateBase, periods: Sequence[Period], *, starts: Sequence[datetime] = (), now: datetime
) -> list[SeenVisitors | None]:
    """Return the visitors of a base in each period, and in the steps that begin at `starts`, which are sorted.

    None for more than MOST_READ conversions that no thread has counted yet: it begins to. Such a count is up to a few
    minutes old. One query at most, and one round trip to the cache.
    """
    ids = None if base.goal_ids is None else tuple(base.goal_ids)
    wanted = [WantedCount(site_id, ids, begin, _round(end), tuple(starts)) for begin, end in periods]
    kept = _read_kept(wanted)
    missing = [place for place, each in enumerate(wanted) if each not in kept]
    found: dict[int, SeenVisitors | None] = {}
    if missing:
        asked = [periods[place] for place in missing]
        counts = count_visitors_seen(site_id, asked, goal_ids=ids, starts=starts, most_read=MOST_READ)
        found = dict(zip(missing, counts, strict=True))
    for place, each in enumerate(wanted):
        if each in kept:
            found[place] = SeenVisitors(kept[each].visitors, kept[each].steps)
    due = [each for place, each in enumerate(wanted) if _is_due(found[place], kept.get(each), now)]
    begin_to_count([each for each in due if each.begin == _round(each.begin)])  # no page asks for another one again
    return [found[place] for place in range(len(periods))]


def begin_to_count(wanted: Collection[WantedCount]) -> None:
    """Count in a thread, unless this process does so already: then a later request asks again."""
    if wanted and THREAD not in {thread.name for thread in threading.enumerate()}:
        threading.Thread(target=_count_and_close, args=[list(wanted)], name=THREAD, daemon=True).start()


def count_and_keep(wanted: Iterable[WantedCount]) -> None:
    """Count visitors and keep the counts in the cache. A query each. Raises RedisError and DatabaseError.

    A period with more than MOST_COUNTED conversions stays uncounted.
    """
    for each in wanted:
        at = datetime.now(UTC)
        (seen,) = count_visitors_seen(
            each.site_id,
            [(each.begin, each.end)],
            goal_ids=each.goal_ids,
            starts=each.starts,
            most_read=MOST_COUNTED,
        )
        if seen is not None:
            cache.set(each.key, tuple(KeptCount(seen.visitors, dict(seen.steps), at)), timeout=KEPT_SECONDS)


def _count_and_close(wanted: Sequence[WantedCount]) -> None:
    try:
        count_and_keep(wanted)
    except (RedisError, DatabaseError) as error:
        log.warning("rates.uncounted", error=type(error).__name__)
    finally:
        connections.close_all()


def _read_kept(wanted: Sequence[WantedCount]) -> dict[WantedCount, KeptCount]:
    try:
        found: Mapping[str, Any] = cache.get_many([each.key for each in wanted])
    except RedisError as error:
        log.warning("rates.uncached", error=type(error).__name__)
        return {}
    return {each: KeptCount(*found[each.key]) for each in wanted if each.key in found}


def _is_due(seen: SeenVisitors | None, kept: KeptCount | None, now: datetime) -> bool:
    return seen is None if kept is None else now - kept.at > FRESH


def _round(end: datetime | None) -> datetime | None:
    """Return the end of a period that moves with the clock in steps of FRESH, so that the cache finds its count."""
    return None if end is None else end - (end - datetime.min.replace(tzinfo=UTC)) % FRESH
