"""Breakdowns of a goal's conversions by their own fields and by facts about their visitors (promise K-87)."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.utils import timezone

from api.models import Site
from cohorts import remote_data
from cohorts.facts import Path, find_facts
from cohorts.models import Group, Persona
from cohorts.reserved_traits import NAME_PARTS
from cohorts.segment_tables import Segment
from cohorts.segments.listing import find_segments_of
from goals.models import SEARCH_KEYS, Goal
from goals.queries import load_property_names
from goals.reports import breakdown
from goals.reports.breakdown import (
    Breakdown,
    BreakdownField,
    BreakdownPart,
    Cancelled,
    FieldFilter,
    load_breakdown,
    load_cancelled,
)
from goals.reports.figures import GoalFigures
from goals.reports.visitors import (
    count_newest_within_bytes,
    find_oldest_of_newest,
    group_by_label,
    load_other_goals,
    load_visitor_figures,
    sum_visitors,
)
from names import MAX_NEAREST, nearest, search_folded

ID_DIGITS: Final = 18
MOST_KNOWN: Final = 2_000  # names that are compared with an unknown one
LATEST_CONVERSIONS: Final = 50  # conversions whose properties are listed
NEWEST_CONVERSIONS: Final = 20_000  # conversions that are read
NEWEST_OF_PEOPLE: Final = 2_000  # the same if each visitor's person is read
LOOK_BYTES: Final = 33_554_432  # of properties, as stored: 20,000 events of 1.6 kB


class BreakdownBy(StrEnum):
    """Fields of a breakdown. The first three are of the conversion, at its time; the others of the visitor, now."""

    PROPERTY = "property"
    CURRENCY = "currency"
    SOURCE = "source"
    TRAIT = "trait"
    GROUP = "group"
    PERSONA = "persona"
    SEGMENT = "segment"
    GOAL = "goal"


NAMED: Final = frozenset({BreakdownBy.PROPERTY, BreakdownBy.TRAIT})  # these need a name
OF_CONVERSIONS: Final = {
    BreakdownBy.PROPERTY: BreakdownField.PROPERTY,
    BreakdownBy.CURRENCY: BreakdownField.CURRENCY,
    BreakdownBy.SOURCE: BreakdownField.SOURCE,
}
FILTERS: Final = tuple(by for by in BreakdownBy if by not in OF_CONVERSIONS)
AUDIENCES: Final = frozenset({BreakdownBy.PERSONA, BreakdownBy.SEGMENT})
OVERLAPS: Final = AUDIENCES | {BreakdownBy.GOAL}  # a visitor may be in several parts


@dataclass(frozen=True, slots=True)
class PartFilter:
    """Filter of conversions: those in the part of this value of a breakdown `by`."""

    by: BreakdownBy
    value: str  # of the part; a goal's id for `goal`
    name: str = ""  # of the trait or property

    @property
    def is_of_people(self) -> bool:
        return self.by not in OF_CONVERSIONS


@dataclass(frozen=True, slots=True)
class UnknownName:
    """A name or value that no row has, and similar ones that exist."""

    by: BreakdownBy
    name: str  # of the property or trait; empty if a value is unknown
    value: str
    near: Sequence[str]  # or some existing ones if none is similar
    is_of_filter: bool = True  # otherwise of the breakdown


@dataclass(frozen=True, slots=True)
class BreakdownView:
    """A breakdown with its period and its whole."""

    breakdown: Breakdown
    begin: datetime  # later than asked for if there are too many conversions
    is_cut: bool
    conversions: int  # of all parts, each once: a visitor may be in several
    whole: BreakdownPart | None  # the sum, if there is a filter
    unknown: UnknownName | None  # why the breakdown is empty
    cancelled: Cancelled  # of the goal in this time, in no part


def break_down(
    site: Site,
    goal: Goal,
    by: BreakdownBy,
    *,
    name: str = "",
    only: Sequence[PartFilter] = (),
    begin: datetime,
    end: datetime,
) -> BreakdownView:
    """Return a goal's conversions from `begin` until before `end`, in at most 20 parts, all others together.

    It reads the NEWEST_CONVERSIONS, by time and then by id. It reads NEWEST_OF_PEOPLE if parts or filter need
    people, and LOOK_BYTES of a property. The cost is bounded, however many conversions happened at one time.

    A part has the conversions, the visits that began with one of them, the visitors that made them and the revenue.

    * `property` (at a path with dots), `currency`, `source`: each conversion is in one part. So conversions, visits
      and revenue add up to those of the goal in that time; a visitor may be in several parts.
    * `trait` (a top-level one), `group`: each visitor is in one part with all of its conversions, so that visitors add
      up too. The value is that of the visitor's remote data now, not at the time of the conversion. A text is used as
      it is, anything else as JSON, so that a list is one value. None: no value.
    * `persona`, `segment`: those that the visitor is in now; `goal`: the other goals that it ever converted, before or
      after. A visitor of several is in the part of each, and one of none in that of None: nothing adds up.

    With `only`, just conversions that match all filters are counted. A filter of visitors is one of their values now,
    and keeps all of their conversions. Each filter alone has the part that a breakdown by it has under that value.

    Ten queries at most, of a goal of `queries.live_goals`, one more for each filter, two more if something is unknown.
    """
    sample = select_conversions(site, goal, only, begin=begin, end=end, by=by)
    begin, visitors, unknown = sample.since or begin, sample.visitors, sample.unknown
    if by in OF_CONVERSIONS:
        breakdown = load_breakdown(
            goal,
            OF_CONVERSIONS[by],
            path=name.split("."),
            begin=begin,
            end=end,
            newest=sample.newest,
            visitors=sample.codes,
            fields=sample.fields,
        )
    else:
        breakdown = group_by_label(visitors, _labels(site, goal, by, name, list(visitors)))
    if by in NAMED and [part.value for part in breakdown.parts] == [None]:
        unknown = unknown or _unknown_name(site, goal, by, name, list(visitors))
    whole = sum_visitors(None, visitors, visitors) if only else None
    if by not in OF_CONVERSIONS:
        conversions = sum(figures.conversions for figures in visitors.values())
    else:
        conversions = sum(part.conversions for part in (*breakdown.parts, breakdown.other) if part)
    cancelled = load_cancelled(goal, begin=begin, end=end)
    return BreakdownView(breakdown, begin, sample.since is not None, conversions, whole, unknown, cancelled)


@dataclass(frozen=True, slots=True)
class FilteredConversions:
    """The newest conversions of a goal in some time that match filters, as far as they are read."""

    newest: int  # conversions that are read, before the filters
    since: datetime | None  # the time of the oldest of them if there are more
    fields: Sequence[FieldFilter]  # the filters of conversions
    visitors: dict[str, GoalFigures]  # that match all filters; empty if nothing asks for them
    is_of_people: bool  # there are filters of visitors
    unknown: UnknownName | None

    @property
    def codes(self) -> list[str] | None:
        """The visitors that match, None if every visitor does."""
        return list(self.visitors) if self.is_of_people else None


def select_conversions(
    site: Site,
    goal: Goal,
    only: Sequence[PartFilter],
    *,
    begin: datetime,
    end: datetime,
    by: BreakdownBy = BreakdownBy.SOURCE,
) -> FilteredConversions:
    """Return which conversions match all filters, for rows `by` something. Four queries, and one for each filter."""
    people = [each for each in only if each.is_of_people]
    fields = [
        FieldFilter(OF_CONVERSIONS[each.by], each.value, each.name.split(".") if each.name else ())
        for each in only
        if not each.is_of_people
    ]
    newest = NEWEST_OF_PEOPLE if people or by not in OF_CONVERSIONS else NEWEST_CONVERSIONS
    if BreakdownBy.PROPERTY in {by, *(each.by for each in only)}:
        newest = count_newest_within_bytes(goal, begin=begin, end=end, newest=newest, most_bytes=LOOK_BYTES)
    since = find_oldest_of_newest(goal, begin=begin, end=end, newest=newest)
    visitors, unknown = dict[str, GoalFigures](), None
    if only or by not in OF_CONVERSIONS:
        visitors = load_visitor_figures(goal, begin=since or begin, end=end, newest=newest, fields=fields)
    for each in people:
        labels, looked_at = _labels(site, goal, each.by, each.name, list(visitors)), list(visitors)
        visitors = {code: figures for code, figures in visitors.items() if each.value in labels.get(code, ())}
        if not visitors and unknown is None:
            unknown = _unknown_value(site, each, labels, looked_at)
    return FilteredConversions(newest, since, fields, visitors, bool(people), unknown)


def unknown_audience(site: Site, only: PartFilter) -> UnknownName | None:
    """Return None if a site has the persona or segment of a filter, otherwise similar names. At most two queries."""
    rows: QuerySet[Persona] | QuerySet[Segment] = (
        Persona.objects.filter(site=site) if only.by == BreakdownBy.PERSONA else Segment.objects.filter(site=site)
    )
    if rows.filter(name=only.value).exists():
        return None
    return _unknown(only.by, "", only.value, rows.order_by("sort_key").values_list("name", flat=True)[:MOST_KNOWN])


def unknown_goal(site: Site, goal: Goal, name: str) -> UnknownName:
    """Return the goals with names similar to an unknown one. At most two queries."""
    others = Goal.objects.filter(site=site, deleted_at=None, counts_for=None).exclude(pk=goal.pk).order_by("sort_key")
    similar = list(search_folded(others, name, *SEARCH_KEYS).values_list("name", flat=True)[:MAX_NEAREST])
    return UnknownName(
        BreakdownBy.GOAL, "", name, similar or nearest(name, others.values_list("name", flat=True)[:MOST_KNOWN])
    )


def _unknown_value(
    site: Site, only: PartFilter, labels: Mapping[str, Collection[str]], codes: Sequence[str]
) -> UnknownName | None:
    """Return the unknown name or value of a filter that left no visitor, None if all is known. At most two queries."""
    known = {label for values in labels.values() for label in values}
    match only.by:
        case BreakdownBy.PERSONA | BreakdownBy.SEGMENT:
            return unknown_audience(site, only)
        case BreakdownBy.TRAIT if not known:
            return _unknown(BreakdownBy.TRAIT, only.name, "", _traits_of(site, codes)) if codes else None
        case BreakdownBy.TRAIT:
            return _unknown(BreakdownBy.TRAIT, "", only.value, known)
        case BreakdownBy.GROUP:
            groups = Group.objects.filter(site=site)
            if groups.filter(group_id=only.value).exists():
                return None
            known.update(groups.order_by("sort_key").values_list("group_id", flat=True)[:MOST_KNOWN])
            return _unknown(BreakdownBy.GROUP, "", only.value, known)
        case _:
            return None  # the caller has looked the goal up


def _unknown_name(site: Site, goal: Goal, by: BreakdownBy, name: str, codes: Sequence[str]) -> UnknownName:
    """Return the traits or properties similar to a name that no conversion has. One query."""
    known = _traits_of(site, codes) if by == BreakdownBy.TRAIT else load_property_names(goal, latest=LATEST_CONVERSIONS)
    return replace(_unknown(by, name, "", known), is_of_filter=False)


def _unknown(by: BreakdownBy, name: str, value: str, known: Iterable[str]) -> UnknownName:
    names = sorted(known)
    return UnknownName(by, name, value, nearest(name or value, names) or names[:MAX_NEAREST])


def _traits_of(site: Site, codes: Sequence[str]) -> set[str]:
    """Return the names of the traits of some visitors. One query."""
    people = find_facts(site.pk, codes[:MOST_KNOWN], [("traits",)])
    return {name for person in people.values() for name in person.get("traits", {})}


def find_other(site: Site, name: str) -> Goal | None:
    """Return the live goal with this id, name or display name, in this order; of a merged one the goal it counts for.

    One query.
    """
    match = Q(name=name) | Q(display_name=name)
    if name.isascii() and name.isdigit() and len(name) <= ID_DIGITS:
        match |= Q(pk=int(name))
    goals = Goal.objects.filter(match, site=site, deleted_at=None).select_related("counts_for").order_by("pk")
    goal = min(goals, key=lambda goal: (str(goal.pk) != name, goal.name != name), default=None)
    return goal and (goal.counts_for or goal)


def _labels(site: Site, goal: Goal, by: BreakdownBy, name: str, codes: Sequence[str]) -> Mapping[str, Collection[str]]:
    """Return, by visitor code, the labels of its parts. One query, three for segments."""
    match by:
        case BreakdownBy.GOAL:
            return load_other_goals(goal, codes)
        case BreakdownBy.SEGMENT:
            return find_segments_of(site.pk, codes, now=timezone.now())
        case _:
            return _labels_of_people(site, by, name, codes)


def _labels_of_people(site: Site, by: BreakdownBy, name: str, codes: Sequence[str]) -> dict[str, list[str]]:
    """Return, by visitor code, the trait's value, the group or the personas of its person now. One query."""
    # A name may follow from other traits, and a group from the company.
    paths: Mapping[BreakdownBy, list[Path]] = {
        BreakdownBy.TRAIT: [("traits", part) for part in (name, *(NAME_PARTS if name == "name" else ()))],
        BreakdownBy.GROUP: [("group",), *([("traits", "company")] if site.company_is_group else [])],
        BreakdownBy.PERSONA: [("personas",)],
    }
    labels: dict[str, list[str]] = {}
    for code, person in find_facts(site.pk, codes, paths[by]).items():
        if by == BreakdownBy.PERSONA:
            labels[code] = [persona for persona, is_in in remote_data.memberships(person).items() if is_in]
            continue
        profile = remote_data.profile(person, remote_data.Reader(None, company_is_group=site.company_is_group))
        value = profile.get("traits", {}).get(name) if by == BreakdownBy.TRAIT else profile.get("groupId")
        labels[code] = [] if value is None else [_text(value)]
    return labels


def _text(value: Any) -> str:
    """Return the label of a part: a text as it is, other values as JSON. A long one is cut and gets a short hash."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= breakdown.VALUE_LENGTH:
        return text
    return f"{text[: breakdown.VALUE_LENGTH]}… ({hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8]})"
