"""Segments of a site as the digest evaluates them: in order, with what turns each, and what a part of them needs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple, Self

import msgspec

from cohorts.changes import Fact
from cohorts.segments.conditions import CompiledSegment, GoalCondition, decode_conditions, flatten, references_of
from cohorts.segments.evaluation import CompiledConditions, compile_conditions, in_order
from cohorts.segments.facts import FilledCustomData
from cohorts.segments.inputs import ANY, Input, index_inputs
from cohorts.segments.needs import SegmentNeeds

NONE: Final = frozenset[int]()
MOST_SITES: Final = 256  # compiled segments that a process keeps
MOST_PARTS: Final = 1_000  # of a site, that are kept


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the segments of a site, with those that they name."""

    ids: AbstractSet[int]  # without the named ones
    ordered: Sequence[CompiledSegment]
    judges: Sequence[tuple[int, CompiledConditions]]  # in this order
    needs: SegmentNeeds


class SegmentRow(NamedTuple):
    """A segment as it is stored."""

    id: int
    name: str
    version: int
    conditions: str
    is_filled: bool
    counted_goals: str


@dataclass(frozen=True, slots=True)
class SiteSegments:
    """The segments of a site, those that others name first, and what they ask for."""

    ordered: Sequence[CompiledSegment]
    ids: frozenset[int]
    filled: AbstractSet[int]  # everybody was evaluated under their present version
    needs: SegmentNeeds
    by_input: Mapping[Input, frozenset[int]]  # the segments that a fact may turn
    fillings: Sequence[FilledCustomData]
    enough: Mapping[int, int]  # conversions beyond which no other one turns a segment that only counts them
    parts: dict[AbstractSet[int], Part] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[SegmentRow], fillings: Sequence[FilledCustomData]) -> Self:
        """Compile the segments of a site."""
        ordered = in_order(
            CompiledSegment(row.id, row.name, row.version, decode_conditions(row.conditions)) for row in rows
        )
        return cls(
            ordered,
            frozenset(row.id for row in rows),
            frozenset(row.id for row in rows if row.is_filled),
            SegmentNeeds.of(ordered),
            index_inputs(
                ordered,
                counted_goals={row.id: msgspec.json.decode(row.counted_goals) for row in rows},
                fillings=fillings,
            ),
            fillings,
            _find_enough(ordered),
        )

    def find_turned(self, facts: Iterable[Input]) -> frozenset[int]:
        """Return the segments that these facts may turn."""
        found = NONE
        for fact in facts:
            for each in (fact, (fact[0], ANY)):
                if ids := self.by_input.get(each):
                    found |= ids
        return found

    def find_turned_by_conversion(self, goal_id: int | None, earlier: int) -> frozenset[int]:
        """Return the segments that a conversion may turn of a person who had at least some on the goal before."""
        found = NONE if goal_id is None else self.find_turned([("goal", goal_id)])
        return frozenset(id_ for id_ in found if earlier < self.enough.get(id_, earlier + 1)) if earlier else found

    def with_naming(self, ids: Collection[int] | None) -> frozenset[int]:
        """Return these segments and those that name them, None for all."""
        return self.ids if ids is None else self.find_turned(("segment", id_) for id_ in ids)

    def only_asked(self, facts: Iterable[Fact]) -> frozenset[Fact]:
        """Return those of these facts that may turn a segment."""
        return frozenset(fact for fact in facts if fact in self.by_input or (fact[0], ANY) in self.by_input)

    def part(self, ids: AbstractSet[int]) -> Part:
        """Return these segments with those that they name."""
        part = self.parts.get(ids)
        if part is None:
            if len(self.parts) >= MOST_PARTS:
                self.parts.clear()
            part = self.parts[ids] = self._find_part(frozenset(ids))
        return part

    def _find_part(self, ids: frozenset[int]) -> Part:
        wanted = set(ids)
        for segment in reversed(self.ordered):
            if segment.id in wanted:
                wanted |= references_of(segment.conditions)
        ordered = [segment for segment in self.ordered if segment.id in wanted]
        judges = [(segment.id, compile_conditions(segment.conditions)) for segment in ordered]
        return Part(ids & self.ids, ordered, judges, SegmentNeeds.of(ordered))


def _find_enough(ordered: Iterable[CompiledSegment]) -> dict[int, int]:
    """Return the most conversions that segments ask for, unless one asks for their times or revenue. Pure."""
    enough: dict[int, int | None] = {}
    for segment in ordered:
        goals = [each for each in flatten(segment.conditions) if isinstance(each, GoalCondition)]
        counts = [None if goal.days is not None or goal.revenue is not None else goal.times for goal in goals]
        counts += [enough.get(id_, 0) for id_ in references_of(segment.conditions)]
        enough[segment.id] = None if None in counts else max([0, *(each for each in counts if each is not None)])
    return {id_: most for id_, most in enough.items() if most is not None}


@lru_cache(maxsize=MOST_SITES)
def compile_segments(rows: tuple[SegmentRow, ...], fillings: tuple[FilledCustomData, ...]) -> SiteSegments:
    """Return the segments of a site. The digest reads them with each batch, and they seldom change."""
    return SiteSegments.of(rows, fillings)
