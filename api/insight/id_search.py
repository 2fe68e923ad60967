"""Search for ids in the bodies of messages, in any field, because no index leads from an id to its messages."""

import json
import re
from collections.abc import Collection
from typing import Any

from api.events.body import UnreadableBodyError, read_body
from cohorts import ids


def spellings(ids_: Collection[str]) -> list[bytes]:
    """Return the spellings of these ids in JSON, without quotes, for a first search in bodies. Pure."""
    texts = {
        id_
        for id_value in ids_
        for id_ in (id_value, *(json.dumps(id_value, ensure_ascii=way)[1:-1] for way in (True, False)))
    }
    return sorted({spelling.encode() for text in texts for spelling in (text, text.replace("/", "\\/"))})


def names(body: bytes, ids_: Collection[str]) -> bool:
    """Return True if a value of an event is one of these ids, or if an unreadable body contains one."""
    try:
        open_: list[Any] = [read_body(body, set())]
    except UnreadableBodyError:
        return _holds(body, ids_)
    while open_:
        value = open_.pop()
        if isinstance(value, dict):
            open_ += [*value, *value.values()]
        elif isinstance(value, list):
            open_ += value
        elif (ids.spell(value) or "").strip() in ids_:  # also placeholders of today, which once were ids
            return True
    return False


def in_other_encodings(texts: Collection[str]) -> list[bytes]:
    """Return these texts in the encodings that Windows writes, for bodies that are not UTF-8."""
    return sorted(
        {text.encode("latin-1", "replace") for text in texts if not text.isascii()}
        | {text.encode(encoding) for text in texts for encoding in ("utf-16-le", "utf-16-be")}
    )


def _holds(body: bytes, ids_: Collection[str]) -> bool:
    """Return True if an unreadable body contains one of these ids in quotes or as a number."""
    texts = [f'"{spelling.decode()}"' for spelling in spellings(ids_)]
    numbers = [spelling for spelling in ids_ if spelling.isascii() and spelling.isdigit()]
    return any(
        spelling in body for spelling in (*(text.encode() for text in texts), *in_other_encodings(texts))
    ) or any(re.search(rb"[:,[\s]%b[,\]}\s]" % spelling.encode(), body) for spelling in numbers)
