"""The body of an event, read leniently: an odd value becomes a usable one, with a warning. Pure."""

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from api.events.envelope import NumberReader, clean_text, keep_exponents_as_text, lenient_decoder, read_float
from cohorts import ids

OBJECTS: Final = ("properties", "traits", "context", "integrations")
FIRST_DECODER: Final = msgspec.json.Decoder(float_hook=read_float)
# Escapes of NUL or of a lone surrogate, which neither PostgreSQL nor the JSON of a reader can hold.
SUSPECT: Final = re.compile(rb"\\u(?:0000|[dD])")


class UnreadableBodyError(ValueError):
    """Raised for a body that ingest accepted, because it reads the envelope only, and that is not JSON throughout."""


def read_body(body: bytes, warnings: set[str], *, keeps_long_numbers: bool = False) -> dict[str, Any]:
    """Return the event as a dict that PostgreSQL can hold. Raises UnreadableBodyError.

    Its JSON is at most 1.6 times the body and MAX_GROWTH_BYTES. Numbers that are long when jsonb writes them out are
    kept as texts, with a warning. Before there was this bound, 1 MB became 50 MB. An event that was digested then
    `keeps_long_numbers`, so that its meaning stays.
    """
    event = _read_values(body, warnings, keeps_long_numbers=keeps_long_numbers)
    if not isinstance(event, dict):
        raise UnreadableBodyError("not an object")
    read: dict[str, Any] = event
    if SUSPECT.search(body):
        try:
            cleaned = {clean_text(name): clean_value(value) for name, value in read.items()}
        except RecursionError as error:
            raise UnreadableBodyError("nested too deeply") from error
        if cleaned != read:
            warnings.add("replaced_characters")
            read = cleaned
    _fill_empty_lists(read)
    return read


def _fill_empty_lists(event: dict[str, Any]) -> None:
    """Replace the empty list by an empty object: PHP encodes an empty array, with or without names, as a list."""
    for name in OBJECTS:
        if event.get(name) == []:
            event[name] = {}
    context = event.get("context")
    if isinstance(context, dict) and context.get("traits") == []:
        event["context"] = {**context, "traits": {}}


def _read_values(body: bytes, warnings: set[str], *, keeps_long_numbers: bool) -> Any:
    numbers = NumberReader()
    decoder = FIRST_DECODER if keeps_long_numbers else msgspec.json.Decoder(float_hook=numbers.read)
    try:
        event = decoder.decode(body)
    except (ValueError, RecursionError):
        numbers = NumberReader()
        event = _read_leniently(body, warnings, read_float if keeps_long_numbers else numbers.read)
    if numbers.grow_too_much:
        event = _read_leniently(body, warnings, keep_exponents_as_text)
    return event


def _read_leniently(body: bytes, warnings: set[str], read_number: Callable[[str], float | int]) -> Any:
    try:
        return lenient_decoder(warnings, read_number).decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise UnreadableBodyError(str(error)) from error


def clean_value(value: Any) -> Any:
    """Return a JSON value that PostgreSQL can hold."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean_value(item) for item in value]
    if isinstance(value, dict):
        return {clean_text(name): clean_value(item) for name, item in value.items()}
    return value


def read_object(value: Any, warnings: set[str]) -> dict[str, Any]:
    """Return `value` if it is an object, otherwise an empty one, with a warning unless `value` is empty, too."""
    if isinstance(value, dict):
        return value
    if value is not None and value != []:
        warnings.add("unreadable_properties")
    return {}


def read_id(value: Any, warnings: set[str], *, is_placeholder: ids.Opinion = ids.names_nothing) -> str | None:
    """Return an identifier, or None with a warning (cohorts.ids)."""
    id_, warning = ids.read_id(value, is_placeholder=is_placeholder)
    if warning:
        warnings.add(warning)
    return id_


def read_group_id(value: Any, warnings: set[str], *, is_placeholder: ids.Opinion = ids.names_nothing) -> str | None:
    """Return a group's id, also from the list of one in which Altis sends it."""
    id_ = value[0] if isinstance(value, list) and len(value) == 1 else value
    return read_id(id_, warnings, is_placeholder=is_placeholder)


def explain_bad_id(value: Any) -> str:
    """Return what is wrong with an id, in words that follow the name of its field; empty if it is valid or absent."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    id_, warning = ids.read_id(value)
    if id_ is not None or not warning:
        return ""
    if warning == "placeholder_id":
        return "is a placeholder, which is no identifier"
    text = ids.spell(value)
    if text is None:
        return "is neither a string nor a number"
    return f"is too long: it has {len(text.strip()):,} characters, and an id has {ids.ID_LENGTH} at most"


def read_name(value: Any, warnings: set[str]) -> str | None:
    """Return an event's name exactly as sent, or the text of a number; None if it is absent or blank."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        if value is not None:
            warnings.add("unreadable_name")
        return None
    text = str(value)
    return text if text.strip() else None
