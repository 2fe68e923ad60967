"""Facts that may turn each segment, so that an event causes evaluations only of segments that ask for what it changed.

Pure.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

from cohorts.custom_data import parse_trait_path
from cohorts.models import CustomData
from cohorts.reserved_traits import NAME_PARTS
from cohorts.segments.conditions import (
    CompiledSegment,
    Condition,
    CustomDataCondition,
    GoalCondition,
    GroupCondition,
    GroupTraitCondition,
    PersonaCondition,
    SeenCondition,
    SourceCondition,
    TraitCondition,
    VisitsCondition,
    flatten,
    references_of,
)
from cohorts.segments.facts import FilledCustomData

# A register of a person as in cohorts.changes.Fact, or a kind of another fact with an id.
Input = tuple[str, str | int]
ANY: Final = ""  # in place of a name or id
ANY_EVENT: Final[Input] = ("event", ANY)
ANY_SOURCE: Final[Input] = ("any source", ANY)  # of conversions whose sources are not known
GROUP: Final[Sequence[Input]] = (("group", ANY), ("traits", "company"))  # a company may be the group
Filling = CustomData.Filling


def list_inputs(condition: Condition, fillings: Mapping[int, FilledCustomData]) -> Iterator[Input]:
    """Yield the facts of one condition without those of segments that it names."""
    match condition:
        case TraitCondition():
            yield from _inputs_of_path(condition.path)
        case GroupCondition():
            yield from GROUP
        case GroupTraitCondition():
            yield from GROUP
            yield "group_traits", condition.path[0]
        case PersonaCondition():
            yield "personas", condition.name
        case CustomDataCondition():
            yield "custom_data", str(condition.index)
            yield from _inputs_of_filling(fillings.get(condition.index))
        case GoalCondition():
            yield "goal", condition.goal
        case SourceCondition():
            yield "source", condition.source
            yield ANY_SOURCE
        case SeenCondition() | VisitsCondition():
            yield ANY_EVENT


def index_inputs(
    ordered: Iterable[CompiledSegment],
    *,
    counted_goals: Mapping[int, Collection[int]],
    fillings: Iterable[FilledCustomData],
) -> dict[Input, frozenset[int]]:
    """Return the segments that each fact may turn, also through segments that they name, which come first."""
    filled = {each.index: each for each in fillings}
    inputs: dict[int, set[Input]] = {}
    for segment in ordered:
        own = {each for condition in flatten(segment.conditions) for each in list_inputs(condition, filled)}
        own.update(("goal", goal) for goal in counted_goals.get(segment.id, ()))
        own.add(("segment", segment.id))
        for named in references_of(segment.conditions):
            own |= inputs.get(named, set())
        inputs[segment.id] = own
    segments = defaultdict[Input, set[int]](set)
    for segment_id, its in inputs.items():
        for each in its:
            segments[each].add(segment_id)
    return {each: frozenset(ids) for each, ids in segments.items()}


def _inputs_of_path(path: tuple[str, ...]) -> Iterator[Input]:
    yield "traits", path[0]
    if path[0] == "name":
        yield from (("traits", part) for part in NAME_PARTS)


def _inputs_of_filling(filled: FilledCustomData | None) -> Iterator[Input]:
    if filled is None:
        return
    if filled.filled_from == Filling.TRAIT:
        yield from _inputs_of_path(parse_trait_path(filled.filling))
    elif filled.filled_from == Filling.GROUP:
        yield from GROUP
    elif filled.filled_from == Filling.PERSONAS:
        yield "personas", ANY
