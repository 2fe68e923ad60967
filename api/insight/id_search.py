"""Whom the body of a message names, whatever the field: no index leads from an id to the messages that hold it."""

import json
import re
from collections.abc import Collection
from typing import Any

from api.events.body import UnreadableBodyError, read_body
from cohorts import ids


def spellings(wanted: Collection[str]) -> list[bytes]:
    """How JSON may write these ids, without the quotes: what a search in bodies looks for first. Pure."""
    texts = {
        id_ for each in wanted for id_ in (each, *(json.dumps(each, ensure_ascii=way)[1:-1] for way in (True, False)))
    }
    return sorted({each.encode() for text in texts for each in (text, text.replace("/", "\\/"))})


def names(body: bytes, wanted: Collection[str]) -> bool:
    """Return whether a value of an event is one of these ids; if the body cannot be read, whether it holds one."""
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
        elif (ids.spell(value) or "").strip() in wanted:  # also what names nobody today, and somebody once
            return True
    return False


def in_other_encodings(texts: Collection[str]) -> list[bytes]:
    """Return how a body that is no UTF-8 may hold these texts: in the encodings that Windows writes."""
    return sorted(
        {text.encode("latin-1", "replace") for text in texts if not text.isascii()}
        | {text.encode(encoding) for text in texts for encoding in ("utf-16-le", "utf-16-be")}
    )


def _holds(body: bytes, wanted: Collection[str]) -> bool:
    """Return whether one of these ids stands in quotes in a body that cannot be read, or as a number."""
    texts = [f'"{each.decode()}"' for each in spellings(wanted)]
    numbers = [each for each in wanted if each.isascii() and each.isdigit()]
    return any(each in body for each in (*(text.encode() for text in texts), *in_other_encodings(texts))) or any(
        re.search(rb"[:,[\s]%b[,\]}\s]" % each.encode(), body) for each in numbers
    )
