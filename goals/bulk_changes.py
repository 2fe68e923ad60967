"""Changes of many goals at once, as goals.catalogue makes them of one goal, in a constant number of queries.

Each function leaves alone what is deleted or merged, and returns how many goals it changed. Call it with a bounded
number of ids: events of the site make no goals until the caller's transaction ends.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Trim

from goals import quota, waiting
from goals.merging import list_merged_into
from goals.models import Goal, GoalBinding, GoalTag, Tag


def select_live_goals(site_id: int, ids: Collection[int]) -> QuerySet[Goal]:
    """Return the goals among these ids of a site that are neither deleted nor merged."""
    return Goal.objects.filter(site_id=site_id, pk__in=ids, deleted_at=None, counts_for=None)


def archive(site_id: int, ids: Collection[int], *, now: datetime) -> int:
    """Archive goals. One query."""
    return select_live_goals(site_id, ids).filter(archived_at=None).update(archived_at=now, updated_at=now)


def restore(site_id: int, ids: Collection[int], *, now: datetime) -> int:
    """Restore archived goals. One query."""
    return select_live_goals(site_id, ids).exclude(archived_at=None).update(archived_at=None, updated_at=now)


def delete(site_id: int, ids: Collection[int], *, now: datetime) -> int:
    """Delete goals and the goals merged into them. Six queries."""
    with transaction.atomic():
        quota.lock_names(site_id)
        live = list(select_live_goals(site_id, ids).values_list("pk", flat=True))
        merged = list_merged_into(site_id, live)
        GoalBinding.objects.filter(site_id=site_id, goal__in=[*live, *merged]).delete()
        Goal.objects.filter(site_id=site_id, pk__in=[*live, *merged], deleted_at=None).update(deleted_at=now)
        waiting.requeue_names(site_id, now=now)
    return len(live)


def tag(site_id: int, ids: Collection[int], name: str) -> int:
    """Add a tag to goals; create it if the site does not have it. Five queries."""
    with transaction.atomic():
        quota.lock_names(site_id)  # otherwise the tag may be merged into another at this moment
        untagged: Sequence[int] = list(
            select_live_goals(site_id, ids).exclude(has_tag(site_id, tag__name=name)).values_list("pk", flat=True)
        )
        if untagged:
            tag_, _ = Tag.objects.get_or_create(site_id=site_id, name=name)
            GoalTag.objects.bulk_create(
                [GoalTag(site_id=site_id, goal_id=goal_id, tag=tag_) for goal_id in untagged], ignore_conflicts=True
            )
    return len(untagged)


def untag(site_id: int, ids: Collection[int], name: str) -> int:
    """Remove a tag from goals. Three queries."""
    with transaction.atomic():
        quota.lock_names(site_id)
        tagged = list(filter_tagged(site_id, select_live_goals(site_id, ids), name).values_list("pk", flat=True))
        GoalTag.objects.filter(site_id=site_id, goal__in=tagged, tag__in=_tags_named(site_id, name)).delete()
    return len(tagged)


def filter_tagged(site_id: int, goals: QuerySet[Goal], name: str) -> QuerySet[Goal]:
    """Return the goals of a site that have a tag of this name, with or without white space around it."""
    return goals.filter(has_tag(site_id, tag__in=_tags_named(site_id, name)))


def has_tag(site_id: int, **condition: Any) -> Exists:
    """Return the condition that a goal has a tag with these fields."""
    return Exists(GoalTag.objects.filter(site_id=site_id, goal=OuterRef("pk"), **condition))


def _tags_named(site_id: int, name: str) -> QuerySet[Tag]:
    """Return the tags of this name. Old tags may have white space around their names."""
    tags = Tag.objects.filter(site_id=site_id).alias(bare_name=Trim("name"))
    return tags.filter(Q(name=name) | Q(bare_name=name))
