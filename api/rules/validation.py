"""Validation of rules, with messages for their authors. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from api.events.types import ALL_TYPES
from api.rules.actions import REDACTIONS, RULE_ACTIONS
from api.rules.paths import is_path
from api.rules.patterns import compile_pattern
from api.rules.rule import EventRule

MAX_RULES: Final = 200  # of a site: each is compared with each of its events
# Rules among them that act at ingest, while senders wait. Fifty take at most a millisecond for a large event, and half
# a second for one that has a hundred thousand items in a list.
MAX_REDACTIONS: Final = 50


def find_problems(rule: EventRule) -> dict[str, str]:
    """Return what is wrong with a rule, by field, each with what to do; empty if the rule can be used."""
    checks: tuple[Callable[[EventRule], Iterator[tuple[str, str]]], ...] = (_check_condition, _check_action)
    return {name: message for check in checks for name, message in check(rule)}


def explain_too_many(actions: Iterable[str], *, before: Iterable[str] = ()) -> str:
    """Return why a site may not have rules with these actions; empty if it may.

    The number of rules that it had `before` stays allowed, so that a site over a new limit can still change its rules.
    """
    after, so_far = Counter(map(_acts_at_ingest, actions)), Counter(map(_acts_at_ingest, before))
    if after.total() > max(MAX_RULES, so_far.total()):
        return f"A site may have {MAX_RULES} rules. Delete one, or join some to one with a pattern."
    if after[True] > max(MAX_REDACTIONS, so_far[True]):
        return (
            f"A site may have {MAX_REDACTIONS} rules that remove or hash a field, because senders wait for them. Name "
            "the object that holds several of the fields instead, or have the sender leave them out."
        )
    return ""


def _acts_at_ingest(action: str) -> bool:
    return action in REDACTIONS


def _check_condition(rule: EventRule) -> Iterator[tuple[str, str]]:
    if rule.event_type and rule.event_type not in ALL_TYPES:
        yield "event_type", f"Choose one of {', '.join(ALL_TYPES)}, or none for all."
    if rule.name_test not in {"", "equals", "prefix", "pattern"}:
        yield "name_test", "Choose one of equals, prefix, pattern."
    if bool(rule.name_test) != bool(rule.name_value):
        yield "name_value", "Say both how the name is compared and with what, or neither."
    if rule.path_test not in {"", "exists", "equals"}:
        yield "path_test", "Choose one of exists, equals."
    if bool(rule.path_test) != bool(rule.path) or (rule.path and not is_path(rule.path)):
        yield "path", "Name a field such as properties.plan and say how it is tested, or neither."
    if rule.name_test == "pattern":
        try:
            compile_pattern(rule.name_value)
        except ValueError as error:
            yield "name_value", f"The pattern cannot be used: {error}."


def _check_action(rule: EventRule) -> Iterator[tuple[str, str]]:
    action = RULE_ACTIONS.get(rule.action)
    if action is None:
        yield "action", f"Choose one of {', '.join(RULE_ACTIONS)}."
    elif action.spec.argument and not rule.argument.strip():
        yield "argument", f"Give {action.spec.argument}."
    elif problem := action.spec.check(rule.argument):
        yield "argument", problem
    if any(not name or not is_path(path) for name, path in rule.group_traits):
        yield "group_traits", "Give each trait a name and the field that holds it, such as properties.country."
