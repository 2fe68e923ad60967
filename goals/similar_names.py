"""Goals whose names mean the same: `Sign Up`, `sign_up`, `SignUp` and `Signed Up`. Pure."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from goals.naming import EVENT_TYPES, OTHER_TEMPLATES, TEMPLATE, name_goal

HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
WORDS: Final = re.compile(r"[^\W_]+")
# Endings of English verbs and plurals, behind what has a vowel and three letters at least: not those of `sing`, `bus`.
ENDING: Final = re.compile(r"(?<=[^\W_]{3})(?:ing|ed|s)$")
VOWEL: Final = re.compile("[aeiouy]")


def split_name(goal_name: str, *, template: str) -> tuple[str, str]:
    """The event's type and name in a goal's name that follows a convention; else no type and the name. Pure."""
    for each in (template, TEMPLATE, *OTHER_TEMPLATES):
        for event_type in EVENT_TYPES if "{type}" in each else ("",):
            before = name_goal(event_type, "", template=each)
            if before and goal_name.startswith(before):
                return event_type, goal_name.removeprefix(before)
    return "", goal_name


def normalise_name(name: str) -> str:
    """What is left of a name without case, separators, accents of width, and simple endings; names of one likeness
    mean the same most likely. Empty for a name without letters and digits.
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
    """Of goals as (id, name), those of one type of event whose names are alike; each group in the order given."""
    groups = defaultdict[tuple[str, str], list[int]](list)
    for id_, goal_name in names:
        event_type, name = split_name(goal_name, template=template)
        if key := normalise_name(name):
            groups[event_type, key].append(id_)
    return [ids for ids in groups.values() if len(ids) > 1]
