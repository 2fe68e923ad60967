"""Fields that are not to be stored: removed or hashed before a message is. Pure."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import msgspec

from api.rules.paths import ABSENT, may_exist, replace_value
from api.rules.rule import REDACTIONS, EventRule, matches_event, name_event

HASHED: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")


def redact(
    type_: str, fields: dict[str, Any], rules: Sequence[EventRule], *, key: bytes, by_title: bool = False
) -> dict[str, Any]:
    """Change an event in place: leave out what rules drop, and put HMAC-SHA256 under `key` for what they hash.

    Equal values of a site stay equal; nobody without the key can try out e-mail addresses. What is hashed already
    stays as it is. A rule whose field is not there costs next to nothing, whatever its condition. Returns the event.
    """
    name: str | None = None
    is_named = False
    for rule in rules:
        if rule.action not in REDACTIONS or not may_exist(type_, fields, rule.argument):
            continue
        if not is_named:
            name, is_named = name_event(type_, fields, set(), by_title=by_title), True
        if matches_event(rule, type_, name, type_, fields):
            new = partial(hash_value, key=key) if rule.action == "hash_field" else _leave_out
            if replace_value(type_, fields, rule.argument, new):
                is_named = False  # a page may have its name from a field that has changed
    return fields


def hash_value(value: Any, *, key: bytes) -> Any:
    """`sha256:` and the HMAC of a value's text, or of its JSON; null stays null."""
    if value is None or (isinstance(value, str) and HASHED.match(value)):
        return value
    text = value.encode() if isinstance(value, str) else msgspec.json.encode(value, order="sorted")
    return "sha256:" + hmac.new(key, text, hashlib.sha256).hexdigest()


def _leave_out(_value: Any) -> Any:
    return ABSENT
