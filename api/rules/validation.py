"""What is wrong with a rule, in words for whoever wrote it. Pure."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from api.events.envelope import TYPES
from api.rules.paths import is_path, parse_path
from api.rules.patterns import compile_pattern, list_template_fields
from api.rules.rule import REDACTIONS, EventRule

NEEDS_ARGUMENT: Final = {
    "rename": "a template such as `Page: {name}`",
    "pattern_goal": "a pattern such as `Viewed order {n}`",
    "group_from": "the field that holds the group's id, such as `properties.account_id`",
    "revenue_from": "the field that holds the revenue, such as `properties.total`",
    "drop_field": "the field to remove, such as `traits.email`",
    "hash_field": "the field to hash, such as `traits.email`",
}
ACTIONS: Final = ("drop", "no_goal", "page_to_track", *NEEDS_ARGUMENT)
MAX_RULES: Final = 200  # of a site: each is compared with each of its events
# Of them, those that act at ingest, where senders wait. Fifty take a millisecond of a large event's time at most, and
# half a second of one that has a hundred thousand items in a list.
MAX_REDACTIONS: Final = 50
REDACTED_ROOTS: Final = frozenset({"properties", "traits", "context"})


def find_problems(rule: EventRule) -> dict[str, str]:
    """What is wrong with a rule, by field, each with what to do; nothing when it can be used."""
    checks: tuple[Callable[[EventRule], Iterator[tuple[str, str]]], ...] = (
        _check_condition,
        _check_patterns,
        _check_action,
    )
    return {name: message for check in checks for name, message in check(rule)}


def explain_too_many(actions: Iterable[str], *, before: Iterable[str] = ()) -> str:
    """Return why a site may not have rules with these actions; empty if it may.

    As many as it has `before` stay allowed: what was allowed once goes on working, and may be changed.
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
    if rule.event_type and rule.event_type not in TYPES:
        yield "event_type", f"Choose one of {', '.join(TYPES)}, or none for all."
    if rule.name_test not in {"", "equals", "prefix", "pattern"}:
        yield "name_test", "Choose one of equals, prefix, pattern."
    if bool(rule.name_test) != bool(rule.name_value):
        yield "name_value", "Say both how the name is compared and with what, or neither."
    if rule.path_test not in {"", "exists", "equals"}:
        yield "path_test", "Choose one of exists, equals."
    if bool(rule.path_test) != bool(rule.path) or (rule.path and not is_path(rule.path)):
        yield "path", "Name a field such as properties.plan and say how it is tested, or neither."


def _check_patterns(rule: EventRule) -> Iterator[tuple[str, str]]:
    for name, pattern in (
        ("argument", rule.argument if rule.action == "pattern_goal" else ""),
        ("name_value", rule.name_value if rule.name_test == "pattern" else ""),
    ):
        try:
            compile_pattern(pattern)
        except ValueError as error:
            yield name, f"The pattern cannot be used: {error}."


def _check_action(rule: EventRule) -> Iterator[tuple[str, str]]:
    if rule.action not in ACTIONS:
        yield "action", f"Choose one of {', '.join(ACTIONS)}."
    elif rule.action in NEEDS_ARGUMENT and not rule.argument.strip():
        yield "argument", f"Give {NEEDS_ARGUMENT[rule.action]}."
    elif rule.action in REDACTIONS and not _is_redactable(rule.argument):
        yield "argument", "Only fields within properties, traits or context can be removed or hashed."
    elif rule.action == "rename" and not all(is_path(each) for each in list_template_fields(rule.argument)):
        yield "argument", "Each {…} in the template must hold a field, such as {name} or {properties.title}."
    elif rule.action in {"group_from", "revenue_from"} and not is_path(rule.argument):
        yield "argument", "This is no field: write its names with dots between them."
    if any(not name or not is_path(path) for name, path in rule.group_traits):
        yield "group_traits", 'Give each trait the field it is taken from: {"country": "properties.country"}.'


def _is_redactable(path: str) -> bool:
    return is_path(path) and parse_path(path)[0] in REDACTED_ROOTS and len(parse_path(path)) > 1
