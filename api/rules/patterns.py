"""Patterns of names, and templates for them. Pure.

A pattern is a name with placeholders. `{n}` is digits, `{word}` is letters, digits and `_`. `{id}` is
letters, digits, `-` and `_` with at least one digit, `{any}` is any text. Patterns are no regular expressions, and
match no name that is too long for a goal, so that every match ends soon.
"""

import re
from functools import lru_cache
from typing import Final

from goals.naming import EVENT_NAME_LENGTH

PLACEHOLDERS: Final = {
    "n": "[0-9]++",
    "id": "(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]++",
    "word": r"\w++",
    "any": ".+",
}
PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
MAX_ANY: Final = 2


def matches_pattern(name: str, pattern: str) -> bool:
    """Return True if the whole name matches a pattern. Takes less than a millisecond."""
    return len(name) <= EVENT_NAME_LENGTH and compile_pattern(pattern).fullmatch(name) is not None


@lru_cache(maxsize=4_096)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern. Raises ValueError for an unknown placeholder."""
    parts = PLACEHOLDER.split(pattern)
    unknown = sorted(set(parts[1::2]) - PLACEHOLDERS.keys())
    if unknown:
        raise ValueError(
            f"there is no place {{{unknown[0]}}}; use {', '.join(f'{{{place}}}' for place in PLACEHOLDERS)}"
        )
    if parts[1::2].count("any") > MAX_ANY:
        raise ValueError(f"no more than {MAX_ANY} places may be {{any}}")
    texts = [PLACEHOLDERS[part] if number % 2 else re.escape(part) for number, part in enumerate(parts)]
    anys = [number for number, part in enumerate(parts) if number % 2 and part == "any"]
    if len(anys) == MAX_ANY:
        # The text between the two is matched only where it comes first. Each part takes as much as it can, so the
        # match ends first there. Trying every place took quadratic time.
        first, second = anys
        between = "".join(texts[first + 1 : second])
        texts[first : second + 1] = [f"(?>.+?{between}).+"]
    return re.compile("".join(texts), re.DOTALL)


def list_template_fields(template: str) -> list[str]:
    """Return the fields between the braces of a template such as `Page: {name}`."""
    return PLACEHOLDER.findall(template)


def fill_template(template: str, texts: list[str]) -> str:
    """Return a template with a text in place of each of its fields."""
    parts = PLACEHOLDER.split(template)
    return "".join([parts[0], *(text + rest for text, rest in zip(texts, parts[2::2], strict=True))])
