"""Check of segments: the stored memberships are those that the evaluator gives for the facts of each person."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Final

from api.checks.base import Counts, Difference, of_site, stream
from api.digest.segments import load_outside
from api.models import Site
from cohorts.changes import IdentityKey
from cohorts.identities import as_columns
from cohorts.segment_tables import Segment, SegmentRecheck
from cohorts.segments import membership
from cohorts.segments.conditions import CompiledSegment, references_of
from cohorts.segments.evaluation import judge
from cohorts.segments.membership import MemberRow
from cohorts.segments.persons import JoinedPerson, find_roots, load_persons
from cohorts.segments.signals import Signal
from cohorts.segments.site_segments import SiteSegments
from cohorts.segments.upkeep import find_keys

PERSONS: Final = 500  # at once
MEANING: Final = (
    "A stored membership of a segment differs from what the facts of the person say. Please report it as a defect. "
    "Save the conditions of the segment again, which evaluates everybody."
)


def check_segments(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield memberships that contradict the facts.

    Segments that a sweep has to evaluate for everybody, and people who are noted to be evaluated, are left out.
    """
    now = datetime.now(UTC)
    sites = {} if site_id is None else {"pk": site_id}
    for site in Site.objects.filter(**sites):
        segments = membership.read_segments(site.pk)
        if segments is None:
            continue
        counts["segments"] += len(segments.ordered)
        noted = SegmentRecheck.objects.filter(site=site)
        steady = _find_steady(site, segments, set(noted.exclude(segment=None).values_list("segment_id", flat=True)))
        to_recheck = set(noted.exclude(identity=None).values_list("identity_id", flat=True))
        noted_roots = set(find_roots(site.pk, find_keys(site.pk, list(to_recheck)).values()).values())
        for page in _pages(site.pk) if steady else ():
            leads_to = find_roots(site.pk, page)
            roots = sorted({root for key, root in leads_to.items() if key == root})
            persons = [person for person in load_persons(site.pk, roots) if to_recheck.isdisjoint(person.ids)]
            yield from _check_persons(site, segments, steady, persons, now=now, counts=counts)
            below = [key for key, root in leads_to.items() if key != root and root not in noted_roots]
            yield from _check_no_members(site.pk, steady, below)


def _find_steady(site: Site, segments: SiteSegments, noted: AbstractSet[int]) -> set[int]:
    """Return the segments whose members are complete, and that name only such segments."""
    swept = Segment.objects.filter(site=site, sweep=False, is_filled=True).values_list("id", flat=True)
    steady = set(swept) - noted
    for segment in segments.ordered:  # named segments come first
        if not {id_ for id_ in references_of(segment.conditions) if id_ in segments.ids} <= steady:
            steady.discard(segment.id)
    return steady


def _pages(site_id: int) -> Iterator[list[IdentityKey]]:
    page = list[IdentityKey]()
    rows = stream(
        f"SELECT kind, value FROM cohorts_identity i WHERE {of_site('i.site_id')} ORDER BY kind, value",
        {"site": site_id},
    )
    for kind, value in rows:
        page.append((kind, value))
        if len(page) == PERSONS:
            yield page
            page = []
    if page:
        yield page


def _check_persons(
    site: Site,
    segments: SiteSegments,
    steady: AbstractSet[int],
    persons: Sequence[JoinedPerson],
    *,
    now: datetime,
    counts: Counts,
) -> Iterator[Difference]:
    facts = membership.load_facts(
        site.pk,
        [(segments.needs, persons)],
        load_outside=load_outside,
        company_is_group=site.company_is_group,
        now=now,
        fillings=segments.fillings,
    )
    stored = membership.read_members(site.pk, [person.root_id for person in persons])
    for person in persons:
        judgements = judge(segments.ordered, facts[person.root], now=now)
        rows = stored.get(person.root_id, [])
        counts["memberships"] += sum(row.is_member for row in rows)
        for segment in segments.ordered:
            row = next((row for row in rows if row.segment_id == segment.id), None)
            if segment.id in steady and _differs(segment, row, judgements[segment.id].signal, now):
                yield Difference(MEANING, f"segment {segment.id}, identity {person.root_id}")


def _differs(segment: CompiledSegment, row: MemberRow | None, signal: Signal, now: datetime) -> bool:
    """Return True if the stored row of a root and a segment is not the one that its signal asks for. Pure."""
    if row is None:
        return signal.holds or signal.next_turn is not None
    if row.version != segment.version:
        return True
    if row.until is not None and row.until <= now:
        return False  # a worker turns it within a second; meanwhile it may have turned several times
    return row.is_member != signal.holds or row.until != signal.next_turn


def _check_no_members(site_id: int, segment_ids: AbstractSet[int], keys: Sequence[IdentityKey]) -> Iterator[Difference]:
    """Yield the memberships that are kept at these identities, which are no roots."""
    rows = stream(
        """
        SELECT m.segment_id, m.identity_id
          FROM unnest(%(kinds)b::smallint[], %(values)b::text[]) AS k (kind, value), cohorts_identity i,
               cohorts_segmentmember m
         WHERE i.site_id = %(site)b AND i.kind = k.kind AND i.value = k.value
           AND m.site_id = %(site)b AND m.identity_id = i.id
        """,
        {"site": site_id, **as_columns(keys)},
    )
    for segment_id, identity_id in rows:
        if segment_id in segment_ids:
            yield Difference(MEANING, f"segment {segment_id}, identity {identity_id}")
