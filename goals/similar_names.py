"""Groups of goals whose names mean the same: `Sign Up`, `sign_up`, `SignUp` and `Signed Up`. Pure."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from goals.naming import GOAL_TYPES, OTHER_TEMPLATES, TEMPLATE, name_goal

HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
WORDS: Final = re.compile(r"[^\W_]+")
# Endings of English verbs and plurals, behind what has a vowel and three letters at least: not those of `sing`, `bus`.
ENDING: Final = re.compile(r"(?<=[^\W_]{3})(?:ing|ed|s)$")
VOWEL: Final = re.compile("[aeiouy]")


def split_name(goal_name: str, *, template: str) -> tuple[str, str]:
    """Return the event's type and name in a goal's name; an empty type if it follows no convention. Pure."""
    for convention in (template, TEMPLATE, *OTHER_TEMPLATES):
        for event_type in GOAL_TYPES if "{type}" in convention else ("",):
            before = name_goal(event_type, "", template=convention)
            if before and goal_name.startswith(before):
                return event_type, goal_name.removeprefix(before)
    return "", goal_name


def normalise_name(name: str) -> str:
    """Return a name without case, separators, variants of width and simple endings.

    Names that are then equal probably mean the same. Empty for a name without letters and digits.
    """
    text = HUMP.sub(" ", unicodedata.normalize("NFKC", name))
    return "".join(map(_stem, WORDS.findall(text.casefold())))


def _stem(word: str) -> str:
    stem = ENDING.sub("", word)
    if not VOWEL.search(stem):
        return word
    stem = stem.removesuffix("e") if len(stem) > 3 else stem  # noqa: PLR2004 - purchase and purchased, but use
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem  # noqa: PLR2004 - stop and stopped


def group_similar(names: Iterable[tuple[int, str]], *, template: str) -> list[list[int]]:
    """Return groups of goals, given as (id, name), of one type of event and with similar names. The order stays.

    A name without a type, which takes events of each type, is in the group of track events, otherwise of page or screen
    events.
    """
    keys = list[tuple[int, str, str]]()
    for id_, goal_name in names:
        event_type, name = split_name(goal_name, template=template)
        if key := normalise_name(name):
            keys.append((id_, event_type, key))
    typed = {(event_type, key) for _, event_type, key in keys}
    groups = defaultdict[tuple[str, str], list[int]](list)
    for id_, event_type, key in keys:
        joined = event_type or next((each for each in GOAL_TYPES if (each, key) in typed), "")
        groups[joined, key].append(id_)
    return [ids for ids in groups.values() if len(ids) > 1]
