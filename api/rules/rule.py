"""Conditions of rules, and the names of events that they compare. Pure.

The actions of rules are in api.rules.actions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from api.events.body import read_name
from api.events.types import EVENT_TYPES
from api.rules.paths import ABSENT, find_value
from api.rules.patterns import matches_pattern
from cohorts.value_match import matches

TITLE: Final = "properties.title"


@dataclass(frozen=True, slots=True)
class EventRule:
    """A condition and an action. All parts of the condition must hold; an empty part always does."""

    action: str
    argument: str = ""
    event_type: str = ""
    name_test: str = ""  # equals, prefix, pattern
    name_value: str = ""
    path: str = ""
    path_test: str = ""  # exists, equals
    path_value: str = ""
    group_traits: tuple[tuple[str, str], ...] = ()
    id: int = 0


@dataclass(slots=True)
class RuledEvent:
    """An event as the rules changed it."""

    type: str
    name: str | None
    makes_goal: bool = True
    is_dropped: bool = False
    reason: str = ""  # of the drop, in the words of the rule's author
    group: Any = None
    group_traits: dict[str, Any] = field(default_factory=dict)
    revenue: Any = None  # counts if the event has no revenue
    fired: list[int] = field(default_factory=list)  # ids of the rules that acted
    warnings: set[str] = field(default_factory=set)


def name_event(type_: str, fields: Mapping[str, Any], warnings: set[str], *, by_title: bool = False) -> str | None:
    """Return the name of an event; None for a track without one, and for types that make no goal.

    A URL or path is never the name, because each would make a goal of its own. A title is the name only if the site
    asks for it, because analytics.js sends one with every page (promise K-13).
    """
    event_type = EVENT_TYPES.get(type_)
    if event_type is None:
        return None
    for path in event_type.name_fields:
        if path != TITLE or by_title:
            name = read_name(_read_field(fields, path), warnings)
            if name is not None:
                return name
    return event_type.unnamed or None


def matches_event(rule: EventRule, type_: str, name: str | None, sent_type: str, fields: Mapping[str, Any]) -> bool:
    """Return True if an event meets the condition of a rule. `type_` and `name` are as earlier rules left them."""
    if rule.event_type and rule.event_type != type_:
        return False
    if rule.name_test and (name is None or not _matches_name(rule.name_test, rule.name_value, name)):
        return False
    if not rule.path_test:
        return True
    value = find_value(sent_type, fields, rule.path)
    if rule.path_test == "exists":
        return value is not ABSENT and value is not None
    return value is not ABSENT and matches(value, rule.path_value)


def _read_field(fields: Mapping[str, Any], path: str) -> Any:
    parent, _, name = path.rpartition(".")
    if not parent:
        return fields.get(name)
    holder = fields.get(parent)
    return holder.get(name) if isinstance(holder, dict) else None


def _matches_name(test: str, value: str, name: str) -> bool:
    if test == "equals":
        return name == value
    if test == "prefix":
        return name.startswith(value)
    return matches_pattern(name, value)
