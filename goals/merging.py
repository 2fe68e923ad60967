"""Goals merged into others, by a pointer: nothing is moved, so taking a merge back restores both (promises N-06).

A conversion keeps the goal that its event led to, also while that is merged; the figures of a goal are those of it and
of all whose pointers lead to it (goals.reports).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import transaction

from goals import quota
from goals.models import Goal
from goals.reports.figures import GoalFigures
from goals.reports.summaries import load_figures


class MergeError(Exception):
    """These two goals cannot be merged; the text says why."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a merge would do to the figures, all of them since ever."""

    goal: GoalFigures
    into: GoalFigures
    union: GoalFigures  # conversions added up, visits and visitors counted anew


def preview_merge(goal: Goal, into: Goal) -> Preview:
    """The figures of two goals, and of both as one. Raises MergeError. Reads all conversions of both; four queries."""
    _require_mergeable(goal, into)
    mine, its = list_merged_below(goal), list_merged_below(_final_goal(into))
    figures = load_figures({0: mine, 1: its, 2: [*mine, *its]})
    return Preview(figures[0], figures[1], figures[2])


def merge(goal: Goal, into: Goal) -> Goal:
    """Have a goal count for another one of its site from now on; the goal that shows the figures of both.

    Its events go on leading to it. With it goes what is merged into it. Raises MergeError.
    """
    with transaction.atomic():
        quota.lock_names(goal.site_id)
        goal.refresh_from_db()
        into.refresh_from_db()
        _require_mergeable(goal, into)
        _set_pointer(goal, into)
        return _final_goal(into)


def unmerge(goal: Goal) -> None:
    """Take a merge back: the goal has its conversions to itself again, those included that came meanwhile.

    What is merged into it stays so. Nothing happens to a goal that is not merged.
    """
    with transaction.atomic():
        quota.lock_names(goal.site_id)
        _set_pointer(goal, None)


def list_merged_into(site_id: int, goal_ids: Collection[int]) -> list[int]:
    """Return what is merged into these goals, directly or by way of others. One query."""
    pointers, wanted = _load_pointers(site_id), set(goal_ids)
    return sorted(
        id_ for id_ in pointers if id_ not in wanted and not wanted.isdisjoint(follow_pointers(id_, pointers))
    )


def list_merged_below(goal: Goal) -> list[int]:
    """A goal and all that is merged into it, by id; the goal first. One query."""
    pointers = _load_pointers(goal.site_id)
    return [goal.pk, *sorted(id_ for id_ in pointers if goal.pk in follow_pointers(id_, pointers))]


def follow_pointers(goal_id: int, pointers: Mapping[int, int]) -> Sequence[int]:
    """The goals that a goal's pointer leads through, to the last. Pure."""
    through: list[int] = []
    while (next_ := pointers.get(through[-1] if through else goal_id)) is not None:
        through.append(next_)
    return through


def _load_pointers(site_id: int) -> dict[int, int]:
    merged = Goal.objects.filter(site_id=site_id, deleted_at=None, merged_into__isnull=False)
    return dict(merged.values_list("pk", "merged_into_id"))


def _set_pointer(goal: Goal, into: Goal | None) -> None:
    """Set a goal's pointer, and where it and those below it end."""
    now = datetime.now(UTC)
    Goal.objects.filter(pk=goal.pk).update(merged_into=into, updated_at=now)
    pointers = _load_pointers(goal.site_id)
    for id_ in list_merged_below(goal):
        through = follow_pointers(id_, pointers)
        Goal.objects.filter(pk=id_).update(counts_for=through[-1] if through else None)
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
