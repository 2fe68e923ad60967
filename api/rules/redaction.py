"""Removal and hashing of fields before an event is stored. Pure."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from api.rules.actions import REDACTIONS
from api.rules.paths import may_exist, replace_value
from api.rules.rule import EventRule, matches_event, name_event


def redact(
    type_: str, fields: dict[str, Any], rules: Sequence[EventRule], *, key: bytes, by_title: bool = False
) -> dict[str, Any]:
    """Change an event in place as the rules that act at ingest say, and return it.

    A hash is the HMAC-SHA256 under `key`: equal values of a site stay equal, and e-mail addresses cannot be guessed
    without the key. A rule with an absent field costs next to nothing, whatever its condition.
    """
    name: str | None = None
    is_named = False
    for rule in rules:
        change = REDACTIONS.get(rule.action)
        if change is None or not may_exist(type_, fields, rule.argument):
            continue
        if not is_named:
            name, is_named = name_event(type_, fields, set(), by_title=by_title), True
        is_match = matches_event(rule, type_, name, type_, fields)
        if is_match and replace_value(type_, fields, rule.argument, partial(change, key)):
            is_named = False  # the name of a page may come from a field that has changed
    return fields
