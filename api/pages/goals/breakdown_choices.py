"""Choices of a breakdown: what its rows may be and whose conversions it may count."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from django.db.models import CharField, F, QuerySet, Value
from django.http import QueryDict

from api.insight.breakdowns import NAMED, BreakdownBy, VisitorFilter
from api.models import Site
from api.pages.ranges import OF_BREAKDOWN
from cohorts.models import Group, Persona
from cohorts.seen_traits import find_traits_of_people
from cohorts.segment_tables import Segment
from goals.reports.property_use import PropertyUse

MOST_OFFERED: Final = 100  # personas, segments and groups each
OTHERS: Final = (
    (BreakdownBy.PERSONA, "Persona"),
    (BreakdownBy.GROUP, "Group"),
    (BreakdownBy.SEGMENT, "Segment"),
    (BreakdownBy.GOAL, "Other goal"),
    (BreakdownBy.SOURCE, "Source"),
    (BreakdownBy.CURRENCY, "Currency"),
)
AUDIENCES: Final = {BreakdownBy.PERSONA: "Personas", BreakdownBy.SEGMENT: "Segments", BreakdownBy.GROUP: "Groups"}

Options = list[tuple[str, str]]  # value and label


@dataclass(frozen=True, slots=True)
class Picker:
    """The options of a select in groups, and the one that is chosen."""

    groups: Sequence[tuple[str, Options]]
    chosen: str


def split_choices(query: QueryDict) -> QueryDict:
    """Return a query string in which each part of a choice has its own parameter. Pure.

    A select sends `by=trait:plan` and `only=persona:vip`. Links say `by=trait&path=plan` and `only=persona&value=vip`.
    """
    asked = query.copy()
    for name, rest in (("by", "path"), ("only", "value")):
        kind, colon, value = query.get(name, "").partition(":")
        if colon:
            asked[name], asked[rest] = kind, value
            if kind == BreakdownBy.TRAIT and name == "only":
                trait, _, asked["value"] = value.partition(":")
                asked["trait"] = unquote(trait)
    by, only = asked.get("by", ""), asked.get("only", "")
    is_nameless = by in set(BreakdownBy) - NAMED
    unused = {"path": is_nameless, "trait": only != BreakdownBy.TRAIT, "value": not only}
    for name in OF_BREAKDOWN:
        if unused.get(name) or not asked.get(name):
            asked.pop(name, None)
    return asked


def write_only(only: VisitorFilter) -> str:
    """Return a filter as its option's value. Pure."""
    trait = f"{quote(only.name, safe='')}:" if only.by == BreakdownBy.TRAIT else ""
    return f"{only.by}:{trait}{only.value}"


def load_rows_picker(site: Site, properties: Iterable[PropertyUse], by: BreakdownBy, path: str) -> Picker:
    """Return what the rows may be: these properties, traits that people of the site have, and the others. One query."""
    names: Mapping[BreakdownBy, set[str]] = {
        BreakdownBy.PROPERTY: {each.path for each in properties},
        BreakdownBy.TRAIT: {trait.path[0] for trait in find_traits_of_people(site.pk) if len(trait.path) == 1},
    }
    if by in NAMED and path:
        names[by].add(path)
    groups = [
        (title, [(f"{kind}:{name}", name) for name in sorted(names[kind])])
        for kind, title in ((BreakdownBy.PROPERTY, "Properties"), (BreakdownBy.TRAIT, "Traits"))
    ]
    others = [(kind.value, label) for kind, label in OTHERS]
    return Picker([*groups, ("More", others)], f"{by}:{path}" if by in NAMED else by.value)


def load_only_picker(site: Site, only: VisitorFilter | None, name: str) -> Picker:
    """Return the personas, segments and groups whose visitors may be counted, and the present filter. One query."""
    chosen = write_only(only) if only else ""
    found = list_audiences(site)
    groups = [(title, [(f"{kind}:{name}", name) for name in found[kind]]) for kind, title in AUDIENCES.items()]
    if only and all(value != chosen for _, options in groups for value, _ in options):
        label = f"{only.name} = {name}" if only.by == BreakdownBy.TRAIT else f"{only.by}: {name}"
        groups.insert(0, ("Current filter", [(chosen, label)]))
    return Picker(groups, chosen)


def list_audiences(site: Site) -> dict[str, list[str]]:
    """Return names of the first personas, segments and groups of a site. One query."""
    personas = _list_names(Persona.objects.filter(site=site), BreakdownBy.PERSONA, "name")
    segments = _list_names(Segment.objects.filter(site=site), BreakdownBy.SEGMENT, "name")
    groups = _list_names(Group.objects.filter(site=site), BreakdownBy.GROUP, "group_id")
    found: dict[str, list[str]] = {kind: [] for kind in AUDIENCES}
    for kind, name in personas.union(segments, groups, all=True):
        found[kind].append(name)
    return found


def _list_names(rows: QuerySet[Any], kind: BreakdownBy, column: str) -> QuerySet[Any]:
    kinds = Value(kind.value, output_field=CharField())
    return rows.order_by("sort_key", column).values_list(kinds, F(column))[:MOST_OFFERED]
