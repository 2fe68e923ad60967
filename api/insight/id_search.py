"""Search for ids in the bodies of messages, in any field, because no index leads from an id to its messages."""

import json
import re
from collections.abc import Collection
from typing import Any

from api.events.body import UnreadableBodyError, read_body
from cohorts import ids


def spellings(wanted: Collection[str]) -> list[bytes]:
    """Return the spellings of these ids in JSON, without quotes, for a first search in bodies. Pure."""
    texts = {
        id_ for each in wanted for id_ in (each, *(json.dumps(each, ensure_ascii=way)[1:-1] for way in (True, False)))
    }
    return sorted({each.encode() for text in texts for each in (text, text.replace("/", "\\/"))})


def names(body: bytes, wanted: Collection[str]) -> bool:
    """Return True if a value of an event is one of these ids, or if an unreadable body contains one."""
    try:
        open_: list[Any] = [read_body(body, set())]
    except UnreadableBodyError:
        return _holds(body, wanted)
    while open_:
        value = open_.pop()
        if isinstance(value, dict):
            open_ += [*value, *value.values()]
        elif isinstance(value, list):
            open_ += value
        elif (ids.spell(value) or "").strip() in wanted:  # also placeholders of today, which once were ids
            return True
    return False


def in_other_encodings(texts: Collection[str]) -> list[bytes]:
    """Return these texts in the encodings that Windows writes, for bodies that are not UTF-8."""
    return sorted(
        {text.encode("latin-1", "replace") for text in texts if not text.isascii()}
        | {text.encode(encoding) for text in texts for encoding in ("utf-16-le", "utf-16-be")}
    )


def _holds(body: bytes, wanted: Collection[str]) -> bool:
    """Return True if an unreadable body contains one of these ids in quotes or as a number."""
    texts = [f'"{each.decode()}"' for each in spellings(wanted)]
    numbers = [each for each in wanted if each.isascii() and each.isdigit()]
    return any(each in body for each in (*(text.encode() for text in texts), *in_other_encodings(texts))) or any(
        re.search(rb"[:,[\s]%b[,\]}\s]" % each.encode(), body) for each in numbers
    )
