"""Memberships of segments, as the transaction that changes a person keeps them.

Call it with the roots of the persons locked. Segments are read after that lock. Hence of two transactions that evaluate
one person, the later sees all facts and the newest version of each segment.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec
from django.db import connection

from cohorts import merge
from cohorts.changes import IdentityKey
from cohorts.identities import LostRaceError, as_columns
from cohorts.models import CustomData
from cohorts.segments.conditions import CompiledSegment, decode_conditions
from cohorts.segments.evaluation import Judgement, in_order, judge
from cohorts.segments.facts import FilledCustomData, OutsideFacts, PersonFacts, facts_of, group_of
from cohorts.segments.needs import SegmentNeeds
from cohorts.segments.persons import JoinedPerson, find_roots, load_persons
from cohorts.segments.signals import Signal

LoadOutside = Callable[[int, Sequence[JoinedPerson], SegmentNeeds, datetime], Mapping[IdentityKey, OutsideFacts]]


@dataclass(frozen=True, slots=True)
class SiteSegments:
    """The segments of a site, those that others name first, and what they ask for."""

    ordered: Sequence[CompiledSegment]
    filled: AbstractSet[int]  # everybody was evaluated under their present version
    needs: SegmentNeeds
    counted_goals: AbstractSet[int]

    @property
    def ids(self) -> AbstractSet[int]:
        """Return the ids of the segments."""
        return {segment.id for segment in self.ordered}


class MemberRow(NamedTuple):
    """A stored membership."""

    segment_id: int
    identity_id: int
    version: int
    is_member: bool
    since: datetime
    until: datetime | None

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
    removed: list[tuple[int, int]] = field(default_factory=list)  # (identity, segment)
    entries: list[Entry] = field(default_factory=list)

    def add(self, person: JoinedPerson, stored: Sequence[MemberRow], judgements: Mapping[int, Judgement]) -> None:
        """Add the differences between the stored memberships of a person and the judgements."""
        by_segment = defaultdict[int, list[MemberRow]](list)
        for row in stored:
            by_segment[row.segment_id].append(row)
            if row.identity_id != person.root_id:
                self.removed.append((row.identity_id, row.segment_id))
        for segment in self.segments.ordered:
            signal = judgements[segment.id].signal
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
        new = MemberRow(segment.id, root_id, segment.version, signal.holds, since, signal.next_turn)
        if new.is_member or new.until is not None:
            if new != row:
                self.kept.append(new)
        elif row.identity_id == root_id:
            self.removed.append((root_id, segment.id))


def read_segments(site_id: int) -> SiteSegments | None:
    """Return the segments of a site, None without any. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, name, version, conditions::text, is_filled, counted_goals FROM cohorts_segment
             WHERE site_id = %s
            """,
            [site_id],
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    segments = in_order(
        CompiledSegment(id_, name, version, decode_conditions(text)) for id_, name, version, text, _, _ in rows
    )
    return SiteSegments(
        segments,
        frozenset(id_ for id_, _, _, _, is_filled, _ in rows if is_filled),
        SegmentNeeds.of(segments),
        frozenset(goal for *_, goals in rows for goal in msgspec.json.decode(goals)),
    )


def update(
    site_id: int,
    keys: Collection[IdentityKey],
    *,
    segments: SiteSegments,
    locked: AbstractSet[IdentityKey],
    load_outside: LoadOutside,
    company_is_group: bool,
    now: datetime,
) -> int:
    """Evaluate the persons of these identities again and return how many there were. Call it inside a transaction.

    Raises LostRaceError if the root of one is not locked: then lock it in the order of the keys and begin again. Four
    queries, and one for each kind of facts beside the registers. Three more if memberships change. One more if a person
    is too large to be read in full.
    """
    leads_to = find_roots(site_id, keys)
    roots = set(leads_to.values())
    if missing := roots - locked:
        raise LostRaceError(missing)
    persons = load_persons(site_id, sorted(roots))
    facts = load_facts(
        site_id, persons, segments.needs, load_outside=load_outside, company_is_group=company_is_group, now=now
    )
    stored = read_members(site_id, [id_ for person in persons for id_ in person.ids])
    writes = MembershipWrites(segments, now)
    for person in persons:
        judgements = judge(segments.ordered, facts[person.root], now=now)
        writes.add(person, [row for id_ in person.ids for row in stored.get(id_, ())], judgements)
    write(site_id, writes)
    read = {key for person in persons for key in person.keys}
    delete_members_of(site_id, [key for key, root in leads_to.items() if key != root and key not in read])
    return len(persons)


def load_facts(
    site_id: int,
    persons: Sequence[JoinedPerson],
    needs: SegmentNeeds,
    *,
    load_outside: LoadOutside,
    company_is_group: bool,
    now: datetime,
) -> dict[IdentityKey, PersonFacts]:
    """Return the facts of each person by its root."""
    groups = {person.root: group_of(person.registers, company_is_group=company_is_group) for person in persons}
    registers = load_groups(site_id, groups.values()) if needs.group_traits else {}
    filled = read_filled(site_id, needs.custom_data)
    outside = load_outside(site_id, persons, needs, now)
    return {
        person.root: facts_of(
            person.registers,
            group=(group := groups[person.root]),
            group_registers=registers.get(group or "", {}),
            filled=filled,
            outside=outside.get(person.root, OutsideFacts()),
        )
        for person in persons
    }


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
    rows = CustomData.objects.filter(site_id=site_id, index__in=indexes).exclude(filled_from=CustomData.Filling.SDK)
    return [FilledCustomData(*row) for row in rows.values_list("index", "filled_from", "filling")]


def read_members(site_id: int, ids: Sequence[int]) -> dict[int, list[MemberRow]]:
    """Return the stored memberships of these identities, by identity. One query."""
    found = defaultdict[int, list[MemberRow]](list)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT segment_id, identity_id, version, is_member, since, until FROM cohorts_segmentmember
             WHERE site_id = %b AND identity_id = ANY(%b::bigint[])
            """,
            [site_id, list(ids)],
        )
        for row in map(MemberRow._make, cursor.fetchall()):
            found[row.identity_id].append(row)
    return found


def delete_members_of(site_id: int, keys: Collection[IdentityKey]) -> None:
    """Delete the memberships that are kept at these identities. One query, if there are any."""
    if not keys:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM cohorts_segmentmember m
             USING unnest(%(kinds)b::smallint[], %(values)b::text[]) AS k (kind, value), cohorts_identity i
             WHERE i.site_id = %(site)b AND i.kind = k.kind AND i.value = k.value
               AND m.site_id = %(site)b AND m.identity_id = i.id
            """,
            {"site": site_id, **as_columns(keys)},
        )


def write(site_id: int, writes: MembershipWrites) -> None:
    """Write changed memberships. At most three queries."""
    with connection.cursor() as cursor:
        if writes.removed:
            identities, segments = zip(*writes.removed, strict=True)
            cursor.execute(
                """
                DELETE FROM cohorts_segmentmember m USING unnest(%b::bigint[], %b::bigint[]) AS gone (identity, segment)
                 WHERE m.site_id = %b AND m.identity_id = gone.identity AND m.segment_id = gone.segment
                """,
                [list(identities), list(segments), site_id],
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
                [site_id, *(list(column) for column in zip(*writes.kept, strict=True))],
            )
        if writes.entries:
            cursor.execute(
                """
                INSERT INTO cohorts_segmentchange (site_id, segment_id, identity_id, at, is_member)
                SELECT %b, n.* FROM unnest(%b::bigint[], %b::bigint[], %b::timestamptz[], %b::bool[]) AS n
                """,
                [site_id, *(list(column) for column in zip(*writes.entries, strict=True))],
            )
