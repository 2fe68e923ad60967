"""Choice of an event's goal among the goals that it may belong to. Pure, and tested as a table."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from goals.naming import list_conventional_names

BY_ID: Final = "conversion"  # the type of events by SDKs


@dataclass(frozen=True, slots=True)
class KnownGoal:
    """The fields of a live goal that the choice depends on."""

    id: int
    name: str
    is_named_by_event: bool
    is_archived: bool


class EventName(NamedTuple):
    """The two parts of an event that name its goal: the type (track, page or screen) and the event's name.

    An event of the type BY_ID names the id of its goal, which must exist.
    """

    type: str
    name: str

    @property
    def is_goal_id(self) -> bool:
        return self.type == BY_ID


def list_candidate_names(event: EventName, *, template: str) -> tuple[str, ...]:
    """Return every goal name that the event may match, in the order of the lookup."""
    return (event.name, *list_conventional_names(event.type, event.name, template=template))


def match_goal(
    event: EventName, *, bindings: Mapping[EventName, KnownGoal], goals: Mapping[str, KnownGoal], template: str
) -> KnownGoal | None:
    """Return the goal of an event, or None if it has to be created (promises K-02, K-07, K-14).

    A binding made by a person comes first. The bare event name is next, if a person or an import chose it. Then come
    the site's convention, the spellings that differ in the dash, and `Segment.io – {name}`. Matching is exact (K-20).
    """
    for step in look_up(event, bindings=bindings, goals=goals, template=template):
        if step.result == LookupResult.MATCH:
            return step.goal
    return None


class LookupResult(StrEnum):
    """Result of a step of the lookup."""

    NOTHING = "nothing"
    NAMED_BY_EVENT = "named_by_event"  # a goal of the bare name, which an event gave it: passed over
    MATCH = "match"


class LookupStep(NamedTuple):
    """A step of the lookup: the name that was tried, or None for the binding, and the result."""

    name: str | None
    result: LookupResult
    goal: KnownGoal | None = None


def look_up(
    event: EventName, *, bindings: Mapping[EventName, KnownGoal], goals: Mapping[str, KnownGoal], template: str
) -> Iterator[LookupStep]:
    """Yield the steps of `match_goal` in their order; the first match is the last step."""
    bound = bindings.get(event)
    yield LookupStep(None, LookupResult.MATCH if bound is not None else LookupResult.NOTHING, bound)
    if bound is not None or event.is_goal_id:
        return
    bare = goals.get(event.name)
    if bare is not None and not bare.is_named_by_event:
        yield LookupStep(event.name, LookupResult.MATCH, bare)
        return
    yield LookupStep(event.name, LookupResult.NOTHING if bare is None else LookupResult.NAMED_BY_EVENT, bare)
    for name in list_conventional_names(event.type, event.name, template=template):
        goal = goals.get(name)
        if goal is not None:
            yield LookupStep(name, LookupResult.MATCH, goal)
            return
        yield LookupStep(name, LookupResult.NOTHING)


def list_lookup_names(events: Iterable[EventName], *, template: str) -> list[str]:
    """Return the goal names to fetch for a batch of events, sorted, each once."""
    named = (event for event in events if not event.is_goal_id)
    return sorted({name for event in named for name in list_candidate_names(event, template=template)})
