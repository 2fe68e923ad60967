"""Facts that a batch changed, and the segments that they may turn: where conversions meet identities. Pure."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from cohorts.changes import Change, Fact, IdentityKey, keys_of
from cohorts.models import Identity
from cohorts.people import BatchOutcome
from cohorts.segments.inputs import ANY_EVENT, ANY_SOURCE, Input
from cohorts.segments.membership import Batch
from cohorts.segments.site_segments import SiteSegments
from goals.recording import Hit, HitOutcome, RecordedHit
from goals.totals import MovedConversion

KINDS: Final = tuple(map(int, Identity.Kind))


@dataclass(frozen=True, slots=True)
class TouchedFacts:
    """The facts that a batch changed."""

    changes: Sequence[Change]
    outcome: BatchOutcome
    hits: Sequence[Hit]
    recorded: Sequence[RecordedHit]
    moved: Sequence[MovedConversion]

    def find_batch(self, segments: SiteSegments) -> Batch:
        """Return the identities of which a fact changed that segments ask for."""
        turned = defaultdict[IdentityKey, frozenset[int]](frozenset)
        restamped: dict[IdentityKey, frozenset[Fact]] = {}
        for key, identity in self.outcome.known.items():
            if identity.is_new or identity.is_moved or identity.is_shrunk:
                # Other persons than before: each may be in any segment.
                for each in (key, *identity.former_owners):
                    turned[each] = segments.ids
            elif identity.changed and (ids := segments.find_turned(identity.changed)):
                turned[key] |= ids
            if identity.restamped and (facts := segments.only_asked(identity.restamped)):
                restamped[key] = facts
        self._add_group_traits(segments, turned)
        self._add_conversions(segments, turned)
        if ids := segments.find_turned([ANY_EVENT]):
            for change in self.changes:
                for key in keys_of(change):
                    turned[key] |= ids
        return Batch(turned, restamped, self.outcome.known)

    def _add_group_traits(self, segments: SiteSegments, turned: defaultdict[IdentityKey, frozenset[int]]) -> None:
        for change, applied in zip(self.changes, self.outcome.applied, strict=True):
            if applied.has_new_group_traits:
                ids = segments.find_turned(("group_traits", name) for name in change.group_traits)
                for key in keys_of(change) if ids else ():
                    turned[key] |= ids

    def _add_conversions(self, segments: SiteSegments, turned: defaultdict[IdentityKey, frozenset[int]]) -> None:
        codes = defaultdict[str, frozenset[int]](frozenset)
        known: dict[tuple[int | None, int | None, int], frozenset[int]] = {}
        for hit, recorded in zip(self.hits, self.recorded, strict=True):
            if recorded.outcome != HitOutcome.CONVERTED:
                continue
            said = (recorded.goal_id, hit.source_id, recorded.earlier)
            if said not in known:
                of_goal = segments.find_turned_by_conversion(recorded.goal_id, recorded.earlier)
                known[said] = of_goal | segments.find_turned(_inputs_of(hit.source_id))
            if known[said]:
                codes[hit.visitor_code] |= known[said]
        for conversion, before in self.moved:
            ids = segments.find_turned([ANY_EVENT, ANY_SOURCE, ("goal", before[0]), ("goal", conversion.key[0])])
            for code in (before[1], conversion.key[1]) if ids else ():
                codes[code] |= ids
        for kind, (code, ids) in product(KINDS, codes.items()):
            # Conversions without a visitor code count for an id in its place.
            turned[kind, code] |= ids


def _inputs_of(source_id: int | None) -> list[Input]:
    return [ANY_EVENT] if source_id is None else [ANY_EVENT, ("source", source_id)]
