"""Segments of the people that a batch touched, and their upkeep: where facts of goals meet those of people."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import product
from typing import Final

from api.digest.site_config import SiteConfig
from api.digest.touched import TouchedFacts
from api.digest.trouble import trouble_of
from api.models import Site
from cohorts.changes import IdentityKey
from cohorts.models import Identity
from cohorts.segment_tables import Segment
from cohorts.segments import membership, upkeep
from cohorts.segments.conditions import CompiledSegment, Conditions, GroupTraitCondition, flatten
from cohorts.segments.facts import ConvertedGoal, GoalConversion, OutsideFacts
from cohorts.segments.membership import Asked
from cohorts.segments.needs import SegmentNeeds
from cohorts.segments.persons import JoinedPerson
from cohorts.segments.site_segments import SiteSegments
from goals import by_visitor, moments
from goals.totals import MovedConversion
from sessions import is_older_writer_at_work, read_next_transaction, read_oldest_transaction
from times import EPOCH

KEEP_CHANGES: Final = timedelta(days=400)  # entries and exits
PRUNED: Final = 5_000  # of them at once
LOOKUP_LASTS: Final = 2.0  # seconds for which a worker remembers that a site has no segments
# Of a person, some 30 ms. Larger ones are evaluated in the background, because senders link as many as they like.
MOST_IDENTITIES: Final = 1_000


@cache
def _without_segments() -> dict[int, float]:
    """Return the sites without segments, each with the monotonic time at which this process looks again."""
    return {}


def forget_lookups() -> None:
    """Forget which sites have no segments."""
    _without_segments().clear()


def has_segments(site_id: int) -> bool:
    """Return True if a site has segments, as `read_segments` does."""
    return read_segments(site_id) is not None


def read_segments(site_id: int) -> SiteSegments | None:
    """Return the segments of a site, None without any. One query, none for two seconds after one that found none.

    A sweep begins after that time, so that it comes to the people of batches that did not know of the first segment.
    """
    if _without_segments().get(site_id, 0) > time.monotonic():
        return None
    looked_up_at = time.monotonic()
    segments = membership.read_segments(site_id)
    if segments is None:
        _without_segments()[site_id] = looked_up_at + LOOKUP_LASTS
    return segments


def follow(config: SiteConfig, segments: SiteSegments, touched: TouchedFacts, *, now: datetime) -> None:
    """Evaluate the people again whom a batch touched. Call it last in the transaction.

    Raises LostRaceError if another transaction has locked a person. No query if no fact changed that segments ask for.
    """
    batch = touched.find_batch(segments)
    if batch.turned or batch.restamped:
        membership.update(
            config.site_id,
            batch,
            segments=segments,
            load_outside=load_outside,
            company_is_group=config.company_is_group,
            now=now,
            most=MOST_IDENTITIES,
        )
    if segments.needs.group_traits and any(each.has_new_group_traits for each in touched.outcome.applied):
        upkeep.note_segments(config.site_id, find_by_group_traits(segments, touched))


def find_by_group_traits(segments: SiteSegments, touched: TouchedFacts) -> list[int]:
    """Return the segments that ask for group traits that a batch changed. Pure."""
    names = {
        name
        for change, applied in zip(touched.changes, touched.outcome.applied, strict=True)
        if applied.has_new_group_traits
        for name in change.group_traits
    }
    return [
        segment.id
        for segment in segments.ordered
        if any(
            isinstance(condition, GroupTraitCondition) and condition.path[0] in names
            for condition in flatten(segment.conditions)
        )
    ]


def note_moved(site_id: int, moved: Sequence[MovedConversion]) -> None:
    """Note the people of whom a step re-keyed conversions, because it has not locked them. Two queries, if any."""
    codes = {code for conversion, before in moved for code in (before[1], conversion.key[1])}
    if codes and has_segments(site_id):
        found = Identity.objects.filter(site_id=site_id, kind__in=Identity.Kind.values, value__in=codes)
        membership.note_people(site_id, list(found.values_list("id", flat=True)))


def note_people(site_id: int, ids: Collection[int]) -> None:
    """Note people whose identities were changed other than by events. One query, if the site has segments."""
    if ids and has_segments(site_id):
        membership.note_people(site_id, ids)


def run_upkeep(*, clock: Callable[[], datetime], until: float) -> None:
    """Turn, recheck and sweep memberships of all sites in turns until a monotonic time, or until none is left."""
    sites = list_sites()
    while sites and time.monotonic() < until:
        sites = [site for site in sites if time.monotonic() < until and _keep_up(site, clock)]


def list_sites() -> list[Site]:
    """Return the sites with segments, in a random order, because a run may end before it comes to the last ones."""
    ids = Segment.objects.values_list("site_id", flat=True).distinct()
    return list(Site.objects.filter(pk__in=list(ids)).order_by("?"))


def _keep_up(site: Site, clock: Callable[[], datetime]) -> bool:
    """Do a step of each kind for a site and return True if there may be more. One that fails has none."""
    work = upkeep.Upkeep(site.pk, site.company_is_group, load_outside, clock)
    has_more = False
    for step in (upkeep.turn_due, upkeep.recheck, sweep_settled):
        with trouble_of(site.pk):
            has_more = step(work) or has_more
    return has_more


def sweep_settled(work: upkeep.Upkeep) -> bool:
    """Do a step of the sweeps of a site that no older transaction can miss. Return True if there was one."""
    sweeps = upkeep.find_sweeps(work.site_id)
    if not sweeps:
        return False
    new = [id_ for id_, after in sweeps.items() if after is None]
    if new and is_settled(work.site_id):
        note_goals(work.site_id, to_begin=new)  # the digest has to know which conversions count before the sweep begins
        upkeep.admit_sweeps(work.site_id, new, after=read_next_transaction())
    return upkeep.sweep(work, oldest=read_oldest_transaction())


def is_settled(site_id: int) -> bool:
    """Return True if every batch that is at work knows that the site has segments. Two queries at most."""
    if Segment.objects.filter(site_id=site_id, is_filled=True).exists():
        return True
    first = Segment.objects.filter(site_id=site_id).earliest("created_at").created_at
    known_from = first + timedelta(seconds=LOOKUP_LASTS)
    return known_from <= datetime.now(UTC) and not is_older_writer_at_work(known_from)


def tend(*, now: datetime, until: float) -> None:
    """Look at the goals of each segment, and delete old entries and exits."""
    for site in list_sites():
        with trouble_of(site.pk):
            note_goals(site.pk)
        with trouble_of(site.pk):
            while time.monotonic() < until and upkeep.prune_changes(site.pk, before=now - KEEP_CHANGES, limit=PRUNED):
                pass


def note_deletion_of_goals(site_id: int) -> None:
    """Sweep the segments for which conversions of deleted goals counted. Call it in the transaction of the deletion."""
    segments = membership.read_segments(site_id)
    ordered = segments.ordered if segments else ()
    upkeep.note_segments(site_id, [each.id for each in ordered if SegmentNeeds.of([each]).any_conversion])
    _note_goals_of(site_id, ordered)


def find_counted_goals(site_id: int, conditions: Conditions) -> list[int]:
    """Return the goals whose conversions count for conditions: those named and those merged into them. One query."""
    goals = SegmentNeeds.of([CompiledSegment(0, "", 0, conditions)]).goals
    return by_visitor.find_counted_goals(site_id, goals) if goals else []


def note_goals(site_id: int, *, to_begin: Collection[int] = ()) -> None:
    """Sweep the segments for which other goals count than before, because goals were merged or deleted.

    Those in `to_begin` have a sweep that begins later.
    """
    segments = membership.read_segments(site_id)
    _note_goals_of(site_id, segments.ordered if segments else (), to_begin=to_begin)


def _note_goals_of(site_id: int, segments: Sequence[CompiledSegment], *, to_begin: Collection[int] = ()) -> None:
    for segment in segments:
        goals = SegmentNeeds.of([segment]).goals
        if goals:
            counted = by_visitor.find_counted_goals(site_id, goals)
            upkeep.note_counted_goals(site_id, segment.id, counted, to_begin=to_begin)


@dataclass(slots=True)
class _Sums:
    """Conversions of a person on a goal, over all visitor codes."""

    conversions: int = 0
    last_at: datetime = EPOCH
    revenue: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    latest: list[GoalConversion] = field(default_factory=list)


@dataclass(slots=True)
class _Outside:
    goals: defaultdict[int, _Sums] = field(default_factory=lambda: defaultdict(_Sums))
    seen: tuple[datetime, datetime] | None = None
    visits: Sequence[datetime] = ()
    sources: set[int] = field(default_factory=set)

    def freeze(self) -> OutsideFacts:
        goals = {
            goal: ConvertedGoal(
                sums.conversions,
                sums.last_at,
                sums.revenue,
                sorted(sums.latest, key=lambda conversion: conversion.at, reverse=True),
            )
            for goal, sums in self.goals.items()
            if sums.conversions
        }
        first, last = self.seen or (None, None)
        return OutsideFacts(goals, first, last, self.visits, frozenset(self.sources))


def load_outside(site_id: int, asked: Asked, now: datetime) -> Mapping[IdentityKey, OutsideFacts]:
    """Return the facts of goals of each person by its root, and of each only those that its segments ask for.

    A query for each kind of facts that is asked for.
    """
    outside = defaultdict[IdentityKey, _Outside](_Outside)
    _add_totals(site_id, asked, outside)
    _add_latest(site_id, asked, outside, now=now)
    _add_sources(site_id, asked, outside)
    if persons := [person for needs, its in asked for person in its if needs.seen]:
        for number, seen in moments.load_seen(site_id, list_codes(persons)).items():
            outside[persons[number].root].seen = seen
    periods = [needs.visits for needs, its in asked if needs.visits is not None and its]
    if periods:
        persons = [person for needs, its in asked for person in its if needs.visits is not None]
        since = now - timedelta(days=max(periods))
        for number, visits in moments.load_visits(site_id, list_codes(persons), since=since).items():
            outside[persons[number].root].visits = visits
    return {root: facts.freeze() for root, facts in outside.items()}


_Outsides = defaultdict[IdentityKey, _Outside]


def _add_totals(site_id: int, asked: Asked, outside: _Outsides) -> None:
    roots = defaultdict[by_visitor.CodeOfGoal, list[IdentityKey]](list)
    for needs, persons in asked:
        for person, goal in product(persons, needs.goals):
            for code in person.codes:
                roots[code, goal].append(person.root)
    for totals in by_visitor.load_totals(site_id, roots):
        for root in roots[totals.code, totals.goal]:
            sums = outside[root].goals[totals.goal]
            sums.conversions += totals.conversions
            sums.last_at = max(sums.last_at, totals.last_at)
            for currency, amount in totals.revenue.items():
                sums.revenue[currency] += Decimal(amount)


def _add_latest(site_id: int, asked: Asked, outside: _Outsides, *, now: datetime) -> None:
    """Add the conversions of periods. Call it after the totals: most people never converted one of these goals."""
    roots = defaultdict[by_visitor.CodeOfGoal, list[IdentityKey]](list)
    for needs, persons in asked:
        for person in persons if needs.period_goals else ():
            for goal in needs.period_goals & outside[person.root].goals.keys():
                for code in person.codes:
                    roots[code, goal].append(person.root)
    if not roots:
        return
    longest = max(needs.period for needs, _ in asked if needs.period is not None)
    for conversion in by_visitor.load_latest(site_id, roots, since=now - timedelta(days=longest)):
        fact = GoalConversion(conversion.at, conversion.revenue, conversion.currency)
        for root in roots[conversion.code, conversion.goal]:
            outside[root].goals[conversion.goal].latest.append(fact)


def _add_sources(site_id: int, asked: Asked, outside: _Outsides) -> None:
    roots = defaultdict[str, list[IdentityKey]](list)
    sources = set[int]()
    for needs, persons in asked:
        if needs.sources and persons:
            sources |= needs.sources
            for person in persons:
                for code in person.codes:
                    roots[code].append(person.root)
    if not roots:
        return
    for code, found in by_visitor.load_sources(site_id, roots, sources).items():
        for root in roots[code]:
            outside[root].sources.update(found)


def list_codes(persons: Sequence[JoinedPerson]) -> moments.Codes:
    """Return the ids of persons under which their moments are stored. Pure."""
    codes = moments.Codes()
    for number, person in enumerate(persons):
        codes.codes += [(number, code) for code in person.codes]
        codes.holders += [
            (number, value, kind == Identity.Kind.USER)
            for kind, value in person.keys
            if kind != Identity.Kind.ANONYMOUS
        ]
    return codes
