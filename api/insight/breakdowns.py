"""A goal's conversions by what they carried, and by what is known of who converted (promises K-87)."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from api.models import Site
from cohorts import remote_data
from cohorts.facts import Path, find_facts
from goals import breakdowns, reports
from goals.models import Goal
from goals.reports import Breakdown

NEWEST: Final = 20_000  # conversions that are looked at
NEWEST_OF_PEOPLE: Final = 2_000  # where each visitor's person is looked up


class By(StrEnum):
    """What a goal's conversions are broken down by. The first three are of the conversion: they are as they were at
    that time. The others are of the visitor, and as they are now.
    """

    PROPERTY = "property"
    CURRENCY = "currency"
    SOURCE = "source"
    TRAIT = "trait"
    GROUP = "group"
    PERSONA = "persona"
    GOAL = "goal"


NAMED: Final = frozenset({By.PROPERTY, By.TRAIT})  # it takes a name to say which one
OF_CONVERSIONS: Final = {
    By.PROPERTY: reports.By.PROPERTY,
    By.CURRENCY: reports.By.CURRENCY,
    By.SOURCE: reports.By.SOURCE,
}
OVERLAPS: Final = frozenset({By.PERSONA, By.GOAL})  # a visitor may be in several parts


@dataclass(frozen=True, slots=True)
class Seen:
    """A breakdown, with what it is of."""

    breakdown: Breakdown
    begin: datetime  # later than was asked for, where there are too many conversions
    is_cut: bool


def break_down(site: Site, goal: Goal, by: By, *, name: str = "", begin: datetime, end: datetime) -> Seen:
    """A goal's conversions from `begin` until before `end`, in at most 20 parts, all others together, and how many
    there are. Of more than NEWEST (NEWEST_OF_PEOPLE) conversions, only those since the oldest of the newest so many.

    A part has the conversions, the visits that began with one of them, the visitors that made them and the revenue.

    * `property` (at a path with dots), `currency`, `source`: each conversion is in one part, so that conversions,
      visits and revenue add up to those of the goal in that time; a visitor may be in several parts.
    * `trait` (a top-level one), `group`: each visitor is in one part with all of its conversions, so that visitors add
      up too. It is what remote data says under the visitor code now, whatever it was when the conversion happened: a
      text as it is, anything else as JSON, so that a list is one value. None: nothing is known.
    * `persona`: those that the visitor is in now; `goal`: the other goals that it ever converted, before or after. A
      visitor of several is in the part of each, and one of none in that of None: nothing adds up.

    Five queries at most.
    """
    limit = NEWEST if by in OF_CONVERSIONS else NEWEST_OF_PEOPLE
    since = breakdowns.newest_from(goal, end=end, newest=limit)
    is_cut = since is not None and since > begin
    begin = max(begin, since) if since else begin
    if by in OF_CONVERSIONS:
        of = OF_CONVERSIONS[by]
        return Seen(reports.breakdown(goal, of, path=name.split("."), begin=begin, end=end), begin, is_cut)
    visitors = breakdowns.visitors_of(goal, begin=begin, end=end)
    if by == By.GOAL:
        labels: Mapping[str, Collection[str]] = breakdowns.other_goals(goal, list(visitors))
    else:
        labels = _labels(site, by, name, list(visitors))
    return Seen(breakdowns.break_down(visitors, labels), begin, is_cut)


def _labels(site: Site, by: By, name: str, codes: Sequence[str]) -> dict[str, list[str]]:
    """By visitor code, the values of a trait, the group or the personas of its person now. One query."""
    # A name may follow from other traits, and a group from the company.
    paths: Mapping[By, list[Path]] = {
        By.TRAIT: [("traits",) if name == "name" else ("traits", name)],
        By.GROUP: [("group",), *([("traits",)] if site.company_is_group else [])],
        By.PERSONA: [("personas",)],
    }
    labels: dict[str, list[str]] = {}
    for code, person in find_facts(site.pk, codes, paths[by]).items():
        if by == By.PERSONA:
            labels[code] = [each for each, is_in in remote_data.memberships(person).items() if is_in]
            continue
        profile = remote_data.profile(person, public_traits=None, company_is_group=site.company_is_group)
        value = profile.get("traits", {}).get(name) if by == By.TRAIT else profile.get("groupId")
        labels[code] = [] if value is None else [_text(value)]
    return labels


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
