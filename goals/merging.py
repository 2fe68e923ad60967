"""Merges of goals by a pointer. No row is moved, so that undoing a merge restores both goals (promise N-06).

A conversion keeps the goal that its event led to, also while that goal is merged. Reports count a goal together with
all goals whose pointers lead to it (goals.reports).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from django.db import transaction

from goals import quota
from goals.models import Goal


class MergeError(Exception):
    """Two goals cannot be merged; the message says why."""


def merge(goal: Goal, into: Goal) -> Goal:
    """Let a goal count for another one of its site. Return the goal that shows the figures of both.

    Events still lead to the merged goal. The goals merged into it follow it. Raises MergeError.
    """
    with transaction.atomic():
        quota.lock_names(goal.site_id)
        goal.refresh_from_db()
        into.refresh_from_db()
        _require_mergeable(goal, into)
        _set_pointer(goal, into)
        return _final_goal(into)


def unmerge(goal: Goal) -> None:
    """Undo a merge: the goal counts for itself again, with the conversions that came meanwhile.

    Goals merged into it stay merged. A goal that is not merged stays as it is.
    """
    with transaction.atomic():
        quota.lock_names(goal.site_id)
        _set_pointer(goal, None)


def list_merged_into(site_id: int, goal_ids: Collection[int]) -> list[int]:
    """Return the ids of the goals merged into these, directly or through others. One query."""
    pointers, targets = _load_pointers(site_id), set(goal_ids)
    return sorted(
        id_ for id_ in pointers if id_ not in targets and not targets.isdisjoint(follow_pointers(id_, pointers))
    )


def list_merged_below(goal: Goal) -> list[int]:
    """Return the ids of a goal and of all goals merged into it; the goal itself is first. One query."""
    pointers = _load_pointers(goal.site_id)
    return [goal.pk, *sorted(id_ for id_ in pointers if goal.pk in follow_pointers(id_, pointers))]


def follow_pointers(goal_id: int, pointers: Mapping[int, int]) -> Sequence[int]:
    """Return the goals that a goal's pointer leads through, up to the last. Pure."""
    through: list[int] = []
    while (next_ := pointers.get(through[-1] if through else goal_id)) is not None:
        through.append(next_)
    return through


def _load_pointers(site_id: int) -> dict[int, int]:
    merged = Goal.objects.filter(site_id=site_id, deleted_at=None, merged_into__isnull=False)
    return dict(merged.values_list("pk", "merged_into_id"))


def _set_pointer(goal: Goal, into: Goal | None) -> None:
    """Set a goal's pointer, and `counts_for` of this goal and of all goals merged into it."""
    now = datetime.now(UTC)
    goals = Goal.objects.filter(site_id=goal.site_id)
    goals.filter(pk=goal.pk).update(merged_into=into, updated_at=now)
    pointers = _load_pointers(goal.site_id)
    for id_ in list_merged_below(goal):
        through = follow_pointers(id_, pointers)
        goals.filter(pk=id_).update(counts_for=through[-1] if through else None)
    goal.refresh_from_db()


def _final_goal(goal: Goal) -> Goal:
    return goal.counts_for or goal


def _require_mergeable(goal: Goal, into: Goal) -> None:
    if goal.deleted_at or into.deleted_at:
        raise MergeError("One of these goals has been deleted.")
    if goal.site_id != into.site_id:
        raise MergeError("These goals belong to two sites.")
    if goal.merged_into_id is not None:
        raise MergeError(f"Goal {goal.pk} is merged already, into goal {goal.merged_into_id}. Take that back first.")
    if _final_goal(into).pk == goal.pk:
        raise MergeError("A goal cannot be merged into itself, nor into what is merged into it.")
