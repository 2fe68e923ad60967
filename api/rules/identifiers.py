"""Detection of identifiers in event names, because each `Viewed order 1234` makes a goal of its own. Pure."""

import re
from typing import Final

from api.rules.patterns import PLACEHOLDER

# A separate number that is no year; a UUID, or a hexadecimal number of its length without dashes.
NUMBER: Final = re.compile(r"(?<![A-Za-z0-9.,])(?!(?:19|20)[0-9]{2}(?![0-9]))[0-9]{3,}(?![A-Za-z0-9]|[.,][0-9])")
HEX: Final = re.compile(r"(?<![\w-])(?=[a-f-]*[0-9])[0-9a-f]{8}(?:-?[0-9a-f]{4}){2,}[0-9a-f]*(?![\w-])", re.IGNORECASE)


def suggest_pattern(event_name: str) -> str | None:
    """Return the pattern of all names like this one, such as `Viewed order {n}`; None without an identifier."""
    if PLACEHOLDER.search(event_name):
        return None  # its own braces would be taken for places
    pattern = NUMBER.sub("{n}", HEX.sub("{id}", event_name))
    return pattern if pattern != event_name else None
