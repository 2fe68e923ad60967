"""Memberships of segments, as the transaction that changes a person keeps them.

The root of each person that is evaluated is locked, so that of two transactions the later sees all facts. A transaction
that does not know the newest version of a segment began before its sweep, which waits for such transactions.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

import msgspec
from django.db import connection

from cohorts import merge
from cohorts.changes import Fact, IdentityKey
from cohorts.identities import LostRaceError, find_held
from cohorts.models import CustomData
from cohorts.segment_tables import SegmentRecheck
from cohorts.segments.conditions import CompiledSegment, decode_conditions
from cohorts.segments.evaluation import find_signals
from cohorts.segments.facts import FilledCustomData, OutsideFacts, PersonFacts, facts_of, group_of, seen_by_registers
from cohorts.segments.needs import SegmentNeeds, find_custom_data
from cohorts.segments.persons import JoinedPerson, Known, find_roots, load_ordinary
from cohorts.segments.signals import Signal
from cohorts.segments.site_segments import MOST_SITES, NONE, Part, SegmentRow, SiteSegments, compile_segments

Item = TypeVar("Item")
MOST_WALKS: Final = 3  # before a batch begins again
NOTHING_OUTSIDE: Final = OutsideFacts()
Asked = Sequence[tuple[SegmentNeeds, Sequence[JoinedPerson]]]  # persons with what their segments ask for
LoadOutside = Callable[[int, Asked, datetime], Mapping[IdentityKey, OutsideFacts]]


class MemberRow(NamedTuple):
    """A stored membership."""

    segment_id: int
    identity_id: int
    version: int
    is_member: bool
    since: datetime
    until: datetime | None
    id: int = 0  # of the row, 0 if it is new

    def at(self, now: datetime) -> tuple[bool, datetime]:
        """Return the membership and its beginning at a time, also if time has turned it since it was stored."""
        if self.until is not None and self.until <= now:
            return not self.is_member, self.until
        return self.is_member, self.since


class Entry(NamedTuple):
    """An entry into or an exit from a segment."""

    segment_id: int
    identity_id: int
    at: datetime
    is_member: bool


@dataclass(slots=True)
class MembershipWrites:
    """Rows that the evaluation of persons changes."""

    segments: SiteSegments
    now: datetime
    kept: list[MemberRow] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)  # ids of rows
    entries: list[Entry] = field(default_factory=list)

    def add(
        self, person: JoinedPerson, stored: Sequence[MemberRow], signals: Mapping[int, Signal], *, part: Part
    ) -> None:
        """Add the differences between the stored memberships of a person and the signals, of a part of the segments."""
        by_segment = defaultdict[int, list[MemberRow]](list)
        for row in stored:
            if row.segment_id in part.ids:
                by_segment[row.segment_id].append(row)
            if row.identity_id != person.root_id and (row.segment_id in part.ids or part.ids == self.segments.ids):
                self.removed.append(row.id)
        for segment in part.ordered:
            if segment.id not in part.ids:
                continue
            signal = signals[segment.id]
            rows = by_segment.get(segment.id)
            if rows:
                row = min(rows, key=lambda row: (row.identity_id != person.root_id, row.since))
                self._add_changed(segment, person.root_id, row, signal)
            elif signal.holds or signal.turns:
                self._add_new(segment, person.root_id, signal)

    def _add_new(self, segment: CompiledSegment, root_id: int, signal: Signal) -> None:
        new = MemberRow(segment.id, root_id, segment.version, signal.holds, self.now, signal.next_turn)
        self.kept.append(new)
        if signal.holds and segment.id in self.segments.filled:
            self.entries.append(Entry(segment.id, root_id, self.now, is_member=True))

    def _add_changed(self, segment: CompiledSegment, root_id: int, row: MemberRow, signal: Signal) -> None:
        was_member, since = row.at(self.now)
        if was_member != signal.holds:
            since = self.now
        if row.version == segment.version and row.is_member != signal.holds and segment.id in self.segments.filled:
            self.entries.append(Entry(segment.id, root_id, since, signal.holds))
        new = MemberRow(segment.id, root_id, segment.version, signal.holds, since, signal.next_turn, row.id)
        if new.is_member or new.until is not None:
            if new != row:
                self.kept.append(new)
        elif row.identity_id == root_id:
            self.removed.append(row.id)


def read_segments(site_id: int) -> SiteSegments | None:
    """Return the segments of a site, None without any. One query, two if one asks for custom data."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, name, version, conditions::text, is_filled, counted_goals::text FROM cohorts_segment
             WHERE site_id = %s ORDER BY id
            """,
            [site_id],
        )
        rows = tuple(map(SegmentRow._make, cursor.fetchall()))
    if not rows:
        return None
    return compile_segments(rows, tuple(read_filled(site_id, find_indexes(tuple(row.conditions for row in rows)))))


@lru_cache(maxsize=MOST_SITES)
def find_indexes(conditions: tuple[str, ...]) -> frozenset[int]:
    """Return the indexes of custom data for which stored conditions of a site ask. The digest asks with each batch."""
    return frozenset(index for each in conditions for index in find_custom_data(decode_conditions(each)))


@dataclass(frozen=True, slots=True)
class Batch:
    """The identities that a transaction has locked, and what changed of their persons."""

    turned: Mapping[IdentityKey, AbstractSet[int]]  # the segments that changed facts may turn
    restamped: Mapping[IdentityKey, AbstractSet[Fact]] = field(default_factory=dict)
    known: Known = field(default_factory=dict)  # as the transaction wrote them
    locked: AbstractSet[IdentityKey] = frozenset()  # beside these


def update(
    site_id: int,
    batch: Batch,
    *,
    segments: SiteSegments,
    load_outside: LoadOutside,
    company_is_group: bool,
    now: datetime,
    most: int | None = None,
) -> int:
    """Evaluate persons again and return how many there were. Call it inside a transaction.

    A fact that has only a later stamp concerns persons that have it at several identities. Another of these values may
    have been the latest. Persons of more than `most` identities are noted for the background.

    Raises LostRaceError if the root of a person is locked by another transaction: then lock it in the order of the keys
    and begin again. Some four queries, and one for each kind of facts beside the registers; three more if memberships
    change. What the batch knows is not read.
    """
    leads_to = lock_roots(site_id, batch)
    turned = _by_root(batch.turned, leads_to)
    watched = _by_root(batch.restamped, leads_to)
    roots = sorted(turned.keys() | watched.keys())
    persons, large = load_ordinary(
        site_id,
        roots,
        most=most,
        known=batch.known,
        watched=watched,
        only_if_shared=watched.keys() - turned.keys(),
    )
    note_people(site_id, large)
    parts = defaultdict[frozenset[int], list[JoinedPerson]](list)
    for person in persons:
        ids = turned.get(person.root, NONE) | segments.find_turned(person.shared)
        if ids:
            parts[ids].append(person)
    new = {identity.id for identity in batch.known.values() if identity.is_new}
    asked = [id_ for its in parts.values() for person in its for id_ in person.ids if id_ not in new]
    stored = read_members(site_id, asked)
    facts = load_facts(
        site_id,
        [(segments.part(ids).needs, its) for ids, its in parts.items()],
        load_outside=load_outside,
        company_is_group=company_is_group,
        now=now,
        fillings=segments.fillings,
    )
    writes = MembershipWrites(segments, now)
    for ids, its in parts.items():
        part = segments.part(ids)
        for person in its:
            rows = [row for id_ in person.ids for row in stored.get(id_, ())]
            signals = find_signals(part.judges, facts[person.root], now=now)
            writes.add(person, rows, signals, part=part)
    write(site_id, writes)
    return len(persons)


def _by_root(
    sets: Mapping[IdentityKey, AbstractSet[Item]], leads_to: Mapping[IdentityKey, IdentityKey]
) -> dict[IdentityKey, frozenset[Item]]:
    by_root = defaultdict[IdentityKey, frozenset[Item]](frozenset)
    for key, items in sets.items():
        if key in leads_to:
            by_root[leads_to[key]] |= items
    return by_root


def lock_roots(site_id: int, batch: Batch) -> dict[IdentityKey, IdentityKey]:
    """Return the root of each identity of a batch, all of them locked.

    Roots that no event of the batch names are locked out of the order of the keys. No deadlock can arise, because
    nothing is waited for. Raises LostRaceError with those that another transaction has locked.
    """
    keys = batch.turned.keys() | batch.restamped.keys()
    locked = set(batch.locked)
    for _ in range(MOST_WALKS):
        leads_to = find_roots(site_id, keys, batch.known)
        missing = {root for root in leads_to.values() if root not in batch.known and root not in locked}
        if not missing:
            return leads_to
        if held := find_held(site_id, sorted(missing)):
            raise LostRaceError(held)
        locked |= missing  # now look again, because an identity between may have moved before the lock
    raise LostRaceError(missing)


def note_people(site_id: int, ids: Collection[int]) -> None:
    """Note identities whose persons are evaluated again in the background. One query, if any."""
    SegmentRecheck.objects.bulk_create(SegmentRecheck(site_id=site_id, identity_id=id_) for id_ in ids)


def load_facts(
    site_id: int,
    asked: Asked,
    *,
    load_outside: LoadOutside,
    company_is_group: bool,
    now: datetime,
    fillings: Sequence[FilledCustomData],
) -> dict[IdentityKey, PersonFacts]:
    """Return the facts of each person by its root, of each those that its segments ask for."""
    groups = {
        person.root: group_of(person.registers, company_is_group=company_is_group)
        for _, persons in asked
        for person in persons
    }
    registers = load_groups(
        site_id, [groups[person.root] for needs, persons in asked if needs.group_traits for person in persons]
    )
    outside = load_outside(site_id, asked, now)
    facts: dict[IdentityKey, PersonFacts] = {}
    for needs, persons in asked:
        for person in persons:
            group, found = groups[person.root], outside.get(person.root, NOTHING_OUTSIDE)
            if needs.seen:
                found = found.seen_also(
                    *seen_by_registers(person.registers, first=person.first_seen, last=person.last_seen)
                )
            facts[person.root] = facts_of(
                person.registers,
                group=group,
                group_registers=registers.get(group or "", {}),
                filled=fillings if needs.custom_data else (),
                outside=found,
            )
    return facts


def load_groups(site_id: int, groups: Iterable[str | None]) -> dict[str, merge.Registers]:
    """Return the registers of these groups. One query, if any is named."""
    ids = sorted({group for group in groups if group is not None})
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT group_id, registers::text FROM cohorts_group WHERE site_id = %b AND group_id = ANY(%b::text[])",
            [site_id, ids],
        )
        return {group: msgspec.json.decode(text) for group, text in cursor.fetchall()}


def read_filled(site_id: int, indexes: Collection[int]) -> list[FilledCustomData]:
    """Return those of these custom data that Goalpost fills. One query, if any is named."""
    if not indexes:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT index, filled_from, filling FROM cohorts_customdata
             WHERE site_id = %s AND index = ANY(%b::int[]) AND filled_from <> %s ORDER BY index
            """,
            [site_id, list(indexes), CustomData.Filling.SDK],
        )
        return [FilledCustomData(*row) for row in cursor.fetchall()]


def read_members(site_id: int, ids: Sequence[int]) -> dict[int, list[MemberRow]]:
    """Return the stored memberships of these identities, by identity. One query, if there are any."""
    found = defaultdict[int, list[MemberRow]](list)
    if not ids:
        return found
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT segment_id, identity_id, version, is_member, since, until, id FROM cohorts_segmentmember
             WHERE site_id = %b AND identity_id = ANY(%b::bigint[])
            """,
            [site_id, list(ids)],
        )
        for row in map(MemberRow._make, cursor.fetchall()):
            found[row.identity_id].append(row)
    return found


def write(site_id: int, writes: MembershipWrites) -> None:
    """Write changed memberships. At most three queries."""
    with connection.cursor() as cursor:
        if writes.removed:
            cursor.execute(
                "DELETE FROM cohorts_segmentmember WHERE site_id = %b AND id = ANY(%b::bigint[])",
                [site_id, writes.removed],
            )
        if writes.kept:
            cursor.execute(
                """
                INSERT INTO cohorts_segmentmember AS m
                       (site_id, segment_id, identity_id, version, is_member, since, until)
                SELECT %b, n.* FROM unnest(%b::bigint[], %b::bigint[], %b::int[], %b::bool[], %b::timestamptz[],
                                           %b::timestamptz[]) AS n
                ON CONFLICT (site_id, identity_id, segment_id) DO UPDATE
                   SET version = excluded.version, is_member = excluded.is_member, since = excluded.since,
                       until = excluded.until
                """,
                [site_id, *(list(column) for column in zip(*(row[:-1] for row in writes.kept), strict=True))],
            )
        if writes.entries:
            cursor.execute(
                """
                INSERT INTO cohorts_segmentchange (site_id, segment_id, identity_id, at, is_member)
                SELECT %b, n.* FROM unnest(%b::bigint[], %b::bigint[], %b::timestamptz[], %b::bool[]) AS n
                """,
                [site_id, *(list(column) for column in zip(*writes.entries, strict=True))],
            )
