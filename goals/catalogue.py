"""Changes of a goal by people: creation, renaming, binding, archiving, deletion. One transaction each."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from django.db import transaction

from goals import merging, quota, visitor_totals, waiting
from goals.matching import EventName
from goals.models import Cancellation, Conversion, Goal, GoalBinding, GoalTag, Tag, WaitingName
from goals.naming import EVENT_NAME_LENGTH, GOAL_TYPES, parse_goal_name
from goals.recording import find_goals_of_events
from site_rows import lock_first

EDITABLE_FIELDS: Final = ("name", "display_name", "type", "description", "has_multiple_conversions")
PURGE_CHUNK = 5_000


class NameTakenError(Exception):
    """Another live goal of the site has this name."""

    def __init__(self, goal_id: int) -> None:
        super().__init__(f"goal {goal_id} has this name already")
        self.goal_id = goal_id


class TagTakenError(Exception):
    """Another tag of the site has this name."""

    def __init__(self, tag_id: int) -> None:
        super().__init__(f"tag {tag_id} has this name already")
        self.tag_id = tag_id


def create_goal(goal: Goal, *, tags: Iterable[str] = (), template: str) -> Goal:
    """Save a goal created by hand, by import or through the API. It consumes no quota (promise K-32).

    `goal` is unsaved and has its site, name and origin. Raises NameTakenError. Releases waiting names that
    lead to it.
    """
    with transaction.atomic():
        quota.lock_names(goal.site_id)
        _require_free(goal)
        goal.save()
        set_tags(goal, tags)
        release_waiting_names(goal.site_id, template=template)
    return goal


def change_goal(
    goal: Goal,
    *,
    fields: Iterable[str] = EDITABLE_FIELDS,
    tags: Iterable[str] | None = None,
    keeps_receiving: bool = False,
    template: str,
) -> Goal:
    """Save the fields that a person edited. Events find a goal that a person renamed by promises K-15 to K-17.

    Only `fields` are written, so that two people may edit two fields at a time. `tags=None` leaves the tags alone.
    `keeps_receiving` binds the events that lead to the goal before its name changes. Raises NameTakenError, and
    Goal.DoesNotExist if it was deleted meanwhile.
    """
    fields = set(fields)
    with transaction.atomic():
        quota.lock_names(goal.site_id)
        before = Goal.objects.get(site_id=goal.site_id, pk=goal.pk, deleted_at=None)
        if keeps_receiving:
            for event in list_events_leading_to(before, template=template):
                bind_event(goal, event, template=template)
        if "name" in fields and goal.name != before.name:
            _require_free(goal)
            goal.is_named_by_event = False
            fields.add("is_named_by_event")
        goal.save(update_fields=[*fields, "updated_at"])
        if tags is not None:
            set_tags(goal, tags)
        if "name" in fields:
            waiting.requeue_names(goal.site_id, now=datetime.now(UTC))  # first, because some may lead to its new name
            release_waiting_names(goal.site_id, template=template)
    return goal


def list_events_of_name(goal_name: str, *, template: str) -> list[EventName]:
    """Return the events that may convert a goal of this name. Pure."""
    names = [*parse_goal_name(goal_name, template=template), *((event_type, goal_name) for event_type in GOAL_TYPES)]
    return [EventName(*name) for name in names if len(name[1]) <= EVENT_NAME_LENGTH]


def list_events_leading_to(goal: Goal, *, template: str) -> list[EventName]:
    """Return the events that convert a goal by its name, without its bindings. One query."""
    events = list_events_of_name(goal.name, template=template)
    goals = find_goals_of_events(goal.site_id, events, template=template)
    return [event for event in events if event in goals and goals[event].id == goal.pk]


def bind_event(goal: Goal, event: EventName, *, template: str) -> GoalBinding:
    """Bind later events of this name to a goal, whatever its name is then ("keep receiving these events")."""
    with transaction.atomic():
        quota.lock_names(goal.site_id)
        binding, _ = GoalBinding.objects.update_or_create(
            site_id=goal.site_id, event_type=event.type, event_name=event.name, defaults={"goal": goal}
        )
        release_waiting_names(goal.site_id, template=template)
    return binding


def unbind_event(binding: GoalBinding) -> None:
    """Remove a binding, so that the event finds its goal by name."""
    with transaction.atomic():
        quota.lock_names(binding.site_id)
        binding.delete()
        waiting.requeue_names(binding.site_id, now=datetime.now(UTC))


def archive_goal(goal: Goal, *, now: datetime) -> Goal:
    """Archive a goal. It still converts, and its conversions are flagged (promise K-19)."""
    goal.archived_at = goal.archived_at or now
    Goal.objects.filter(site_id=goal.site_id, pk=goal.pk).update(archived_at=goal.archived_at, updated_at=now)
    return goal


def restore_goal(goal: Goal) -> Goal:
    """Restore an archived goal."""
    goal.archived_at = None
    now = datetime.now(UTC)
    Goal.objects.filter(site_id=goal.site_id, pk=goal.pk).update(archived_at=None, updated_at=now)
    return goal


def delete_goal(goal: Goal, *, now: datetime) -> None:
    """Delete a goal and the goals merged into it. Their conversions leave every count at once (promise K-18).

    Their names are free. `purge_deleted` removes the rows later, in chunks, so that deleting a goal with millions of
    conversions takes milliseconds.
    """
    with transaction.atomic():
        quota.lock_names(goal.site_id)
        ids = merging.list_merged_below(goal)
        GoalBinding.objects.filter(site_id=goal.site_id, goal__in=ids).delete()
        Goal.objects.filter(site_id=goal.site_id, pk__in=ids, deleted_at=None).update(deleted_at=now)
        waiting.requeue_names(goal.site_id, now=datetime.now(UTC))


def purge_deleted() -> bool:
    """Delete a chunk of a deleted goal's rows, or the goal after its last row. Return False if none is left."""
    with transaction.atomic():
        # Another worker may purge the first one.
        goal = lock_first(Goal.objects.filter(deleted_at__isnull=False).order_by("deleted_at"))
        if goal is None:
            return False
        site_id = goal.site_id
        # In the order of the index of a goal's conversions. By id the scan would pass other goals' rows.
        rows = Conversion.objects.filter(site_id=site_id, goal=goal).order_by("occurred_at", "id")
        chunk = list(rows.values_list("id", flat=True)[:PURGE_CHUNK])
        cancelled = Cancellation.objects.filter(site_id=site_id, goal=goal).order_by("occurred_at", "id")
        if not chunk and (gone := list(cancelled.values_list("id", flat=True)[:PURGE_CHUNK])):
            Cancellation.objects.filter(site_id=site_id, id__in=gone).delete()
        elif chunk:
            Conversion.objects.filter(site_id=site_id, id__in=chunk).delete()
        elif not visitor_totals.purge_visitor_totals(site_id, goal.pk, limit=PURGE_CHUNK):
            goal.delete()
    return True


def clean_tag(name: str) -> str:
    """Return the name of a tag without white space around it. Case counts. Pure."""
    return name.strip()


def set_tags(goal: Goal, names: Iterable[str]) -> None:
    """Set the tags of a goal; create the ones that the site does not have."""
    names = sorted({cleaned for name in names if (cleaned := clean_tag(name))})
    Tag.objects.bulk_create([Tag(site_id=goal.site_id, name=name) for name in names], ignore_conflicts=True)
    tags = Tag.objects.filter(site_id=goal.site_id, name__in=names)
    GoalTag.objects.filter(site_id=goal.site_id, goal=goal).exclude(tag__in=tags).delete()
    add_tag(goal.site_id, tags, [goal.pk])


def add_tag(site_id: int, tags: Iterable[Tag], goal_ids: Iterable[int]) -> None:
    """Add tags to goals that may have them already. One query."""
    goal_ids = list(goal_ids)
    GoalTag.objects.bulk_create(
        [GoalTag(site_id=site_id, goal_id=goal_id, tag=tag) for tag in tags for goal_id in goal_ids],
        ignore_conflicts=True,
    )


def rename_tag(tag: Tag, name: str) -> Tag:
    """Rename a tag. Raises TagTakenError if the site has a tag of that name: merge the two.

    Raises Tag.DoesNotExist if this one was deleted meanwhile. Goals of events get the site's `auto_tag`. Change that,
    too, otherwise the old tag comes back.
    """
    name = clean_tag(name)
    with transaction.atomic():
        quota.lock_names(tag.site_id)
        existing = Tag.objects.filter(site_id=tag.site_id, name=name).exclude(pk=tag.pk).first()
        if existing is not None:
            raise TagTakenError(existing.pk)
        tag = Tag.objects.get(site_id=tag.site_id, pk=tag.pk)
        tag.name = name
        tag.save(update_fields=["name"])
    return tag


def merge_tags(tag: Tag, into: Tag) -> Tag:
    """Move the goals of a tag to another tag of its site and delete the first. This cannot be undone.

    Raises Tag.DoesNotExist if one of them was deleted meanwhile.
    """
    if tag.site_id != into.site_id:
        raise ValueError("these tags belong to two sites")
    with transaction.atomic():
        quota.lock_names(tag.site_id)  # events tag new goals under it
        tag, into = (Tag.objects.get(site_id=old.site_id, pk=old.pk) for old in (tag, into))
        if tag.pk != into.pk:
            tagged = GoalTag.objects.filter(site_id=tag.site_id, tag=tag)
            add_tag(tag.site_id, [into], tagged.values_list("goal_id", flat=True))
            tag.delete()
    return into


def release_waiting_names(site_id: int, *, template: str) -> int:
    """Release the waiting names that have a goal now and return their number. Reads the whole queue of the site."""
    queue = {
        EventName(event_type, event_name): name
        for event_type, event_name, name in WaitingName.objects.filter(site_id=site_id, has_goal=False).values_list(
            "event_type", "event_name", "name"
        )
    }
    released = (
        [queue[event] for event in find_goals_of_events(site_id, list(queue), template=template)] if queue else []
    )
    waiting.mark_created(site_id, released)
    return len(released)


def require_free_name(goal: Goal) -> None:
    """Raise NameTakenError if another live goal of the site has this name. Valid until the transaction ends."""
    quota.lock_names(goal.site_id)
    _require_free(goal)


def _require_free(goal: Goal) -> None:
    existing = Goal.objects.filter(site_id=goal.site_id, name=goal.name, deleted_at=None).exclude(pk=goal.pk).first()
    if existing is not None:
        raise NameTakenError(existing.pk)
