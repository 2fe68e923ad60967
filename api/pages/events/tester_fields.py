"""Fields of the event tester above its JSON: read from the event, and written into it. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from api.digest.identified_event import PLACES
from api.events.types import EVENT_TYPES
from api.ingest.erased import VISITOR_FIELDS
from api.pages.json_text import pretty, visible

SHOWN_OF_LINE: Final = 40  # characters on each side of an error
VISITOR_PATHS: Final = tuple(f"{place}{name}" for name in VISITOR_FIELDS for place in PLACES)


@dataclass(frozen=True, slots=True)
class EventField:
    """A field of the form, and what the JSON says at its path."""

    name: str
    label: str
    path: str
    value: str = ""
    is_editable: bool = True  # False if the value has characters that no page can show


@dataclass(frozen=True, slots=True)
class JsonTrouble:
    """The place of the first character that is no JSON, and its line around it."""

    line: int
    column: int
    text: str
    before: str
    at: str
    after: str

    def __str__(self) -> str:
        return f"Line {self.line}, column {self.column}: {self.text}."


def list_fields(body: str) -> list[EventField]:
    """Return the name and the ids of an event as its JSON says them; empty if it is not an object."""
    event = _read_event(body) or {}
    type_ = EVENT_TYPES.get(str(event.get("type", "track")).lower())
    fields = [] if type_ is None or not type_.name_fields else [_find_field(event, "name", "Name", type_.name_fields)]
    return [
        *fields,
        _find_field(event, "user", "User ID", ["userId"]),
        _find_field(event, "anonymous", "Anonymous ID", ["anonymousId"]),
        _find_field(event, "visitor", "Visitor code", VISITOR_PATHS),
    ]


def fill_in(body: str, asked: Mapping[str, str], was: Mapping[str, str]) -> str:
    """Return the JSON with the fields that were changed in the form, and not in the JSON, since it was shown.

    `was` has the values that were shown. An emptied field leaves the event.
    """
    event = _read_event(body)
    changed = [
        field
        for field in list_fields(body)
        if field.is_editable and field.name in asked and asked[field.name] != was.get(field.name) == field.value
    ]
    if event is None or not changed:
        return body
    for field in changed:
        _write(event, field.path, asked[field.name])
    text, is_part = pretty(event)
    return body if is_part else visible(text)


def find_trouble(body: str) -> JsonTrouble | None:
    """Return where a text stops being JSON, None if it is JSON or is nested too deeply to be read."""
    try:
        json.loads(body.lstrip("\ufeff"))
    except json.JSONDecodeError as error:
        begin = error.doc.rfind("\n", 0, error.pos) + 1
        end = error.doc.find("\n", error.pos)
        line = error.doc[begin : end if end >= 0 else None].rstrip("\r")
        at = error.pos - begin
        return JsonTrouble(
            error.lineno,
            error.colno,
            f"{error.msg[:1].lower()}{error.msg[1:]}",
            line[max(0, at - SHOWN_OF_LINE) : at],
            line[at : at + 1],
            line[at + 1 : at + SHOWN_OF_LINE],
        )
    except (ValueError, RecursionError):
        pass
    return None


def _read_event(body: str) -> dict[str, Any] | None:
    """Return the JSON if it is an object that can be written again without loss of a number."""
    try:
        event = json.loads(body.lstrip("\ufeff"), parse_float=_read_exact)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None


def _read_exact(text: str) -> float:
    number = float(text)
    try:
        is_exact = math.isfinite(number) and Decimal(text) == Decimal(repr(number))
    except InvalidOperation:  # of an exponent that Decimal does not have
        is_exact = False
    if not is_exact:
        raise ValueError(text)
    return number


def _find_field(event: dict[str, Any], name: str, label: str, paths: Sequence[str]) -> EventField:
    for path in paths:
        value: Any = event
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str | int) and not isinstance(value, bool):
            shown = visible(str(value))
            return EventField(name, label, path, shown, is_editable=shown == str(value))
    return EventField(name, label, paths[0])


def _write(event: dict[str, Any], path: str, text: str) -> None:
    *parents, last = path.split(".")
    place = event
    for part in parents:
        if not isinstance(place.get(part), dict):
            place[part] = {}
        place = place[part]
    if text:
        place[last] = text
    else:
        place.pop(last, None)
