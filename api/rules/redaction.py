"""Fields that are not to be stored: removed or hashed before a message is. Pure."""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from api.rules.paths import ABSENT, change
from api.rules.rule import REDACTIONS, Rule, holds, name_of

HASHED: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")


def redact(
    type_: str, fields: Mapping[str, Any], rules: Sequence[Rule], *, key: bytes, by_title: bool = False
) -> dict[str, Any]:
    """The event without the fields that rules drop, and with HMAC-SHA256 under `key` in place of those they hash.

    Equal values of a site stay equal; nobody without the key can try out e-mail addresses. What is hashed already
    stays as it is.
    """
    event = dict(fields)
    for rule in rules:
        name = name_of(type_, event, set(), by_title=by_title)
        if rule.action in REDACTIONS and holds(rule, type_, name, type_, event):
            new = partial(hash_value, key=key) if rule.action == "hash_field" else _leave_out
            event = change(type_, event, rule.argument, new)
    return event


def hash_value(value: Any, *, key: bytes) -> Any:
    """`sha256:` and the HMAC of a value's text, or of its JSON; null stays null."""
    if value is None or (isinstance(value, str) and HASHED.match(value)):
        return value
    text = value.encode() if isinstance(value, str) else msgspec.json.encode(value, order="sorted")
    return "sha256:" + hmac.new(key, text, hashlib.sha256).hexdigest()


def _leave_out(_value: Any) -> Any:
    return ABSENT
