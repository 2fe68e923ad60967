"""Splitting of JSON by quotes and brackets alone, for arrays and objects with a part that is not JSON. Pure.

One `NaN`, one byte that is not UTF-8, or one item that is nested too deeply must not affect other items of an array.
If the quotes or brackets do not match, the parts cannot be separated.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

DEEPEST: Final = 100_000  # brackets
MOST_SEPARATORS: Final = 20_000  # commas and colons; no request may hold as many events
# A whole string, so that brackets within it are skipped. A single quote opens a string that never ends.
TOKENS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["\[\]{},:]', re.DOTALL)
SPACE: Final = b" \t\r\n"


def split_array(text: bytes) -> list[bytes]:
    """Return the items of an array, each as its own bytes. Raises ValueError."""
    return [part for part, _ in _parts(text, b"[", b"]")]


def split_object(text: bytes) -> dict[str, bytes]:
    """Return the fields of an object, each value as its own bytes; of equal names the last. Raises ValueError."""
    fields = {}
    for part, colon in _parts(text, b"{", b"}"):
        name = json.loads(part[:colon]) if colon else None
        if not isinstance(name, str):
            raise ValueError("a field has no name")  # noqa: TRY004 - it is about JSON
        fields[name] = part[colon + 1 :].strip(SPACE)
    return fields


def _parts(text: bytes, opening: bytes, closing: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the parts between the commas of an array or object, each with the place of its first colon, or 0."""
    text = text.strip(SPACE)
    if not text.startswith(opening):
        raise ValueError(f"it does not begin with {opening.decode()}")
    start, colon = 1, 0
    for count, (token, at) in enumerate(_separators(text)):
        if count > MOST_SEPARATORS:
            raise ValueError(f"it has more than {MOST_SEPARATORS:,} items")
        if token == b":":
            colon = colon or at
            continue
        part = text[start:at].lstrip(SPACE)
        if part or token == b",":  # an array may be empty, or have a comma at its end
            yield part.rstrip(SPACE), colon and colon - (at - len(part))
        start, colon = at + 1, 0
    if text[-1:] != closing or start != len(text):
        raise ValueError("its brackets do not match")


def _separators(text: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield the commas and colons directly within the outer brackets, and the closing bracket."""
    depth = 0
    for match in TOKENS.finditer(text):
        token = match[0]
        if token in b"[{":
            depth += 1
            if depth > DEEPEST:
                raise ValueError("it is nested too deeply")
        elif token in b"]}":
            depth -= 1
            if not depth:
                yield token, match.start()
                return
        elif token == b'"':
            raise ValueError("a string in it does not end")
        elif depth == 1 and token in b",:":
            yield token, match.start()
    raise ValueError("it does not end")
