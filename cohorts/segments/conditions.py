"""Conditions of a segment as typed values, and their JSON. Pure.

A segment is a list of groups of conditions. A person is a member if in each group at least one condition holds.
"""

from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

NO_VALUES: Final = ()


class Exists(msgspec.Struct, frozen=True, tag="any", tag_field="type"):
    """A test that any value passes."""


class TextTest(msgspec.Struct, frozen=True, tag="text", tag_field="type", omit_defaults=True):
    """A test of text; one of the texts is enough. Of a list, one element is enough."""

    texts: tuple[str, ...]
    how: Literal["equals", "contains", "begins", "ends"] = "equals"


class NumberTest(msgspec.Struct, frozen=True, tag="number", tag_field="type", omit_defaults=True):
    """A test of a number, or of text that is a number."""

    how: Literal["equals", "above", "at_least", "below", "at_most", "between"]
    number: Decimal
    most: Decimal | None = None  # of `between`, both ends included


class BooleanTest(msgspec.Struct, frozen=True, tag="boolean", tag_field="type"):
    """A test of true or false."""

    is_true: bool = msgspec.field(name="isTrue")


class DateTest(msgspec.Struct, frozen=True, tag="date", tag_field="type", omit_defaults=True):
    """A test of a time: against a day, or against the present, which time alone may turn."""

    how: Literal["before", "since", "within", "longer_ago", "in_next"]
    date: str | None = None  # of `before` and `since`: 2026-11-22 or 2026-11-22T08:30:00Z
    days: float | None = None  # of the others


class ListTest(msgspec.Struct, frozen=True, tag="list", tag_field="type", omit_defaults=True):
    """A test of the elements of a list."""

    texts: tuple[str, ...]
    how: Literal["any", "all"] = "any"


Test = Exists | TextTest | NumberTest | BooleanTest | DateTest | ListTest


class TraitCondition(msgspec.Struct, frozen=True, tag="trait", tag_field="on", omit_defaults=True):
    """A condition on a trait, or on a field of one."""

    path: tuple[str, ...]
    test: Test
    negated: bool = False


class GroupCondition(msgspec.Struct, frozen=True, tag="group", tag_field="on", omit_defaults=True):
    """A condition on the group of a person: one of these, or any."""

    ids: tuple[str, ...] = NO_VALUES
    negated: bool = False


class GroupTraitCondition(msgspec.Struct, frozen=True, tag="groupTrait", tag_field="on", omit_defaults=True):
    """A condition on a trait of the person's group."""

    path: tuple[str, ...]
    test: Test
    negated: bool = False


class PersonaCondition(msgspec.Struct, frozen=True, tag="persona", tag_field="on", omit_defaults=True):
    """A condition on a persona that the person is in (promise K-61)."""

    name: str
    negated: bool = False


class CustomDataCondition(msgspec.Struct, frozen=True, tag="customData", tag_field="on", omit_defaults=True):
    """A condition on a value of custom data."""

    index: int
    test: Test
    negated: bool = False


class GoalCondition(msgspec.Struct, frozen=True, tag="goal", tag_field="on", omit_defaults=True):
    """A condition on conversions of a goal: how many, and their revenue, ever or within days (promise K-88)."""

    goal: int
    times: int = 1
    revenue: Decimal | None = None  # at least
    currency: str | None = None  # of the revenue
    days: float | None = None
    negated: bool = False


class SeenCondition(msgspec.Struct, frozen=True, tag="seen", tag_field="on", omit_defaults=True):
    """A condition on the first or the last time that the person was seen: by an event, or as a visit began."""

    which: Literal["first", "last"]
    test: DateTest
    negated: bool = False


class VisitsCondition(msgspec.Struct, frozen=True, tag="visits", tag_field="on", omit_defaults=True):
    """A condition on the number of visits that began within days."""

    test: NumberTest
    days: float = 365.0
    negated: bool = False


class SourceCondition(msgspec.Struct, frozen=True, tag="source", tag_field="on", omit_defaults=True):
    """A condition on a source by which the person converted."""

    source: int
    negated: bool = False


class SegmentCondition(msgspec.Struct, frozen=True, tag="segment", tag_field="on", omit_defaults=True):
    """A condition on another segment."""

    segment: int
    negated: bool = False


Condition = (
    TraitCondition
    | GroupCondition
    | GroupTraitCondition
    | PersonaCondition
    | CustomDataCondition
    | GoalCondition
    | SeenCondition
    | VisitsCondition
    | SourceCondition
    | SegmentCondition
)
Conditions = tuple[tuple[Condition, ...], ...]  # all of the groups, any of a group


class CompiledSegment(msgspec.Struct, frozen=True):
    """A segment for the evaluator."""

    id: int
    name: str
    version: int
    conditions: Conditions


def read_conditions(value: Any) -> Conditions:
    """Return conditions from their JSON value. Raises msgspec.ValidationError, which names the place."""
    return msgspec.convert(value, Conditions)


@lru_cache(maxsize=4_096)
def decode_conditions(text: str) -> Conditions:
    """Return conditions from stored JSON. The digest reads those of a site with each batch."""
    return msgspec.json.decode(text, type=Conditions)


def write_conditions(conditions: Conditions) -> Any:
    """Return conditions as a JSON value."""
    return msgspec.json.decode(msgspec.json.encode(conditions))


def write_condition(condition: Condition) -> dict[str, Any]:
    """Return one condition as a JSON value."""
    return msgspec.json.decode(msgspec.json.encode(condition), type=dict[str, Any])


def references_of(conditions: Conditions) -> frozenset[int]:
    """Return the segments that these conditions name."""
    return frozenset(each.segment for each in flatten(conditions) if isinstance(each, SegmentCondition))


def flatten(conditions: Conditions) -> list[Condition]:
    """Return all conditions in one list."""
    return [condition for group in conditions for condition in group]
