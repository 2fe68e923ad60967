"""Facts that the segments of a site ask for, so that nothing else is read. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from cohorts.segments.conditions import (
    CompiledSegment,
    Condition,
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
    period_goals: frozenset[int]  # of which they are read
    sources: frozenset[int]
    seen: bool
    visits: float | None  # the longest period, in days
    group_traits: bool
    custom_data: frozenset[int]

    @classmethod
    def of(cls, segments: Iterable[CompiledSegment]) -> Self:
        """Return the needs of these segments together."""
        conditions = [condition for segment in segments for condition in flatten(segment.conditions)]
        goals = [each for each in conditions if isinstance(each, GoalCondition)]
        periods = {
            each.goal: each.days
            for each in sorted(goals, key=lambda goal: goal.days or 0)
            if each.days is not None and (each.times > 1 or each.revenue is not None)
        }
        visits = [each.days for each in conditions if isinstance(each, VisitsCondition)]
        kinds = {type(each) for each in conditions}
        return cls(
            frozenset(each.goal for each in goals),
            max(periods.values(), default=None),
            frozenset(periods),
            frozenset(each.source for each in conditions if isinstance(each, SourceCondition)),
            SeenCondition in kinds,
            max(visits, default=None),
            GroupTraitCondition in kinds,
            find_custom_data([conditions]),
        )

    @property
    def any_conversion(self) -> bool:
        """Return True if a conversion of any goal may change a membership."""
        return bool(self.sources) or self.any_event

    @property
    def any_event(self) -> bool:
        """Return True if any event of a person may change a membership."""
        return self.seen or self.visits is not None


def find_custom_data(conditions: Iterable[Sequence[Condition]]) -> frozenset[int]:
    """Return the indexes of custom data for which conditions ask."""
    return frozenset(each.index for group in conditions for each in group if isinstance(each, CustomDataCondition))
