"""What people want done with some events before they mean anything: conditions and actions. Pure.

Rules that drop or hash a field act at ingest (api.rules.redaction), so that what is stored is clean; all others act at
digest, in the order of their positions, each on what those before it left. A `drop` ends it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from api.events.body import read_name
from api.rules.paths import ABSENT, find_value
from api.rules.patterns import fill_template, list_template_fields, matches_pattern
from cohorts.value_match import matches

REDACTIONS: Final = frozenset({"drop_field", "hash_field"})
NO_VALUE: Final = (None, "")
UNNAMED: Final = {"page": "Unnamed page", "screen": "Unnamed screen"}


@dataclass(frozen=True, slots=True)
class EventRule:
    """A condition, all parts of which must hold (an empty part always does), and an action."""

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
    """What the rules have made of an event."""

    type: str
    name: str | None
    makes_goal: bool = True
    is_dropped: bool = False
    reason: str = ""  # why it was dropped, in a person's words
    group: Any = None
    group_traits: dict[str, Any] = field(default_factory=dict)
    revenue: Any = None  # what counts as revenue where the event says none
    fired: list[int] = field(default_factory=list)  # the rules that acted
    warnings: set[str] = field(default_factory=set)


def apply_rules(
    type_: str, fields: Mapping[str, Any], rules: Sequence[EventRule], *, by_title: bool = False
) -> RuledEvent:
    """Return what becomes of an event under these rules, in their order. Those that act at ingest are passed over.

    With `by_title` a page without a name is called by its title.
    """
    warnings: set[str] = set()
    ruled = RuledEvent(type_, name_event(type_, fields, warnings, by_title=by_title))
    ruled.warnings |= warnings
    for rule in rules:
        if rule.action in ACTIONS and matches_event(rule, ruled.type, ruled.name, type_, fields):
            _act(rule, ruled, type_, fields)
            if ruled.is_dropped:
                break
    return ruled


def name_event(type_: str, fields: Mapping[str, Any], warnings: set[str], *, by_title: bool = False) -> str | None:
    """Return what an event is called; None for a nameless track, and for types that make no goal.

    A page is never named by its URL or path, and by its title only where the site asks for it: each would make a goal
    of its own, and analytics.js sends a title with every page (promises K-13).
    """
    if type_ == "track":
        candidates = [fields.get("event"), fields.get("name")]
    elif type_ in UNNAMED:
        properties = fields.get("properties")
        properties = properties if isinstance(properties, dict) else {}
        candidates = [
            fields.get("name"),
            fields.get("event"),
            properties.get("name"),
            properties.get("title") if by_title else None,
            fields.get("category"),
        ]
    else:
        return None
    names = (read_name(candidate, warnings) for candidate in candidates)
    return next((name for name in names if name is not None), UNNAMED.get(type_))


def matches_event(rule: EventRule, type_: str, name: str | None, sent_type: str, fields: Mapping[str, Any]) -> bool:
    """Whether the condition of a rule is met by an event, as the rules before it left it."""
    if rule.event_type and rule.event_type != type_:
        return False
    if rule.name_test and (name is None or not _is_named(rule.name_test, rule.name_value, name)):
        return False
    if not rule.path_test:
        return True
    value = find_value(sent_type, fields, rule.path)
    if rule.path_test == "exists":
        return value is not ABSENT and value is not None
    return value is not ABSENT and matches(value, rule.path_value)


def _is_named(test: str, wanted: str, name: str) -> bool:
    if test == "equals":
        return name == wanted
    if test == "prefix":
        return name.startswith(wanted)
    return matches_pattern(name, wanted)


def _act(rule: EventRule, ruled: RuledEvent, sent_type: str, fields: Mapping[str, Any]) -> None:
    """Do to an event what a rule says, whose condition it meets."""
    if ACTIONS[rule.action](rule, ruled, sent_type, fields):
        ruled.fired.append(rule.id)


def _drop(rule: EventRule, ruled: RuledEvent, *_: Any) -> bool:
    ruled.is_dropped, ruled.reason = True, rule.argument
    return True


def _make_no_goal(_rule: EventRule, ruled: RuledEvent, *_: Any) -> bool:
    ruled.makes_goal = False
    return True


def _take_page_for_track(_rule: EventRule, ruled: RuledEvent, *_: Any) -> bool:
    if ruled.type not in UNNAMED:
        return False
    ruled.type = "track"
    return True


def _group_names(rule: EventRule, ruled: RuledEvent, *_: Any) -> bool:
    if ruled.name is None or not matches_pattern(ruled.name, rule.argument):
        return False
    ruled.name = rule.argument
    return True


def _rename(rule: EventRule, ruled: RuledEvent, sent_type: str, fields: Mapping[str, Any]) -> bool:
    texts = []
    for path in list_template_fields(rule.argument):
        value = ruled.name if path == "name" else find_value(sent_type, fields, path)
        text = read_name(None if value is ABSENT else value, set())
        if text is None:
            ruled.warnings.add("rule_not_applied")
            return False
        texts.append(text)
    ruled.name = fill_template(rule.argument, texts)
    return True


def _take_group(rule: EventRule, ruled: RuledEvent, sent_type: str, fields: Mapping[str, Any]) -> bool:
    group = find_value(sent_type, fields, rule.argument)
    if group is ABSENT or group is None or sent_type == "group":
        return False
    traits = {name: find_value(sent_type, fields, path) for name, path in rule.group_traits}
    ruled.group = group
    ruled.group_traits = {name: value for name, value in traits.items() if value is not ABSENT}
    return True


def _take_revenue(rule: EventRule, ruled: RuledEvent, sent_type: str, fields: Mapping[str, Any]) -> bool:
    properties = fields.get("properties")
    own = properties.get("revenue") if isinstance(properties, dict) else None
    found = find_value(sent_type, fields, rule.argument)
    if own not in NO_VALUE or ruled.revenue is not None or found is ABSENT or found in NO_VALUE:
        return False
    ruled.revenue = found
    return True


ACTIONS: Final[Mapping[str, Callable[[EventRule, RuledEvent, str, Mapping[str, Any]], bool]]] = {
    "drop": _drop,
    "no_goal": _make_no_goal,
    "page_to_track": _take_page_for_track,
    "pattern_goal": _group_names,
    "rename": _rename,
    "group_from": _take_group,
    "revenue_from": _take_revenue,
}
