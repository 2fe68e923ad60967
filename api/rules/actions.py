"""The closed list of rule actions, and their application to events. Pure.

Actions on stored fields act at ingest (api.rules.redaction), so that no other value is stored. All others act at
digest, in the order of the rules, each on what the rules before it left. A drop ends the order.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Self

import msgspec

from api.events.body import read_name
from api.events.types import EVENT_TYPES
from api.rules.paths import ABSENT, find_value, is_path, parse_path
from api.rules.patterns import compile_pattern, fill_template, list_template_fields, matches_pattern
from api.rules.rule import EventRule, RuledEvent, matches_event, name_event

NO_VALUE: Final = (None, "")
REDACTED_ROOTS: Final = frozenset({"properties", "traits", "context"})
HASHED: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")

# Changes the event and returns True; returns False if the action does not apply. Gets the event as it was sent, too.
Act = Callable[[EventRule, RuledEvent, str, Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """The words for an action and its argument, and its effect: `act` at digest, or `redact` at ingest."""

    label: str
    argument: str = ""  # the required argument in words, with an example; empty: it may be left out
    check: Callable[[str], str] = lambda _: ""  # returns the problem of an argument, or an empty string
    act: Act | None = None
    redact: Callable[[bytes, Any], Any] | None = None  # from a key and a value to the stored value; ABSENT removes it
    is_drop: bool = False  # the event counts for another source if its own source drops it
    field: str = ""  # the label of the argument's field in the form; empty: the action has none
    sentence: str = ""  # with {} in place of the argument; empty: the label, a colon, and the argument

    @property
    def example(self) -> str:
        """Return the example of an argument, empty if there is none."""
        return self.argument.partition("`")[2].rstrip("`")

    def say(self, argument: str) -> str:
        """Return the action with its argument, as the end of a sentence."""
        if not argument:
            return self.label
        return self.sentence.replace("{}", argument, 1) if self.sentence else f"{self.label}: {argument}"


def _drop(rule: EventRule, ruled: RuledEvent, *_: Any) -> bool:
    ruled.is_dropped, ruled.reason = True, rule.argument
    return True


def _make_no_goal(_rule: EventRule, ruled: RuledEvent, *_: Any) -> bool:
    ruled.makes_goal = False
    return True


def _convert_to_track(_rule: EventRule, ruled: RuledEvent, *_: Any) -> bool:
    event_type = EVENT_TYPES.get(ruled.type)
    if event_type is None or not event_type.unnamed:
        return False
    ruled.type = "track"
    return True


def _name_by_pattern(rule: EventRule, ruled: RuledEvent, *_: Any) -> bool:
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
    sent_revenue = properties.get("revenue") if isinstance(properties, dict) else None
    revenue = find_value(sent_type, fields, rule.argument)
    if sent_revenue not in NO_VALUE or ruled.revenue is not None or revenue is ABSENT or revenue in NO_VALUE:
        return False
    ruled.revenue = revenue
    return True


def _remove(_key: bytes, _value: Any) -> Any:
    return ABSENT


def hash_value(key: bytes, value: Any) -> Any:
    """Return `sha256:` and the HMAC of a text or of a value's JSON. Null and what is hashed already stay."""
    if value is None or (isinstance(value, str) and HASHED.match(value)):
        return value
    text = value.encode() if isinstance(value, str) else msgspec.json.encode(value, order="sorted")
    return "sha256:" + hmac.new(key, text, hashlib.sha256).hexdigest()


def _check_template(template: str) -> str:
    if all(map(is_path, list_template_fields(template))):
        return ""
    return "Each {…} in the template must hold a field, such as {name} or {properties.title}."


def _check_pattern(pattern: str) -> str:
    try:
        compile_pattern(pattern)
    except ValueError as error:
        return f"The pattern cannot be used: {error}."
    return ""


def _check_path(path: str) -> str:
    return "" if is_path(path) else "This is no field: write its names with dots between them."


def _check_redactable(path: str) -> str:
    if is_path(path) and parse_path(path)[0] in REDACTED_ROOTS and len(parse_path(path)) > 1:
        return ""
    return "Only fields within properties, traits or context can be removed or hashed."


class RuleAction(StrEnum):
    """An action of a rule: its code in the database and the API, and what it does."""

    spec: ActionSpec

    def __new__(cls, code: str, spec: ActionSpec) -> Self:
        action = str.__new__(cls, code)
        action._value_ = code
        action.spec = spec
        return action

    DROP = "drop", ActionSpec("ignore the event", act=_drop, is_drop=True, field="Reason (optional)")
    NO_GOAL = "no_goal", ActionSpec("make no goal and no conversion", act=_make_no_goal)
    RENAME = (
        "rename",
        ActionSpec(
            "rename the event",
            "a template such as `Page: {name}`",
            _check_template,
            act=_rename,
            field="New name",
            sentence="rename the event to “{}”",
        ),
    )
    PAGE_TO_TRACK = "page_to_track", ActionSpec("convert the page to a track event", act=_convert_to_track)
    PATTERN_GOAL = (
        "pattern_goal",
        ActionSpec(
            "make one goal of a pattern",
            "a pattern such as `Viewed order {n}`",
            _check_pattern,
            act=_name_by_pattern,
            field="Pattern",
            sentence="make one goal of “{}”",
        ),
    )
    GROUP_FROM = (
        "group_from",
        ActionSpec(
            "take the group from a field",
            "the field that holds the group's id, such as `properties.account_id`",
            _check_path,
            act=_take_group,
            field="Field with the group's id",
            sentence="take the group from {}",
        ),
    )
    REVENUE_FROM = (
        "revenue_from",
        ActionSpec(
            "take the revenue from a field if the event has none",
            "the field that holds the revenue, such as `properties.total`",
            _check_path,
            act=_take_revenue,
            field="Field with the revenue",
            sentence="take the revenue from {} if the event has none",
        ),
    )
    DROP_FIELD = (
        "drop_field",
        ActionSpec(
            "remove a field before the event is stored",
            "the field to remove, such as `traits.email`",
            _check_redactable,
            redact=_remove,
            field="Field",
            sentence="remove {} before the event is stored",
        ),
    )
    HASH_FIELD = (
        "hash_field",
        ActionSpec(
            "hash a field before the event is stored",
            "the field to hash, such as `traits.email`",
            _check_redactable,
            redact=hash_value,
            field="Field",
            sentence="hash {} before the event is stored",
        ),
    )


RULE_ACTIONS: Final[Mapping[str, RuleAction]] = {str(action): action for action in RuleAction}
DIGEST_ACTIONS: Final = {str(action): action.spec.act for action in RuleAction if action.spec.act is not None}
REDACTIONS: Final = {str(action): action.spec.redact for action in RuleAction if action.spec.redact is not None}
DROPS: Final = tuple(str(action) for action in RuleAction if action.spec.is_drop)


def describe_action(code: str, argument: str) -> str:
    """Return an action with its argument, as the end of a sentence; the code of one that was removed."""
    action = RULE_ACTIONS.get(code)
    return action.spec.say(argument) if action else code


def list_action_choices() -> list[tuple[str, str]]:
    """Return code and label of each action, for the model's field: a callable, so that no action needs a migration."""
    return [(str(action), action.spec.label) for action in RuleAction]


def apply_rules(
    type_: str, fields: Mapping[str, Any], rules: Sequence[EventRule], *, by_title: bool = False
) -> RuledEvent:
    """Return an event as these rules change it, in their order. Rules that act at ingest are skipped.

    With `by_title`, the title is the name of a page without a name.
    """
    warnings: set[str] = set()
    ruled = RuledEvent(type_, name_event(type_, fields, warnings, by_title=by_title))
    ruled.warnings |= warnings
    for rule in rules:
        act = DIGEST_ACTIONS.get(rule.action)
        if act is not None and matches_event(rule, ruled.type, ruled.name, type_, fields):
            if act(rule, ruled, type_, fields):
                ruled.fired.append(rule.id)
            if ruled.is_dropped:
                break
    return ruled
