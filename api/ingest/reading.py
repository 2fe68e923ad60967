"""The whole of an event, read leniently: whatever passed the door becomes values, with a warning where one was odd."""

from typing import Any, Final

import msgspec

from api.ingest.wire import clean_text, lenient_decoder, read_float

# What broken senders put where an id belongs (design "Cohorts"); compared without case.
PLACEHOLDERS: Final = frozenset(
    {"null", "undefined", "none", "nan", "guest", "anonymous", "0", "-1", "true", "false", "[object object]"}
)
ID_LENGTH: Final = 255
DECODER: Final = msgspec.json.Decoder(float_hook=read_float)
# Escapes that may stand for NUL or a lone surrogate, which neither PostgreSQL nor a reader's JSON can hold.
SUSPECT: Final = (b"\\u0000", b"\\ud", b"\\uD")


class UnreadableBodyError(ValueError):
    """The body passed the door, which looks at the envelope only, but is not JSON all through."""


def read_body(body: bytes, warnings: set[str]) -> dict[str, Any]:
    """The event as a dict that PostgreSQL can hold. Raises UnreadableBodyError."""
    event: Any
    try:
        event = DECODER.decode(body)
    except (ValueError, RecursionError):
        event = _read_leniently(body, warnings)
    if not isinstance(event, dict):
        raise UnreadableBodyError("not an object")
    if any(escape in body for escape in SUSPECT):
        try:
            cleaned = {clean_text(name): _clean(value) for name, value in event.items()}
        except RecursionError as error:
            raise UnreadableBodyError("nested too deeply") from error
        if cleaned != event:
            warnings.add("replaced_characters")
            return cleaned
    return event


def _read_leniently(body: bytes, warnings: set[str]) -> Any:
    try:
        return lenient_decoder(warnings).decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise UnreadableBodyError(str(error)) from error


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {clean_text(name): _clean(each) for name, each in value.items()}
    return value


def read_object(value: Any, warnings: set[str]) -> dict[str, Any]:
    """`value` if it is an object, else nothing."""
    if isinstance(value, dict):
        return value
    if value is not None:
        warnings.add("unreadable_properties")
    return {}


def read_id(value: Any, warnings: set[str]) -> str | None:
    """An identifier: a string without its outer white space, or a number's text; placeholders count as absent."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):  # a bool is an int, and its text a placeholder
        warnings.add("unreadable_id")
        return None
    text = str(value).strip()
    if not text:
        return None
    if text.lower() in PLACEHOLDERS:
        warnings.add("placeholder_id")
        return None
    if len(text) > ID_LENGTH:
        warnings.add("unreadable_id")
        return None
    return text


def read_name(value: Any, warnings: set[str]) -> str | None:
    """An event's name exactly as sent, or a number's text; None when it is absent or blank."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        if value is not None:
            warnings.add("unreadable_name")
        return None
    text = str(value)
    return text if text.strip() else None
