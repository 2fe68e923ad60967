"""Finding goals and conversions: the lists that people and programs read, of live goals only."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from itertools import chain

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import BooleanField, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Greatest

import names
from goals.models import Conversion, Goal, Tag
from goals.reports import members_of


@dataclass(frozen=True, slots=True)
class GoalFilter:
    """Which goals are wanted; what is None or empty does not matter."""

    tags: Collection[str] = ()
    needs_every_tag: bool = False
    is_archived: bool | None = None
    is_made_by_event: bool | None = None
    search: str = ""  # words that the name has, in any order (names.search)
    type: str = ""
    seen_since: datetime | None = None  # converted at this time or later
    unseen_since: datetime | None = None  # not since then, or never
    is_never_seen: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of conversions ended: the next one begins with what is older."""

    occurred_at: datetime
    id: int


def live_goals(site_ids: Collection[int]) -> QuerySet[Goal]:
    """The goals of these sites that are neither deleted nor merged, with site, tags, bindings, `last_conversion_at`
    and `merged_ids`.

    Three queries a page, and two looks at the end of an index a goal, and one for each goal merged into it.
    """
    last = Conversion.objects.filter(goal=OuterRef("pk")).order_by("-occurred_at", "-id").values("occurred_at")[:1]
    merged = Goal.objects.filter(counts_for=OuterRef("pk"), deleted_at=None).annotate(last_at=Subquery(last))
    last_of_merged = merged.order_by(F("last_at").desc(nulls_last=True)).values("last_at")[:1]
    return (
        Goal.objects.filter(site_id__in=site_ids, deleted_at=None, counts_for=None)
        .annotate(
            last_conversion_at=Greatest(Subquery(last), Subquery(last_of_merged)),
            merged_ids=ArraySubquery(merged.order_by("pk").values("pk")),
        )
        .select_related("site")
        .prefetch_related("tags", "bindings")
    )


def find_live_goal(site_ids: Collection[int], goal_id: int, *, follows_merge: bool = False) -> Goal | None:
    """A goal of `live_goals` by its id; if it `follows_merge`, by the id of one merged into it too. Four queries."""
    goal = live_goals(site_ids).filter(pk=goal_id).first()
    if goal is None and follows_merge:
        merged = Goal.objects.filter(pk=goal_id, site_id__in=site_ids, deleted_at=None)
        goal = live_goals(site_ids).filter(pk__in=merged.values("counts_for")).first()
    return goal


def filter_goals(site_ids: Collection[int], wanted: GoalFilter) -> QuerySet[Goal]:
    """Live goals that pass the filter, in no order."""
    goals = live_goals(site_ids)
    if wanted.tags:
        tagged = Tag.objects.filter(site_id__in=site_ids)
        wanted_tags = sorted(set(wanted.tags))
        for each in [[name] for name in wanted_tags] if wanted.needs_every_tag else [wanted_tags]:
            goals = goals.filter(pk__in=tagged.filter(name__in=each).values("goals"))
    if wanted.is_archived is not None:
        goals = goals.filter(archived_at__isnull=not wanted.is_archived)
    if wanted.is_made_by_event is not None:
        by_event = {"origin": Goal.Origin.EVENT}
        goals = goals.filter(**by_event) if wanted.is_made_by_event else goals.exclude(**by_event)
    if wanted.search:
        goals = names.search_folded(goals, wanted.search, "search_key")
    if wanted.type:
        goals = goals.filter(type=wanted.type)
    if wanted.seen_since is not None:
        goals = goals.filter(Q(last_conversion_at__gte=wanted.seen_since))
    if wanted.unseen_since is not None:
        goals = goals.filter(Q(last_conversion_at__lt=wanted.unseen_since) | Q(last_conversion_at=None))
    if wanted.is_never_seen:
        goals = goals.filter(Q(last_conversion_at=None))
    return goals


def conversions_of_goal(goal: Goal, *, after: Place | None, limit: int) -> list[Conversion]:
    """A page of a goal's conversions, and of those merged into it, newest first; however deep the page.

    Two queries, and one more for each goal merged into it: the index holds each goal's in their order.
    """
    pages = (
        _page(Conversion.objects.filter(goal=id_), after=after, limit=limit) for id_ in members_of([goal])[goal.pk]
    )
    newest = sorted(chain.from_iterable(pages), key=lambda each: (each.occurred_at, each.pk), reverse=True)
    return newest[:limit]


def conversions_of_visitor(
    site_ids: Collection[int], visitor_code: str, *, after: Place | None, limit: int
) -> list[Conversion]:
    """A page of what a visitor converted on these sites, newest first. One query, however deep the page."""
    conversions = Conversion.objects.filter(site_id__in=site_ids, visitor_code=visitor_code)
    return _page(conversions, after=after, limit=limit)


def _page(conversions: QuerySet[Conversion], *, after: Place | None, limit: int) -> list[Conversion]:
    conversions = conversions.filter(goal__deleted_at=None).select_related("goal").order_by("-occurred_at", "-id")
    if after is not None:
        # A comparison of rows, which the index answers; the same with OR would read every row of one time again.
        older = RawSQL(
            "(goals_conversion.occurred_at, goals_conversion.id) < (%s, %s)",
            (after.occurred_at, after.id),
            output_field=BooleanField(),
        )
        conversions = conversions.filter(older)
    return list(conversions[:limit])
