"""Facts that the segments of a site ask for, so that nothing else is read. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from cohorts.segments.conditions import (
    CompiledSegment,
    CustomDataCondition,
    GoalCondition,
    GroupTraitCondition,
    SeenCondition,
    SourceCondition,
    VisitsCondition,
    flatten,
)


@dataclass(frozen=True, slots=True)
class SegmentNeeds:
    """Facts that are read beside the registers of a person."""

    goals: frozenset[int]
    period: float | None  # the longest, in days, for which single conversions are read
    sources: bool
    seen: bool
    visits: bool
    group_traits: bool
    custom_data: frozenset[int]

    @classmethod
    def of(cls, segments: Iterable[CompiledSegment]) -> Self:
        """Return the needs of these segments together."""
        conditions = [condition for segment in segments for condition in flatten(segment.conditions)]
        goals = [each for each in conditions if isinstance(each, GoalCondition)]
        periods = [
            each.days for each in goals if each.days is not None and (each.times > 1 or each.revenue is not None)
        ]
        kinds = {type(each) for each in conditions}
        return cls(
            frozenset(each.goal for each in goals),
            max(periods, default=None),
            SourceCondition in kinds,
            SeenCondition in kinds,
            VisitsCondition in kinds,
            GroupTraitCondition in kinds,
            frozenset(each.index for each in conditions if isinstance(each, CustomDataCondition)),
        )

    @property
    def any_conversion(self) -> bool:
        """Return True if a conversion of any goal may change a membership."""
        return self.sources or self.seen
