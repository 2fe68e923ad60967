r"""Definitions of custom data, and what is wrong with them. Pure.

The path of a trait is `plan` or `address.city`; a dot within a name is written `\.`.
"""

import re
from collections.abc import Collection, Iterator
from typing import Final

import msgspec

from cohorts.models import CustomData

Filling = CustomData.Filling
DOT: Final = re.compile(r"(?<!\\)\.")
MOST_DEFINITIONS: Final = 255  # of a site, as at Kameleoon
LARGEST_INDEX: Final = 32_767  # of lines and of definitions
SEGMENT_ID: Final = re.compile(r"[1-9][0-9]{0,17}")
# Values of these come from Goalpost, in one type and format each. A trait may have any.
SHAPES: Final = {
    Filling.GROUP: (CustomData.Type.UNIQUE, CustomData.Format.STRING),
    Filling.PERSONAS: (CustomData.Type.LIST, CustomData.Format.STRING),
    Filling.SEGMENT: (CustomData.Type.UNIQUE, CustomData.Format.BOOLEAN),
}


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A definition of custom data. The fields are those of the table."""

    index: int
    name: str
    description: str = ""
    type: str = CustomData.Type.UNIQUE
    format: str = CustomData.Format.STRING
    scope: str = CustomData.Scope.VISITOR
    is_mapping_identifier: bool = False
    is_local_only: bool = False
    filled_from: str = Filling.SDK
    filling: str = ""


FIELDS: Final = Definition.__struct_fields__


def definition_of(row: CustomData) -> Definition:
    """Return what the checks compare of a row."""
    return Definition(**{name: getattr(row, name) for name in FIELDS})


def parse_trait_path(path: str) -> tuple[str, ...]:
    """Return the names of the path of a trait."""
    return tuple(part.replace("\\.", ".") for part in DOT.split(path))


def find_problems(definition: Definition, others: Collection[Definition] = ()) -> dict[str, str]:
    """Return what is wrong with a definition beside the others of its site, by field; empty if it can be used."""
    problems: dict[str, str] = {}
    for check in (_check_identity(definition, others), _check_choices(definition), _check_filling(definition)):
        for name, problem in check:
            problems.setdefault(name, problem)
    if len(others) >= MOST_DEFINITIONS:
        problems.setdefault("index", f"A site may have {MOST_DEFINITIONS} custom data. Delete one first.")
    return problems


def _check_identity(definition: Definition, others: Collection[Definition]) -> Iterator[tuple[str, str]]:
    if not 1 <= definition.index <= LARGEST_INDEX:
        yield "index", f"Enter a number from 1 to {LARGEST_INDEX:,}. SDKs do not know the index 0 everywhere."
    if not definition.name.strip() or "\0" in definition.name:
        yield "name", "Enter a name without null characters."
    for other in others:
        if other.index == definition.index:
            yield "index", f"“{other.name}” has the index {other.index} already."
        if other.name == definition.name:
            yield "name", f"The custom data {other.index} has this name already."
        if other.is_mapping_identifier and definition.is_mapping_identifier:
            yield "is_mapping_identifier", f"“{other.name}” identifies the persons of this site already."


def _check_choices(definition: Definition) -> Iterator[tuple[str, str]]:
    for name, choices in (
        ("type", CustomData.Type.values),
        ("format", CustomData.Format.values),
        ("scope", CustomData.Scope.values),
        ("filled_from", Filling.values),
    ):
        if getattr(definition, name) not in choices:
            yield name, f"Choose one of {', '.join(choices)}."
    if definition.is_mapping_identifier and (definition.is_local_only or definition.filled_from != Filling.SDK):
        yield "is_mapping_identifier", "Only custom data that SDKs fill and send can identify a person."


def _check_filling(definition: Definition) -> Iterator[tuple[str, str]]:
    filled_from = definition.filled_from
    if filled_from == Filling.TRAIT and not all(parse_trait_path(definition.filling)):
        yield "filling", "Enter the path of a trait, such as plan or address.city."
    if filled_from == Filling.SEGMENT and not SEGMENT_ID.fullmatch(definition.filling):
        yield "filling", "Enter the id of a segment."
    if definition.filling and filled_from not in {Filling.TRAIT, Filling.SEGMENT}:
        yield "filling", "Leave this field empty: only traits and segments need it."
    if filled_from != Filling.SDK:
        yield from _check_derived(definition)


def _check_derived(definition: Definition) -> Iterator[tuple[str, str]]:
    if definition.is_local_only:
        yield "is_local_only", "SDKs do not fill it, so that it cannot stay in them."
    if definition.scope != CustomData.Scope.VISITOR:
        yield "scope", "Goalpost knows this value of a person: choose the scope VISITOR."
    if definition.filled_from in SHAPES:
        type_, format_ = SHAPES[Filling(definition.filled_from)]
        if definition.type != type_:
            yield "type", f"Choose {type_.label}, which is what it is filled with."
        if definition.format != format_:
            yield "format", f"Choose {format_.label}, which is what it is filled with."
