"""Creation, edits and removal of segments, and the preview of an edit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import IntegrityError, transaction

from cohorts.changes import IdentityKey
from cohorts.segment_tables import Segment
from cohorts.segments import membership, upkeep
from cohorts.segments.conditions import CompiledSegment, Conditions, write_conditions
from cohorts.segments.evaluation import Judgement, in_order, judge
from cohorts.segments.membership import LoadOutside
from cohorts.segments.needs import SegmentNeeds
from cohorts.segments.persons import find_roots, load_persons

MOST_SEGMENTS: Final = 200  # of a site: a reader of `common` gets all names
MOST_PREVIEWED: Final = 2_000  # identities, some 0.3 s
SAMPLE: Final = 10  # persons that a preview names


class SegmentError(Exception):
    """A segment cannot be saved or removed; the argument is a sentence for people."""


class SegmentNameTakenError(SegmentError):
    """Another segment of the site has the name."""


class SegmentInUseError(SegmentError):
    """Something else needs the segment."""


@dataclass(frozen=True, slots=True)
class Preview:
    """The members that conditions would give, among the people that were looked at."""

    people: int  # that were looked at
    is_complete: bool  # all people of the site
    members: int
    entering: int
    leaving: int
    sample: Sequence[IdentityKey]  # of the members
    entering_sample: Sequence[IdentityKey] = ()
    leaving_sample: Sequence[IdentityKey] = ()
    judgements: Mapping[IdentityKey, Judgement] = field(default_factory=dict)  # of the people that samples name


def create(
    site_id: int,
    *,
    name: str,
    description: str,
    conditions: Conditions,
    counted_goals: Sequence[int] = (),
    id_: int | None = None,
) -> Segment:
    """Insert a segment, which a sweep fills. `counted_goals` are those that count for it. Raises SegmentError.

    Without an id it gets the next one.
    """
    if Segment.objects.filter(site_id=site_id)[:MOST_SEGMENTS].count() == MOST_SEGMENTS:
        raise SegmentError(f"A site may have {MOST_SEGMENTS} segments. Remove one first.")
    try:
        with transaction.atomic():
            return Segment.objects.create(
                pk=id_,
                site_id=site_id,
                name=name,
                description=description,
                conditions=write_conditions(conditions),
                counted_goals=list(counted_goals),
                to_sweep=upkeep.count_identities(site_id),
            )
    except IntegrityError as error:
        raise SegmentNameTakenError("Another segment of the site has this name.") from error


def edit(
    segment: Segment, *, name: str, description: str, conditions: Conditions, counted_goals: Sequence[int] | None = None
) -> Segment:
    """Save a segment. If its conditions change, its members and those of segments that name it are found again.

    Members of the old version do not count from the commit on. Raises SegmentError.
    """
    written = write_conditions(conditions)
    try:
        with transaction.atomic():
            saved = Segment.objects.select_for_update().get(site_id=segment.site_id, pk=segment.pk)
            if saved.conditions != written:
                renew(segment.site_id, [segment.pk, *find_dependents(segment.site_id, segment.pk)])
                saved.refresh_from_db()
            saved.name, saved.description, saved.conditions = name, description, written
            if counted_goals is not None:
                saved.counted_goals = list(counted_goals)
            saved.save(update_fields=["name", "description", "conditions", "counted_goals", "updated_at"])
            return saved
    except IntegrityError as error:
        raise SegmentNameTakenError("Another segment of the site has this name.") from error


def renew(site_id: int, ids: Sequence[int]) -> None:
    """Begin a new version of segments, in the order of their ids, which a sweep fills."""
    to_sweep = upkeep.count_identities(site_id)
    for segment in Segment.objects.select_for_update().filter(site_id=site_id, pk__in=ids).order_by("pk"):
        segment.version += 1
        segment.is_filled, segment.sweep, segment.swept_to, segment.swept = False, True, None, 0
        segment.sweep_after, segment.to_sweep = None, to_sweep
        segment.save(
            update_fields=[
                *("version", "is_filled", "sweep", "sweep_after", "swept_to", "swept", "to_sweep", "updated_at")
            ]
        )


def remove(segment: Segment) -> None:
    """Delete a segment. Raises SegmentError if another segment names it.

    Nothing reads its members, entries and exits from then on. There may be millions, so that a worker deletes them.
    """
    if find_dependents(segment.site_id, segment.pk):
        raise SegmentInUseError("Another segment names this one in its conditions. Edit that first.")
    # Django's cascade would load the rows.
    Segment.objects.filter(site_id=segment.site_id, pk=segment.pk)._raw_delete("default")  # noqa: SLF001


def find_dependents(site_id: int, segment_id: int) -> list[int]:
    """Return the segments that name this one, also through others. One query."""
    segments = membership.read_segments(site_id)
    return sorted(segments.with_naming([segment_id]) - {segment_id}) if segments else []


def preview(
    site_id: int,
    conditions: Conditions,
    *,
    segment_id: int | None,
    load_outside: LoadOutside,
    company_is_group: bool,
    now: datetime,
) -> Preview:
    """Return the members that conditions would give, among the first 2,000 identities. Nothing is written."""
    stored = membership.read_segments(site_id)
    others = [each for each in stored.ordered if each.id != segment_id] if stored else []
    tried = CompiledSegment(segment_id or 0, "", 0, conditions)
    segments = in_order([*others, tried])
    page = upkeep.next_identities(site_id, None, MOST_PREVIEWED)
    roots = find_roots(site_id, [key for _, key in page])
    persons = load_persons(site_id, sorted({root for key, root in roots.items() if key == root}))
    needs = SegmentNeeds.of(segments)
    facts = membership.load_facts(
        site_id,
        [(needs, persons)],
        load_outside=load_outside,
        company_is_group=company_is_group,
        now=now,
        fillings=membership.read_filled(site_id, needs.custom_data),
    )
    edited = next((each for each in stored.ordered if each.id == segment_id), None) if stored else None
    before = _find_members(site_id, edited, [person.root_id for person in persons], now)
    judgements = {person.root: judge(segments, facts[person.root], now=now)[tried.id] for person in persons}
    found = [person for person in persons if judgements[person.root].is_member]
    after = {person.root_id for person in found}
    sample = [person.root for person in found[:SAMPLE]]
    entering = [person.root for person in found if person.root_id not in before][:SAMPLE]
    leaving = [person.root for person in persons if person.root_id in before - after][:SAMPLE]
    return Preview(
        people=len(persons),
        is_complete=len(page) < MOST_PREVIEWED,
        members=len(found),
        entering=len(after - before),
        leaving=len(before - after),
        sample=sample,
        entering_sample=entering,
        leaving_sample=leaving,
        judgements={root: judgements[root] for root in (*sample, *entering, *leaving)},
    )


def _find_members(site_id: int, segment: CompiledSegment | None, ids: Sequence[int], now: datetime) -> set[int]:
    """Return those of these identities that are in a segment under its present version."""
    if segment is None:
        return set()
    key = (segment.id, segment.version)
    rows = membership.read_members(site_id, ids).values()
    return {row.identity_id for its in rows for row in its if (row.segment_id, row.version) == key and row.at(now)[0]}
