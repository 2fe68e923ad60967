"""Choices of a breakdown: what its rows may be and whose conversions it may count."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, unquote

from django.db.models import CharField, F, QuerySet, Value
from django.http import QueryDict

from api.insight.breakdowns import NAMED, BreakdownBy, PartFilter, UnknownName, find_other, unknown_goal
from api.models import Site
from api.pages.query_form import read_id
from api.pages.ranges import PLACES
from cohorts.models import Group, Persona
from cohorts.seen_traits import find_traits_of_people
from cohorts.segment_tables import Segment
from goals.models import Goal
from goals.reports.property_use import PropertyUse
from goals.shown_names import show_goal_name

MOST_FILTERS: Final = 5
INCOMPLETE: Final = "Enter the value to filter by, and for a trait or property its name too."
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
    """Return a query string that says each choice in one way. Pure.

    A select sends `by=trait:plan`, which becomes `by=trait&path=plan`. Each filter becomes an `only=persona:vip` or
    `only=trait:plan:pro`; typed ones, and older links, say `only=trait&trait=plan&value=pro`. What is not complete
    stays as it is.
    """
    asked = query.copy()
    kind, colon, name = query.get("by", "").partition(":")
    if colon:
        asked["by"], asked["path"] = kind, name
    if asked.get("by") in set(BreakdownBy) - NAMED or not asked.get("path"):
        asked.pop("path", None)
    if not asked.get("by"):
        asked.pop("by", None)
    name, value = asked.get("trait", ""), asked.get("value", "")
    filters = dict.fromkeys(_write_typed(each, name, value) for each in query.getlist("only") if each)
    for each in ("only", "trait", "value"):
        asked.pop(each, None)
    if filters:
        asked.setlist("only", list(filters)[-MOST_FILTERS:])
    return asked


def _write_typed(only: str, name: str, value: str) -> str:
    if only not in set(BreakdownBy) or not value or (only in NAMED and not name):
        return only
    return write_only(PartFilter(BreakdownBy(only), value, name if only in NAMED else ""))


def write_only(only: PartFilter) -> str:
    """Return a filter as its option's value. Pure."""
    name = f"{quote(only.name, safe='')}:" if only.by in NAMED else ""
    return f"{only.by}:{name}{only.value}"


def read_only(text: str) -> PartFilter | None:
    """Return the filter that `write_only` wrote, None for any other text. Pure."""
    kind, colon, value = text.partition(":")
    if kind not in set(BreakdownBy) or not colon:
        return None
    by, name = BreakdownBy(kind), ""
    if by in NAMED:
        name, colon, value = value.partition(":")
        if not name or not colon:
            return None
    return PartFilter(by, value, unquote(name).replace("\0", "\ufffd"))  # PostgreSQL has no text with NUL


@dataclass(frozen=True, slots=True)
class ShownFilter:
    """A filter as pages show it."""

    only: PartFilter
    label: str
    without: str  # query string of the page without it


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a query string: those that are found, and why one is not."""

    shown: Sequence[ShownFilter] = ()
    trouble: str = ""
    unknown: UnknownName | None = None

    @property
    def only(self) -> list[PartFilter]:
        return [each.only for each in self.shown]


def find_filters(site: Site, goal: Goal, asked: QueryDict) -> Filters:
    """Return the filters of a query string of `split_choices`. One query for each goal and source."""
    shown: list[ShownFilter] = []
    for text in asked.getlist("only"):
        only, label = read_only(text), ""
        if only is None:
            return Filters(shown, INCOMPLETE if text in set(BreakdownBy) else f"There is no filter “{text}”.")
        if only.by == BreakdownBy.GOAL:
            other = find_other(site, only.value.strip())
            if other is None or other == goal:
                return Filters(shown, unknown=unknown_goal(site, goal, only.value))
            only = PartFilter(BreakdownBy.GOAL, str(other.pk))
            label = str(show_goal_name(other, template=site.goal_name_template))
        elif only.by == BreakdownBy.SOURCE:
            pk = read_id(only.value)
            source = None if pk is None else site.sources.filter(pk=pk).first()
            if source is None:
                return Filters(shown, f"This site has no source “{only.value}”.")
            only, label = PartFilter(BreakdownBy.SOURCE, str(source.pk)), source.name
        label = f"{only.name} = {only.value}" if only.by in NAMED else f"{only.by}: {label or only.value}"
        shown.append(ShownFilter(only, label, _without(asked, text)))
    return Filters(shown)


def describe_unknown(unknown: UnknownName) -> str:
    """Return a sentence on what a breakdown or its filter names in vain."""
    match unknown.by:
        case BreakdownBy.PERSONA | BreakdownBy.SEGMENT | BreakdownBy.GROUP:
            return f"This site has no {unknown.by} “{unknown.value}”."
        case BreakdownBy.GOAL:
            return f"No other goal has the ID or name “{unknown.value}”."
        case BreakdownBy.PROPERTY:
            return f"None of these conversions has a property “{unknown.name}”."
        case _ if unknown.name:
            return f"None of these visitors has a trait “{unknown.name}”."
        case _:
            return f"None of these visitors has the value “{unknown.value}” of this trait."


def _without(asked: QueryDict, text: str) -> str:
    """Return a query string without a filter, which begins with the newest rows again. Pure."""
    link = asked.copy()
    link.setlist("only", [each for each in asked.getlist("only") if each != text])
    for name in PLACES:
        link.pop(name, None)
    return link.urlencode()


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


def load_only_picker(site: Site, present: Sequence[PartFilter]) -> Picker:
    """Return the personas, segments and groups that a further filter may name. One query."""
    found, chosen = list_audiences(site), {write_only(each) for each in present}
    groups = [
        (title, [(f"{kind}:{name}", name) for name in found[kind] if f"{kind}:{name}" not in chosen])
        for kind, title in AUDIENCES.items()
    ]
    return Picker(groups, "")


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
