"""Finding goals and conversions: the lists that people and programs read, of live goals only."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import BooleanField, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Greatest

import names
from goals.models import Conversion, Goal, Tag
from goals.reports.figures import load_member_ids

# Of a conversion's properties as JSON. An event of 1 MB has 1.9 MB at most; earlier versions stored up to 50 MB.
MOST_PROPERTIES: Final = 2_097_152
MOST_NAMES: Final = 500  # of properties, that a page offers
NAME_LENGTH: Final = 200  # of such a name
NAMED_BYTES: Final = 65_536  # of the properties, as stored, that are looked into for names
# At most how many bytes of JSON a conversion `c` has, known without reading it: PostgreSQL compresses 90 times at most.
PROPERTIES_BYTES: Final = f"least(pg_column_size(c.properties)::bigint * 100, {MOST_PROPERTIES})"


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
class ConversionPosition:
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


def list_goal_conversions(goal: Goal, *, after: ConversionPosition | None, limit: int) -> list[Conversion]:
    """Return a page of a goal's conversions, and of those merged into it, newest first, without their properties.

    However deep the page, two queries, and one more for each goal merged into it: the index holds each goal's in their
    order.
    """
    pages = (
        _page(Conversion.objects.filter(goal=id_), after=after, limit=limit) for id_ in load_member_ids([goal])[goal.pk]
    )
    newest = sorted(chain.from_iterable(pages), key=lambda each: (each.occurred_at, each.pk), reverse=True)
    return newest[:limit]


def list_visitor_conversions(
    site_ids: Collection[int], visitor_code: str, *, after: ConversionPosition | None, limit: int
) -> list[Conversion]:
    """Return a page of what a visitor converted on these sites, newest first, without the properties.

    One query, however deep the page.
    """
    conversions = Conversion.objects.filter(site_id__in=site_ids, visitor_code=visitor_code)
    return _page(conversions, after=after, limit=limit)


def _page(conversions: QuerySet[Conversion], *, after: ConversionPosition | None, limit: int) -> list[Conversion]:
    conversions = conversions.filter(goal__deleted_at=None).select_related("goal").order_by("-occurred_at", "-id")
    conversions = conversions.defer("properties")  # 50 of them may be 100 MB
    if after is not None:
        # A comparison of rows, which the index answers; the same with OR would read every row of one time again.
        older = RawSQL(
            "(goals_conversion.occurred_at, goals_conversion.id) < (%s, %s)",
            (after.occurred_at, after.id),
            output_field=BooleanField(),
        )
        conversions = conversions.filter(older)
    return list(conversions[:limit])


def estimate_properties_bytes(conversion_ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return (id, at most how many bytes of JSON its properties have) in the order of the ids. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT c.id, {PROPERTIES_BYTES} FROM goals_conversion c WHERE c.id = ANY(%b::bigint[])",
            [list(conversion_ids)],
        )
        sizes = dict(cursor.fetchall())
    return [(id_, sizes[id_]) for id_ in conversion_ids if id_ in sizes]


def load_properties(conversion_ids: Sequence[int]) -> dict[int, str | None]:
    """Return the properties of conversions as JSON, by id; None where they are more than MOST_PROPERTIES. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.id, CASE WHEN octet_length(its.properties) <= %s THEN its.properties END
              FROM goals_conversion c, LATERAL (SELECT c.properties::text AS properties OFFSET 0) AS its
             WHERE c.id = ANY(%b::bigint[])
            """,
            [MOST_PROPERTIES, list(conversion_ids)],
        )
        return dict(cursor.fetchall())


def load_property_names(goal: Goal, *, latest: int) -> set[str]:
    """Return the names of the properties of a goal's last conversions, a bounded part of them. Two queries."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT its.name
              FROM (SELECT c.properties
                      FROM unnest(%(goals)s::bigint[]) AS member (id)
                      JOIN LATERAL (
                        SELECT properties, occurred_at, id FROM goals_conversion WHERE goal_id = member.id
                         ORDER BY occurred_at DESC, id DESC LIMIT %(latest)s) AS c ON true
                     ORDER BY c.occurred_at DESC, c.id DESC LIMIT %(latest)s) AS c,
                   LATERAL (SELECT name FROM jsonb_object_keys(c.properties) AS name
                             WHERE length(name) <= %(length)s LIMIT %(most)s) AS its
             WHERE pg_column_size(c.properties) <= %(bytes)s
             LIMIT %(most)s
            """,
            {
                "goals": load_member_ids([goal])[goal.pk],
                "latest": latest,
                "length": NAME_LENGTH,
                "most": MOST_NAMES,
                "bytes": NAMED_BYTES,
            },
        )
        return {row[0] for row in cursor.fetchall()}
