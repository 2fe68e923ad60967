"""JSON and bodies of requests as text that a page can show: indented, shortened, without invisible characters. Pure."""

import json
from typing import Any, Final

SHOWN: Final = 65_536  # characters of a body or a document on a page: Segment's largest events, indented
PARSED: Final = 1_048_576  # bytes that are read as JSON to be indented: the largest event


def pretty(value: Any, *, most: int = SHOWN) -> tuple[str, bool]:
    """Return a value as indented JSON, its first `most` characters, and whether that is only a part.

    It is written piece by piece: with the indents of deep nesting 1 MB would become hundreds.
    """
    pieces, length = [], 0
    try:
        for piece in json.JSONEncoder(indent=2, ensure_ascii=False).iterencode(value):
            pieces.append(piece)
            length += len(piece)
            if length > most:
                break
        text = "".join(pieces)
    except RecursionError:  # indenting gives up at less depth than writing without indents
        text = json.dumps(value, ensure_ascii=False)
    return text[:most], len(text) > most


def pretty_body(body: bytes, *, most: int = SHOWN) -> tuple[str, bool]:
    """Return the bytes of a request likewise: indented if they are JSON, otherwise unchanged."""
    if len(body) <= PARSED:
        try:
            return pretty(json.loads(body.decode(errors="backslashreplace")), most=most)
        except (ValueError, RecursionError):
            pass
    text = body[: most + 1].decode(errors="backslashreplace")
    return text[:most], len(text) > most


def visible(text: str) -> str:
    """Return a text with an escape in place of NUL and of characters that have no bytes."""
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()
