"""Changes of many goals: shown in figures first, started by a person, done in steps that survive interruptions.

Each step is one transaction with the place that the change has come to, so that a worker goes on where another ended.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from api.digest import segments
from api.http.wording import count_of
from api.models import GoalsChange, Site
from api.models.audit import write_audit
from goals import bulk_changes
from goals.merging import list_merged_into
from goals.models import Goal
from goals.reports.figures import GoalFigures
from goals.reports.summaries import sum_totals
from site_rows import lock_first

if TYPE_CHECKING:
    from django.contrib.auth.models import User

Action = GoalsChange.Action
CHUNK: Final = 500  # goals a step, during which events of the site make no goals
NAMED: Final = 20  # goals that a page and the log list by name
KEEP_UNSTARTED: Final = timedelta(days=1)
KEEP_DONE: Final = timedelta(days=30)
PAST_TENSE: Final[Mapping[str, str]] = MappingProxyType(
    {
        Action.TAG: "Tagged",
        Action.UNTAG: "Untagged",
        Action.ARCHIVE: "Archived",
        Action.RESTORE: "Restored",
        Action.DELETE: "Deleted",
    }
)
CONTRARY: Final[Mapping[str, Action]] = MappingProxyType(
    {
        Action.TAG: Action.UNTAG,
        Action.UNTAG: Action.TAG,
        Action.ARCHIVE: Action.RESTORE,
        Action.RESTORE: Action.ARCHIVE,
    }
)
NEED_TAG: Final = frozenset({Action.TAG, Action.UNTAG})


@dataclass(frozen=True, slots=True)
class ChangePreview:
    """Figures of what a change would do now."""

    goals: int  # that it would change
    left: int  # that need no change, or were deleted since
    first: Sequence[Goal]  # by name, NAMED at most
    merged: int  # goals that count for them
    figures: GoalFigures  # of these goals and those merged into them; visits and visitors do not add up


def prepare_change(site: Site, action: Action, goal_ids: Sequence[int], *, tag: str = "", user: "User") -> GoalsChange:
    """Store the goals that a person wants changed, and change nothing yet. One query."""
    return GoalsChange.objects.create(
        site=site,
        user=user,
        action=action,
        tag=tag if action in NEED_TAG else "",
        goal_ids=list(goal_ids),
    )


def list_goals_to_undo(change: GoalsChange) -> list[int]:
    """Return the goals that a change would change now; none if nothing undoes it or if it was started. One query."""
    if change.action not in CONTRARY or change.started_at is not None:
        return []
    return list(select_goals_to_change(change).values_list("pk", flat=True))


def preview_change(change: GoalsChange) -> ChangePreview:
    """Return what a change would do now. Four queries, which read the totals of these goals."""
    waiting = select_goals_to_change(change)
    ids = list(waiting.values_list("pk", flat=True))
    merged = list_merged_into(change.site_id, ids)
    return ChangePreview(
        len(ids),
        len(change.goal_ids) - len(ids),
        list(waiting.order_by("sort_key", "pk")[:NAMED]),
        len(merged),
        sum_totals(change.site_id, [*ids, *merged]),
    )


def select_goals_to_change(change: GoalsChange) -> QuerySet[Goal]:
    """Return the goals that a change concerns, in no order."""
    goals = bulk_changes.select_live_goals(change.site_id, change.goal_ids)
    match change.action:
        case Action.TAG:
            return goals.exclude(bulk_changes.has_tag(change.site_id, tag__name=change.tag))
        case Action.UNTAG:
            return bulk_changes.filter_tagged(change.site_id, goals, change.tag)
        case Action.ARCHIVE:
            return goals.filter(archived_at=None)
        case Action.RESTORE:
            return goals.exclude(archived_at=None)
        case _:
            return goals


def start_change(change: GoalsChange, *, user: "User", now: datetime) -> None:
    """Start a change, with its one entry in the log. Do nothing if it was started already."""
    with transaction.atomic():
        locked = (
            GoalsChange.objects.select_for_update(of=("self",))
            .select_related("site")
            .get(site_id=change.site_id, pk=change.pk)
        )
        if locked.started_at is not None:
            return
        waiting = select_goals_to_change(locked)
        count, first = waiting.count(), waiting.order_by("sort_key", "pk").values_list("pk", "name")[:NAMED]
        after = {"goals": count, "change": locked.pk, "first": [f"{pk}: {name}" for pk, name in first]}
        if locked.tag:
            after["tag"] = locked.tag
        summary = f"{PAST_TENSE[locked.action]} {count_of(count, 'goal')}"
        write_audit(user, locked.site, summary, None, after)
        GoalsChange.objects.filter(site_id=locked.site_id, pk=locked.pk).update(started_at=now, user=user)


def run_change(change: GoalsChange, *, now: datetime, seconds: float) -> None:
    """Do steps of a started change, until it is done or the time is over."""
    until = time.monotonic() + seconds

    def lock(unfinished: QuerySet[GoalsChange]) -> GoalsChange | None:
        own = unfinished.filter(site_id=change.site_id, pk=change.pk)
        return own.select_for_update(skip_locked=True).first()

    while _step(lock, now=now) and time.monotonic() < until:
        pass
    change.refresh_from_db()


def run_any_step(*, now: datetime) -> bool:
    """Do a step of the oldest unfinished change that no other worker has locked. Return True if there was one."""
    return _step(lambda unfinished: lock_first(unfinished.order_by("pk")), now=now)


def prune(*, now: datetime) -> None:
    """Delete changes that were never started, and those that were done long ago. One query a site."""
    is_old = Q(started_at=None, created_at__lt=now - KEEP_UNSTARTED) | Q(finished_at__lt=now - KEEP_DONE)
    for site_id in Site.objects.values_list("pk", flat=True):
        GoalsChange.objects.filter(is_old, site_id=site_id).delete()


def _step(lock: Callable[[QuerySet[GoalsChange]], GoalsChange | None], *, now: datetime) -> bool:
    """Do a step of the unfinished change that `lock` locks. Return False if there is none."""
    with transaction.atomic():
        change = lock(GoalsChange.objects.filter(started_at__isnull=False, finished_at=None).defer("goal_ids"))
        if change is None:
            return False
        ids = _next_ids(change)
        if ids:
            change.changed += STEPS[change.action](change, ids, now)
            change.place += len(ids)
        if len(ids) < CHUNK:
            change.finished_at = now
        change.save(update_fields=["place", "changed", "finished_at"])
    return True


def _next_ids(change: GoalsChange) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT goal_ids[%s:%s] FROM api_goalschange WHERE site_id = %s AND id = %s",
            [change.place + 1, change.place + CHUNK, change.site_id, change.pk],
        )
        ids: list[int] = cursor.fetchone()[0]
    return ids


def _delete(site_id: int, ids: Sequence[int], now: datetime) -> int:
    deleted = bulk_changes.delete(site_id, ids, now=now)
    segments.note_deletion_of_goals(site_id)
    return deleted


STEPS: Final[Mapping[str, Callable[[GoalsChange, Sequence[int], datetime], int]]] = MappingProxyType(
    {
        Action.TAG: lambda change, ids, _: bulk_changes.tag(change.site_id, ids, change.tag),
        Action.UNTAG: lambda change, ids, _: bulk_changes.untag(change.site_id, ids, change.tag),
        Action.ARCHIVE: lambda change, ids, now: bulk_changes.archive(change.site_id, ids, now=now),
        Action.RESTORE: lambda change, ids, now: bulk_changes.restore(change.site_id, ids, now=now),
        Action.DELETE: lambda change, ids, now: _delete(change.site_id, ids, now),
    }
)
