"""Names that a site knows, for the pickers of conditions and for their words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import Q

from api.models import Site, Source
from api.pages.people.segment_drafts import SegmentDraft, write_path
from api.pages.query_form import read_id
from cohorts.models import CustomData, Group, Persona
from cohorts.seen_traits import SeenTrait, find_traits_of_groups, find_traits_of_people
from cohorts.segment_tables import Segment
from cohorts.segments.conditions import (
    Conditions,
    CustomDataCondition,
    GoalCondition,
    SegmentCondition,
    SourceCondition,
    flatten,
)
from cohorts.segments.sentences import ReferenceNames
from goals.models import Goal
from goals.shown_names import show_goal_name

MOST_OFFERED = 300  # of each kind


@dataclass(frozen=True, slots=True)
class Pickers:
    """Names to pick from."""

    personas: Sequence[str]
    traits: Sequence[SeenTrait]
    groups: Sequence[str]
    group_traits: Sequence[SeenTrait]
    goals: Sequence[Goal]
    custom_data: Sequence[tuple[str, str]]  # value and label
    sources: Sequence[tuple[str, str]]
    segments: Sequence[tuple[str, str]]

    @property
    def trait_paths(self) -> list[tuple[str, str]]:
        """Return each trait as it is typed, with its type."""
        return [(write_path(trait.path), trait.type) for trait in self.traits]

    @property
    def group_trait_paths(self) -> list[tuple[str, str]]:
        return [(write_path(trait.path), trait.type) for trait in self.group_traits]


def load_pickers(site: Site, draft: SegmentDraft, *, segment: Segment | None) -> Pickers:
    """Return what the conditions of a draft may name, nothing of a kind that it does not ask for. Eight queries."""
    kinds = {each.kind for each in draft.drafts}
    goals = Goal.objects.filter(site=site, deleted_at=None, counts_for=None, archived_at=None).order_by("sort_key")
    personas = Persona.objects.filter(site=site).order_by("sort_key", "name")
    groups = Group.objects.filter(site=site).order_by("sort_key", "group_id")
    custom_data = CustomData.objects.filter(site=site).order_by("index").values_list("index", "name")
    segments = Segment.objects.filter(site=site).order_by("sort_key", "name")
    if segment is not None:
        segments = segments.exclude(pk=segment.pk)
    return Pickers(
        list(personas.values_list("name", flat=True)[:MOST_OFFERED]) if "persona" in kinds else (),
        find_traits_of_people(site.pk) if "trait" in kinds else (),
        list(groups.values_list("group_id", flat=True)[:MOST_OFFERED]) if "group" in kinds else (),
        find_traits_of_groups(site.pk) if "groupTrait" in kinds else (),
        list(goals[:MOST_OFFERED]) if "goal" in kinds else (),
        _offer(draft, "customData", "index", ((index, f"{index}: {name}") for index, name in custom_data)),
        _offer(draft, "source", "source", site.sources.order_by("name", "pk").values_list("pk", "name")),
        _offer(draft, "segment", "segment", segments.values_list("pk", "name")),
    )


def _offer(draft: SegmentDraft, kind: str, field: str, rows: Iterable[tuple[int, str]]) -> list[tuple[str, str]]:
    """Return the options of a field with those chosen that are gone. No query if no condition is of this kind."""
    chosen = {each.fields[field] for each in draft.drafts if each.kind == kind}
    if not chosen:
        return []
    options = [(str(value), label) for value, label in rows]
    gone = sorted(chosen - {value for value, _ in options} - {""})
    return options + [(value, f"{value[:20]}, which is gone") for value in gone]


def find_goals(site_id: int, texts: Iterable[str]) -> dict[str, int]:
    """Return the ids of live goals by the name or id that was typed. One query, if any was."""
    asked = {text for text in texts if text}
    ids = {id_: text for text in asked if (id_ := read_id(text)) is not None}
    if not asked:
        return {}
    match = Q(name__in=asked) | Q(pk__in=list(ids))
    found: dict[str, int] = {}
    for pk, name in Goal.objects.filter(match, site_id=site_id, deleted_at=None).values_list("pk", "name"):
        if name in asked:
            found.setdefault(name, pk)
        if pk in ids:
            found[ids[pk]] = pk  # an id wins over a name of digits
    return found


def load_names(site_id: int, all_conditions: Iterable[Conditions], *, template: str = "") -> ReferenceNames:
    """Return the names of the rows that conditions name. A query for each kind of row, if any is named.

    Goals have their names as pages show them under this template, without one their own, by which a form finds them.
    """
    conditions = [each for its in all_conditions for each in flatten(its)]
    goals = {each.goal for each in conditions if isinstance(each, GoalCondition)}
    sources = {each.source for each in conditions if isinstance(each, SourceCondition)}
    segments = {each.segment for each in conditions if isinstance(each, SegmentCondition)}
    indexes = {each.index for each in conditions if isinstance(each, CustomDataCondition)}
    live = Goal.objects.filter(site_id=site_id, deleted_at=None)
    return ReferenceNames(
        {
            goal.pk: str(show_goal_name(goal, template=template)) if template else goal.name
            for goal in live.filter(pk__in=goals)
        }
        if goals
        else {},
        dict(Source.objects.filter(site_id=site_id, pk__in=sources).values_list("pk", "name")) if sources else {},
        dict(Segment.objects.filter(site_id=site_id, pk__in=segments).values_list("pk", "name")) if segments else {},
        dict(CustomData.objects.filter(site_id=site_id, index__in=indexes).values_list("index", "name"))
        if indexes
        else {},
    )
