"""Segments as people ask about them: states, members, and the reasons why one person is in them or not.

Members by page, entries and exits are in cohorts.segments.listing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from api.digest.segments import load_outside
from api.models import Site
from cohorts.models import CustomData, Identity
from cohorts.segment_tables import Segment
from cohorts.segments import listing, membership, saving
from cohorts.segments.conditions import CompiledSegment, Condition, Conditions, read_conditions, references_of
from cohorts.segments.evaluation import Judgement, judge
from cohorts.segments.membership import MemberRow
from cohorts.segments.persons import find_roots, load_persons
from cohorts.segments.saving import Preview

MOST_COUNTED_IN_LIST: Final = 20_000  # members of each segment; its own page counts further


class SegmentState(StrEnum):
    """Progress of the search for the members of a segment."""

    FILLING = "filling"  # a sweep looks for the members of its present version
    READY = "ready"


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """A segment with its size and what depends on it."""

    segment: Segment
    members: int  # found so far while it is filling
    is_counted: bool  # otherwise there may be more members
    dependents: Sequence[Segment]  # that name it, also through others, by id
    custom_data: Sequence[int]  # indexes that are filled from it

    @property
    def state(self) -> SegmentState:
        return SegmentState.READY if self.segment.is_filled else SegmentState.FILLING

    @property
    def percent(self) -> int:
        """Return the share of identifiers that were looked at, 100 once the segment is ready."""
        if self.segment.is_filled:
            return 100
        return min(99, self.segment.swept * 100 // max(1, self.segment.to_sweep))


@dataclass(frozen=True, slots=True)
class ConditionReason:
    """A condition and its result for a person."""

    condition: Condition
    holds: bool
    until: datetime | None  # when time alone turns it


@dataclass(frozen=True, slots=True)
class SegmentReason:
    """The result of a segment for a person, with that of each condition: one of each group has to hold."""

    segment: Segment
    is_member: bool  # by the facts that are known now
    since: datetime | None  # None if it was never otherwise, or since a change of the segment
    until: datetime | None  # when time alone turns it
    groups: Sequence[Sequence[ConditionReason]]
    is_served: bool | None  # as remote data has it; None while the segment is filling


def find_segments(site_id: int) -> list[Segment]:
    """Return the segments of a site by name. One query."""
    return list(Segment.objects.filter(site_id=site_id).select_related("site").order_by("sort_key", "name"))


def report(
    site_id: int, segments: Sequence[Segment], *, now: datetime, most: int = MOST_COUNTED_IN_LIST
) -> list[SegmentReport]:
    """Return these segments with their sizes, each among `most` memberships at most. Three queries."""
    counts = listing.count_members(site_id, segments, now=now, most=most) if segments else {}
    by_id = {segment.pk: segment for segment in Segment.objects.filter(site_id=site_id)}
    naming = find_naming(by_id)
    filled = defaultdict[str, list[int]](list)
    rows = CustomData.objects.filter(site_id=site_id, filled_from=CustomData.Filling.SEGMENT)
    for index, filling in rows.values_list("index", "filling"):
        filled[filling].append(index)
    return [
        SegmentReport(
            segment,
            members=counts[segment.pk].members,
            is_counted=counts[segment.pk].is_complete,
            dependents=[by_id[id_] for id_ in naming.get(segment.pk, ())],
            custom_data=filled[str(segment.pk)],
        )
        for segment in segments
    ]


def report_one(segment: Segment, *, now: datetime) -> SegmentReport:
    """Return a segment with its size. Three queries."""
    (reported,) = report(segment.site_id, [segment], now=now, most=listing.MOST_COUNTED)
    return reported


def find_naming(segments: Mapping[int, Segment]) -> dict[int, list[int]]:
    """Return the segments that name each one, also through others, by id. Pure."""
    naming = defaultdict[int, set[int]](set)
    for id_, segment in segments.items():
        for named in references_of(read_conditions(segment.conditions)):
            naming[named].add(id_)
    found: dict[int, list[int]] = {}
    for id_ in segments:
        seen, to_do = set[int](), [id_]
        while to_do:
            more = naming[to_do.pop()] - seen
            seen |= more
            to_do += more
        found[id_] = sorted(seen & segments.keys() - {id_})
    return found


def preview(site: Site, conditions: Conditions, *, segment: Segment | None, now: datetime) -> Preview:
    """Return whom conditions would hold, and who would enter and leave if `segment` had them. Nothing is written."""
    return saving.preview(
        site.pk,
        conditions,
        segment_id=None if segment is None else segment.pk,
        load_outside=load_outside,
        company_is_group=site.company_is_group,
        now=now,
    )


def explain(site: Site, id_: str, *, now: datetime) -> list[SegmentReason] | None:
    """Return the result of each segment of a site for the person of an id, by name. None for an unknown id.

    An id is looked up as user, then visitor, then anonymous id, as remote data does. Nine queries, one more for each
    kind of facts that the segments ask for.
    """
    key = Identity.objects.filter(site=site, kind__in=Identity.Kind.values, value=id_).order_by("kind")
    found = key.values_list("kind", "value").first()
    if found is None:
        return None
    segments = membership.read_segments(site.pk)
    if segments is None:
        return []
    roots = find_roots(site.pk, [found])
    persons = load_persons(site.pk, roots.values())
    if not persons:  # erased meanwhile
        return None
    (person,) = persons
    facts = membership.load_facts(
        site.pk,
        [(segments.needs, persons)],
        load_outside=load_outside,
        company_is_group=site.company_is_group,
        now=now,
        fillings=segments.fillings,
    )
    judgements = judge(segments.ordered, facts[person.root], now=now)
    rows = {row.segment_id: row for row in membership.read_members(site.pk, person.ids).get(person.root_id, ())}
    left = {id_: at for id_, (at, is_in) in listing.load_last_changes(site.pk, person.ids).items() if not is_in}
    stored = {segment.pk: segment for segment in find_segments(site.pk)}
    reasons = [
        _reason(
            stored[compiled.id],
            compiled,
            judgements[compiled.id],
            row=rows.get(compiled.id),
            left=left.get(compiled.id),
            is_filled=compiled.id in segments.filled,
            now=now,
        )
        for compiled in segments.ordered
        if compiled.id in stored  # otherwise deleted meanwhile
    ]
    places = {id_: place for place, id_ in enumerate(stored)}
    return sorted(reasons, key=lambda reason: places[reason.segment.pk])


def _reason(
    segment: Segment,
    compiled: CompiledSegment,
    judgement: Judgement,
    *,
    row: MemberRow | None,
    left: datetime | None,
    is_filled: bool,
    now: datetime,
) -> SegmentReason:
    was_member, since = False, None
    if row is not None and row.version == compiled.version:
        was_member, since = row.at(now)
    elif left is not None and left >= segment.updated_at:  # no row is kept of one who has left
        since = left
    return SegmentReason(
        segment,
        is_member=judgement.is_member,
        since=since if was_member == judgement.is_member else None,
        until=judgement.until,
        groups=[
            [
                ConditionReason(condition, signal.holds, signal.next_turn)
                for condition, signal in zip(*pair, strict=True)
            ]
            for pair in zip(compiled.conditions, judgement.conditions, strict=True)
        ],
        is_served=was_member if was_member or is_filled else None,
    )
