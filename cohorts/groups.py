"""Traits of groups, merged in the order of the group ids."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import msgspec
from django.db import connection

from cohorts import merge
from cohorts.changes import Change, set_traits
from cohorts.identities import AT_ONCE, LostRaceError, read_large, read_registers
from cohorts.models import SIZE, Group


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """The outcome of one change for its group."""

    is_news: bool = False
    has_new_traits: bool = False  # of a group that was there, so that it may have members
    beyond_limits: AbstractSet[str] = frozenset()


def save_groups(site_id: int, changes: Sequence[Change], *, most: int | None) -> list[GroupOutcome]:
    """Merge group traits into their groups, and return the outcome of each change.

    Groups are locked in the order of their ids. A group that is only named is not locked, because the events of all
    people may name it. Raises TooManyBytesError as `lock_identities` does. Three queries, one more for large groups.
    """
    unchanged = find_unchanged_groups(site_id, changes)
    ids = sorted({change.group for change in changes if change.group is not None} - unchanged)
    if not ids:
        return [GroupOutcome()] * len(changes)
    groups, dirty = _lock_groups(site_id, ids, most=most)
    old = set(groups)
    outcomes = []
    for change in changes:
        if change.group is None or change.group in unchanged:
            outcomes.append(GroupOutcome())
            continue
        is_new = change.group not in groups
        moved, beyond = set_traits(groups.setdefault(change.group, {}), change, change.group_traits)
        if is_new or moved.move:
            dirty.add(change.group)
        has_changed = moved.move == merge.Move.CHANGED
        outcomes.append(GroupOutcome(is_new or has_changed, has_changed and change.group in old, beyond))
    _write_groups(site_id, {group: groups[group] for group in sorted(dirty)}, sorted(old))
    return outcomes


def _lock_groups(site_id: int, ids: list[str], *, most: int | None) -> tuple[dict[str, merge.Registers], set[str]]:
    """Lock these groups and return their registers, and the groups that a version without limits wrote too large."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT i.group_id, i.id, i.bytes, {SIZE}, CASE WHEN {SIZE} <= {AT_ONCE} THEN i.registers::text END
              FROM cohorts_group i
             WHERE site_id = %s AND group_id = ANY(%b::text[]) ORDER BY group_id COLLATE "C" FOR UPDATE
            """,
            [site_id, ids],
        )
        rows = cursor.fetchall()
    texts = read_large(site_id, "cohorts_group", [(id_, size, text) for _, id_, _, size, text in rows], most=most)
    groups = {
        group: read_registers(text or texts[id_], is_limited=size is not None) for group, id_, size, _, text in rows
    }
    return groups, {group for group, _, size, estimate, _ in rows if size is None and estimate > AT_ONCE}


def _write_groups(site_id: int, groups: Mapping[str, merge.Registers], old: list[str]) -> None:
    """Insert or update groups. Raises LostRaceError if another worker inserted one that is not in `old`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO cohorts_group AS g (site_id, group_id, registers, bytes, created_at, updated_at)
            SELECT %s, n.group_id, n.registers::jsonb, octet_length(n.registers), now(), now()
              FROM unnest(%b::text[], %b::text[]) AS n (group_id, registers)
            ON CONFLICT (site_id, group_id) DO UPDATE
               SET registers = excluded.registers, bytes = excluded.bytes, updated_at = excluded.updated_at
             WHERE g.group_id = ANY(%b::text[])
            """,
            [site_id, list(groups), [msgspec.json.encode(one).decode() for one in groups.values()], old],
        )
        if cursor.rowcount != len(groups):
            raise LostRaceError


def find_unchanged_groups(site_id: int, changes: Sequence[Change]) -> AbstractSet[str]:
    """Return the groups that are there and of which these changes say no trait. One query, if any is named so."""
    told = {change.group for change in changes if change.group_traits}
    only_named = {change.group for change in changes if change.group is not None} - told
    if not only_named:
        return frozenset()
    return set(Group.objects.filter(site_id=site_id, group_id__in=only_named).values_list("group_id", flat=True))
