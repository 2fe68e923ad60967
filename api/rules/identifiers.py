"""Names that hold identifiers (`Viewed order 1234`): each makes a goal of its own where one is meant. Pure."""

import re
from typing import Final

from api.rules.patterns import PLACEHOLDER

# A number that stands by itself and is no year; a UUID, or as long a hexadecimal number without its dashes.
NUMBER: Final = re.compile(r"(?<![A-Za-z0-9.,])(?!(?:19|20)[0-9]{2}(?![0-9]))[0-9]{3,}(?![A-Za-z0-9]|[.,][0-9])")
HEX: Final = re.compile(r"(?<![\w-])(?=[a-f-]*[0-9])[0-9a-f]{8}(?:-?[0-9a-f]{4}){2,}[0-9a-f]*(?![\w-])", re.IGNORECASE)


def suggest_pattern(event_name: str) -> str | None:
    """The pattern of all names like this one, such as `Viewed order {n}`; None where it seems to hold no identifier."""
    if PLACEHOLDER.search(event_name):
        return None  # its own braces would be taken for places
    pattern = NUMBER.sub("{n}", HEX.sub("{id}", event_name))
    return pattern if pattern != event_name else None
