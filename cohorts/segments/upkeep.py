"""Work on memberships in the background, a bounded step of a site at a time: turning times, rechecks and sweeps.

A sweep evaluates everybody, in the order of the identifiers. A new or edited segment needs one, and a change that
concerns people whom no index finds, such as traits of their group. Steps lock roots in the order of their keys, as the
digest does.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection, transaction

from cohorts.changes import IdentityKey
from cohorts.identities import LostRaceError, as_columns
from cohorts.segment_tables import Segment, SegmentChange, SegmentMember, SegmentRecheck
from cohorts.segments import membership
from cohorts.segments.membership import Batch, LoadOutside
from cohorts.segments.needs import SegmentNeeds
from cohorts.segments.persons import find_roots

PERSONS: Final = 500  # a step, some 0.1 s, during which events of these persons wait
RETRIES: Final = 10


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Evaluation of a site's persons."""

    site_id: int
    company_is_group: bool
    load_outside: LoadOutside
    clock: Callable[[], datetime]

    def evaluate(
        self,
        turned: Mapping[IdentityKey, Collection[int] | None],
        *,
        only_as_roots: Collection[IdentityKey] = (),
    ) -> int:
        """Lock the persons of these identities, evaluate segments for them, and return how many persons there were.

        `turned` has the segments, None for all; those that name them are evaluated, too. Identities in `only_as_roots`
        are left out if they are no roots. Call it inside a transaction.
        """
        roots = find_roots(self.site_id, turned.keys())
        chosen = [key for key, root in roots.items() if key == root or key not in only_as_roots]
        locked = {roots[key] for key in chosen}
        lock_roots(self.site_id, locked)
        segments = membership.read_segments(self.site_id)
        if segments is None:
            return 0
        return membership.update(
            self.site_id,
            Batch({key: segments.with_naming(turned[key]) for key in chosen}, locked=locked),
            segments=segments,
            load_outside=self.load_outside,
            company_is_group=self.company_is_group,
            now=self.clock(),  # after the locks: an event that was evaluated meanwhile has an earlier time
        )


@dataclass(frozen=True, slots=True)
class Sweep:
    """The sweep of a segment, and the identity that it has reached."""

    segment_id: int
    version: int
    swept_to: int | None
    reached: IdentityKey | None  # None at the beginning, or if that identity is gone

    @property
    def place(self) -> tuple[int, bytes]:
        """Return the place in the order of the database."""
        return (0, b"") if self.reached is None else (self.reached[0], self.reached[1].encode())


def lock_roots(site_id: int, keys: Collection[IdentityKey]) -> None:
    """Lock these identities in the order of their keys. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT 1 FROM unnest(%(kinds)b::smallint[], %(values)b::text[]) AS k (kind, value), LATERAL (
                SELECT 1 FROM cohorts_identity i
                 WHERE i.site_id = %(site)b AND i.kind = k.kind AND i.value = k.value FOR UPDATE
            ) AS its
            """,
            {"site": site_id, **as_columns(sorted(keys))},
        )


def turn_due(upkeep: Upkeep, *, limit: int = PERSONS) -> bool:
    """Turn memberships whose time has come. Return True if more may be due."""
    due = SegmentMember.objects.filter(site_id=upkeep.site_id, until__lte=upkeep.clock()).order_by("until")
    found = defaultdict[int, set[int]](set)
    rows = []
    for pk, id_, segment_id in due.values_list("pk", "identity_id", "segment_id")[:limit]:
        rows.append(pk)
        found[id_].add(segment_id)
    if not found:
        return False

    def turn() -> None:
        upkeep.evaluate({key: found[id_] for id_, key in find_keys(upkeep.site_id, list(found)).items()})
        due.filter(pk__in=rows).delete()  # of identities that are gone: they would be due for ever

    in_transaction(turn)
    return True


def recheck(upkeep: Upkeep, *, limit: int = PERSONS) -> bool:
    """Evaluate persons again that were noted, and begin sweeps that were asked for. Return True if there were any."""
    notes = SegmentRecheck.objects.filter(site_id=upkeep.site_id)
    # Each is read by itself, because a sweep may last long and segments be noted all the time.
    people = dict(notes.filter(segment=None).order_by("id").values_list("id", "identity_id")[:limit])
    sweeping = Segment.objects.filter(site_id=upkeep.site_id, sweep=True).values_list("id", flat=True)
    of_segments = notes.filter(identity=None)
    sweeps = set(of_segments.exclude(segment_id__in=list(sweeping)).values_list("segment_id", flat=True).distinct())

    def evaluate_noted() -> None:
        upkeep.evaluate(dict.fromkeys(find_keys(upkeep.site_id, list(people.values())).values()))
        notes.filter(id__in=list(people)).delete()
        begin_sweeps(upkeep.site_id, sweeps)
        of_segments.filter(segment_id__in=sweeps).delete()  # also later ones, whose changes this sweep will see

    if people or sweeps:
        in_transaction(evaluate_noted)
    return bool(people or sweeps)


def begin_sweeps(site_id: int, segment_ids: Collection[int]) -> None:
    """Begin sweeps of segments whose members stay visible meanwhile."""
    if segment_ids:
        rows = Segment.objects.filter(site_id=site_id, pk__in=segment_ids)
        rows.update(sweep=True, sweep_after=None, swept_to=None, swept=0, to_sweep=count_identities(site_id))


def find_sweeps(site_id: int) -> dict[int, int | None]:
    """Return the segments with a sweep, and the number after which each may begin, None if it is new. One query."""
    return dict(Segment.objects.filter(site_id=site_id, sweep=True).values_list("id", "sweep_after"))


def admit_sweeps(site_id: int, segment_ids: Collection[int], *, after: int) -> None:
    """Let sweeps begin when the transactions with numbers below `after` have ended. Call it with a later `after`.

    A transaction that is at work may not know the new conditions, and no sweep sees the people whom it inserts.
    """
    Segment.objects.filter(site_id=site_id, pk__in=segment_ids, sweep_after=None).update(sweep_after=after)


def count_identities(site_id: int) -> int:
    """Return the number of identities of a site. One query, of the index."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM cohorts_identity WHERE site_id = %s", [site_id])
        return int(cursor.fetchone()[0])


def sweep(upkeep: Upkeep, *, oldest: int, limit: int = PERSONS) -> bool:
    """Do a step of the sweeps of a site, all that are at one place together. Return True if there was one.

    All transactions with numbers below `oldest` have ended.
    """
    sweeps = read_sweeps(upkeep.site_id, oldest)
    if not sweeps:
        return False
    first = min(sweeps, key=lambda each: each.place)

    def evaluate_next() -> None:
        page = next_identities(upkeep.site_id, first.reached, limit)
        last = page[-1] if len(page) == limit else None
        end = None if last is None else (last[1][0], last[1][1].encode())
        here = [each for each in sweeps if end is None or each.place <= end]
        kept = find_members(upkeep.site_id, [id_ for id_, _ in page])
        upkeep.evaluate(
            {key: [each.segment_id for each in here] for _, key in page},
            only_as_roots={key for id_, key in page if id_ not in kept},
        )
        _advance(upkeep.site_id, here, None if last is None else last[0], len(page))

    in_transaction(evaluate_next)
    return True


def in_transaction(step: Callable[[], None]) -> None:
    """Run a step in a transaction, again if the root of a person changed before it was locked."""
    for attempt in range(1, RETRIES + 1):
        try:
            with transaction.atomic():
                return step()
        except LostRaceError:
            if attempt == RETRIES:
                raise
    raise AssertionError


def read_sweeps(site_id: int, oldest: int) -> list[Sweep]:
    """Return the sweeps of a site that are under way or may begin. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT s.id, s.version, s.swept_to, i.kind, i.value FROM cohorts_segment s
              LEFT JOIN cohorts_identity i ON i.site_id = %(site)s AND i.id = s.swept_to
             WHERE s.site_id = %(site)s AND s.sweep AND s.sweep_after <= %(oldest)s
            """,
            {"site": site_id, "oldest": oldest},
        )
        return [
            Sweep(id_, version, swept_to, None if kind is None else (kind, value))
            for id_, version, swept_to, kind, value in cursor.fetchall()
        ]


def find_keys(site_id: int, ids: Sequence[int]) -> dict[int, IdentityKey]:
    """Return the keys of these identities. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, kind, value FROM cohorts_identity WHERE site_id = %b AND id = ANY(%b::bigint[])",
            [site_id, list(ids)],
        )
        return {id_: (kind, value) for id_, kind, value in cursor.fetchall()}


def find_members(site_id: int, ids: Collection[int]) -> set[int]:
    """Return the identities among these at which memberships are kept. One query."""
    rows = SegmentMember.objects.filter(site_id=site_id, identity_id__in=ids)
    return set(rows.values_list("identity_id", flat=True).distinct())


def note_segments(site_id: int, segment_ids: Iterable[int]) -> None:
    """Note segments that are evaluated again for everybody in the background. One query, if any."""
    SegmentRecheck.objects.bulk_create(SegmentRecheck(site_id=site_id, segment_id=id_) for id_ in segment_ids)


def note_all(site_id: int) -> None:
    """Note all segments of a site, because a change concerns people whom no index finds. Two queries."""
    note_segments(site_id, list(Segment.objects.filter(site_id=site_id).values_list("id", flat=True)))


def note_custom_data(site_id: int, indexes: Collection[int]) -> None:
    """Note the segments that ask for one of these custom data, which Goalpost fills otherwise. Two queries, if any."""
    segments = membership.read_segments(site_id) if indexes else None
    ordered = segments.ordered if segments is not None else ()
    asking = [one.id for one in ordered if not SegmentNeeds.of([one]).custom_data.isdisjoint(indexes)]
    note_segments(site_id, asking)


def note_counted_goals(
    site_id: int, segment_id: int, counted: Sequence[int], *, to_begin: Collection[int] = ()
) -> None:
    """Note the goals that count for a segment, and sweep it if they changed, as after a merge.

    Those in `to_begin` have a sweep that begins later.
    """
    with transaction.atomic():
        rows = Segment.objects.filter(site_id=site_id, pk=segment_id).exclude(counted_goals=counted)
        if rows.update(counted_goals=counted) and segment_id not in to_begin:
            note_segments(site_id, [segment_id])


def prune_changes(site_id: int, *, before: datetime, limit: int) -> bool:
    """Delete entries into and exits from segments before a time. Return True if more may be left."""
    # Segment by segment, because the index of times begins with the segment.
    for segment_id in Segment.objects.filter(site_id=site_id).values_list("id", flat=True):
        old = SegmentChange.objects.filter(site_id=site_id, segment_id=segment_id, at__lt=before).order_by("at")
        ids = list(old.values_list("id", flat=True)[:limit])
        if ids:
            SegmentChange.objects.filter(site_id=site_id, id__in=ids).delete()
        if len(ids) == limit:
            return True
    return False


def next_identities(site_id: int, after: IdentityKey | None, limit: int) -> list[tuple[int, IdentityKey]]:
    """Return the next identities of a site with their ids. One query, by the index."""
    kind, value = after or (0, "")
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, kind, value FROM cohorts_identity
             WHERE site_id = %s AND (kind, value) > (%s, %s) ORDER BY kind, value LIMIT %s
            """,
            [site_id, kind, value, limit],
        )
        return [(id_, (kind, value)) for id_, kind, value in cursor.fetchall()]


def _advance(site_id: int, sweeps: Sequence[Sweep], swept_to: int | None, passed: int) -> None:
    """Note the place that these sweeps have reached, None for the end, unless a segment was edited meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE cohorts_segment s
               SET swept_to = %(to)s::bigint,
                   swept = CASE WHEN %(to)s::bigint IS NULL THEN 0 ELSE s.swept + %(passed)s END,
                   sweep = %(to)s::bigint IS NOT NULL,
                   sweep_after = CASE WHEN %(to)s::bigint IS NOT NULL THEN s.sweep_after END,
                   is_filled = s.is_filled OR %(to)s::bigint IS NULL
              FROM unnest(%(ids)s::bigint[], %(versions)s::int[], %(before)s::bigint[]) AS known (id, version, swept_to)
             WHERE s.site_id = %(site)s AND s.id = known.id AND s.version = known.version AND s.sweep
               AND s.swept_to IS NOT DISTINCT FROM known.swept_to
            """,
            {
                "site": site_id,
                "to": swept_to,
                "passed": passed,
                "ids": [each.segment_id for each in sweeps],
                "versions": [each.version for each in sweeps],
                "before": [each.swept_to for each in sweeps],
            },
        )
