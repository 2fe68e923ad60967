"""Facts of one person, as one frozen value, of which alone the evaluator judges."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

import times
from cohorts import merge
from cohorts.custom_data import parse_trait_path
from cohorts.custom_values import read_custom_values
from cohorts.models import CustomData
from cohorts.reserved_traits import company_id, full_name
from cohorts.segments.value_tests import find_value

Filling = CustomData.Filling


class GoalConversion(NamedTuple):
    """One conversion of a goal."""

    at: datetime
    revenue: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class ConvertedGoal:
    """Conversions of one goal by a person: the sums, and the latest ones if a segment asks for a period."""

    conversions: int
    last_at: datetime
    revenue: Mapping[str, Decimal] = field(default_factory=dict)  # by currency
    latest: Sequence[GoalConversion] = ()  # the newest first


@dataclass(frozen=True, slots=True)
class OutsideFacts:
    """Facts of a person that are not in its registers."""

    goals: Mapping[int, ConvertedGoal] = field(default_factory=dict)
    first_seen: datetime | None = None
    last_seen: datetime | None = None
    visits: Sequence[datetime] = ()  # the times at which they began, the oldest first
    sources: AbstractSet[int] = frozenset()

    def seen_also(self, first: datetime | None, last: datetime | None) -> "OutsideFacts":
        """Return the facts with the earlier first and the later last time."""
        firsts = [at for at in (first, self.first_seen) if at is not None]
        lasts = [at for at in (last, self.last_seen) if at is not None]
        return replace(self, first_seen=min(firsts, default=None), last_seen=max(lasts, default=None))


@dataclass(frozen=True, slots=True)
class PersonFacts:
    """Everything that conditions may ask of a person."""

    traits: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    group_traits: Mapping[str, Any] = field(default_factory=dict)
    personas: AbstractSet[str] = frozenset()
    custom_data: Mapping[int, Sequence[str]] = field(default_factory=dict)  # values by index
    outside: OutsideFacts = OutsideFacts()


@dataclass(frozen=True, slots=True)
class FilledCustomData:
    """Custom data that Goalpost fills: the index, the kind of place that it is filled from, and the path of a trait."""

    index: int
    filled_from: str
    filling: str


def group_of(joined: merge.Registers, *, company_is_group: bool) -> str | None:
    """Return the group of a joined person, if need be its company (promise I-12)."""
    if "group" in joined:
        return joined["group"][3]  # type: ignore[no-any-return]  # a group id
    company = joined.get("traits", {}).get("company")
    return company_id({"company": company[3]}) if company_is_group and company is not None else None


def traits_of(joined: merge.Registers) -> dict[str, Any]:
    """Return the traits of a joined person; a missing name comes from first and last name (promises I-14, I-15)."""
    traits = _present(joined)
    if "name" not in traits and (name := full_name(traits)) is not None:
        traits["name"] = name
    return traits


def seen_by_registers(
    joined: merge.Registers, *, first: int | None, last: int | None
) -> tuple[datetime | None, datetime | None]:
    """Return the first and last time at which a joined person was seen, as its registers know it."""
    stamps = [register[0] for name in merge.MAPS for register in joined.get(name, {}).values()]
    stamps += [joined["group"][0]] if "group" in joined else []
    return (
        None if first is None else times.of_stamp(first),
        max(map(times.of_stamp, stamps if last is None else [*stamps, last]), default=None),
    )


def facts_of(
    joined: merge.Registers,
    *,
    group: str | None,
    group_registers: merge.Registers,
    filled: Iterable[FilledCustomData],
    outside: OutsideFacts,
) -> PersonFacts:
    traits = traits_of(joined)
    return PersonFacts(
        traits=traits,
        group=group,
        group_traits=_present(group_registers),
        personas=frozenset(_personas_of(joined)),
        custom_data=custom_data_of(joined, filled, traits=traits, group=group),
        outside=outside,
    )


def custom_data_of(
    joined: merge.Registers, filled: Iterable[FilledCustomData], *, traits: Mapping[str, Any], group: str | None
) -> dict[int, Sequence[str]]:
    """Return the values of custom data by index: those that SDKs sent, or those that Goalpost fills in their place.

    `traits` and `group` are those that a reader may see. Custom data that is filled from a segment has no values here,
    because a segment may ask for it in turn.
    """
    values: dict[int, Sequence[str]] = {index: tuple(counts) for index, counts in read_custom_values(joined).items()}
    for each in filled:
        if each.filled_from == Filling.TRAIT:
            values[each.index] = as_texts(find_value(traits, parse_trait_path(each.filling)))
        elif each.filled_from == Filling.GROUP:
            values[each.index] = as_texts(group)
        else:
            values[each.index] = _personas_of(joined) if each.filled_from == Filling.PERSONAS else ()
    return values


def as_texts(value: Any) -> list[str]:
    """Return a value of a trait, or of a context, as the values of custom data."""
    if value is None:
        return []
    if isinstance(value, list):
        return [text for part in value for text in as_texts(part)]
    return [value if isinstance(value, str) else msgspec.json.encode(value).decode()]


def _personas_of(joined: merge.Registers) -> list[str]:
    return [name for name, register in joined.get("personas", {}).items() if register[3]]


def _present(registers: merge.Registers) -> dict[str, Any]:
    return {name: register[3] for name, register in registers.get("traits", {}).items() if register[3] is not None}
