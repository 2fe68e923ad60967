"""Names of goals as pages show them. Matching of events uses none of this."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from django.db.models import Case, F, Q, TextField, Value, When
from django.db.models.functions import Greatest, Length, Substr
from django.db.models.lookups import GreaterThan

import names
from goals.models import Goal
from goals.naming import GOAL_TYPES, OTHER_TEMPLATES, TEMPLATE, name_goal

MOST_TEMPLATES: Final = 100  # that a process remembers
_MARK: Final = "\0"  # no name holds it


@dataclass(frozen=True, slots=True)
class ShownName:
    """A name to show, with the type of its event as a small word before it."""

    text: str
    event_type: str = ""

    def __str__(self) -> str:
        return f"{self.event_type} {self.text}".lstrip() if self.event_type else self.text


class Affixes(NamedTuple):
    """Text of a convention before and after the name of an event of this type."""

    event_type: str
    before: str
    after: str


def show_name(name: str, display_name: str = "", *, template: str) -> ShownName:
    """Return the display name if there is one, otherwise the event's name with its type, otherwise the name. Pure."""
    if display_name:
        return ShownName(display_name)
    for event_type, before, after in list_affixes(template):
        if len(name) > len(before) + len(after) and name.startswith(before) and name.endswith(after):
            return ShownName(name[len(before) : len(name) - len(after)], event_type)
    return ShownName(name)


def show_goal_name(goal: Goal, *, template: str) -> ShownName:
    """Return the name of a goal as pages show it. Pure."""
    return show_name(goal.name, goal.display_name, template=template)


@lru_cache(MOST_TEMPLATES)
def list_affixes(template: str) -> tuple[Affixes, ...]:
    """Return the affixes of all conventions of a site, the longest first, because they leave the shortest name. Pure.

    The type is empty in a convention that does not write it.
    """
    affixes = [
        Affixes(event_type, *name_goal(event_type, _MARK, template=convention).split(_MARK))
        for convention in dict.fromkeys((template, TEMPLATE, *OTHER_TEMPLATES))
        for event_type in (GOAL_TYPES if "{type}" in convention else ("",))
    ]
    return tuple(sorted(affixes, key=lambda each: -len(each.before) - len(each.after)))


def shown_sort_key(template: str) -> Case:
    """Return the SQL of the sort key of what `show_goal_name` returns.

    It cuts the stored key of the whole name, because making 10,000 keys takes 0.15 s.
    """
    cuts = [
        When(
            Q(name__startswith=before)
            & Q(name__endswith=after)
            & Q(GreaterThan(Length("name"), len(before) + len(after))),
            then=Substr(
                "sort_key",
                _length(before) + 1,
                Greatest(Length("sort_key") - _length(before) - _length(after), 0),
            ),
        )
        for _, before, after in list_affixes(template)
    ]
    own = When(~Q(display_name=""), then=F("display_sort_key"))
    return Case(own, *cuts, default=F("sort_key"), output_field=TextField(db_collation="C"))


def _length(affix: str) -> Length:
    return Length(names.sort_key(Value(affix, output_field=TextField())))
