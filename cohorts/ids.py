"""What counts as an identifier of a person or a group, in whatever type a sender puts it."""

from typing import Any, Final

# What broken senders put where an id belongs (design "Cohorts"); compared without case.
PLACEHOLDERS: Final = frozenset(
    {"null", "undefined", "none", "nan", "guest", "anonymous", "0", "-1", "true", "false", "[object object]"}
)
ID_LENGTH: Final = 255


def read_id(value: Any) -> tuple[str | None, str]:
    """(id, warning): a string without its outer white space, or a number's text. Pure.

    Without an id the warning says why (`unreadable_id`, `placeholder_id`); it is empty where nothing was given.
    """
    if value is None:
        return None, ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):  # a bool is an int, and its text a placeholder
        return None, "unreadable_id"
    text = str(value).strip()
    if not text:
        return None, ""
    if text.lower() in PLACEHOLDERS:
        return None, "placeholder_id"
    if len(text) > ID_LENGTH:
        return None, "unreadable_id"
    return text, ""
