"""Whom the body of a message names, whatever the field: no index leads from an id to the messages that hold it."""

import json
from collections.abc import Collection
from typing import Any

from api.ingest.reading import UnreadableBodyError, read_body
from cohorts import ids


def spellings(wanted: Collection[str]) -> list[bytes]:
    """How JSON may write these ids, without the quotes: what a search in bodies looks for first. Pure."""
    texts = {
        id_ for each in wanted for id_ in (each, *(json.dumps(each, ensure_ascii=way)[1:-1] for way in (True, False)))
    }
    return sorted({each.encode() for text in texts for each in (text, text.replace("/", "\\/"))})


def names(body: bytes, wanted: Collection[str]) -> bool:
    """Whether a value of an event is one of these ids; where the body cannot be read, whether one stands in quotes."""
    try:
        open_: list[Any] = [read_body(body, set())]
    except UnreadableBodyError:
        return any(b'"%b"' % each in body for each in spellings(wanted))
    while open_:
        value = open_.pop()
        if isinstance(value, dict):
            open_ += [*value, *value.values()]
        elif isinstance(value, list):
            open_ += value
        elif (ids.spell(value) or "").strip() in wanted:  # also what names nobody today, and somebody once
            return True
    return False
