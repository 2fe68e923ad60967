"""Lists of live goals and of their conversions, as people and programs read them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Final

from django.contrib.postgres.expressions import ArraySubquery
from django.db import connection
from django.db.models import BooleanField, F, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Greatest

import names
from goals.models import SEARCH_KEYS, Conversion, Goal, GoalTag, Tag
from goals.reports.breakdown import VALUE_LENGTH, BreakdownField, FieldFilter
from goals.reports.figures import load_member_ids

# Of a conversion's properties as JSON. An event of 1 MB has 1.9 MB at most; earlier versions stored up to 50 MB.
MOST_PROPERTIES: Final = 2_097_152
MOST_NAMES: Final = 500  # of properties that a page offers
NAME_LENGTH: Final = 200  # of such a name
NAMED_BYTES: Final = 65_536  # of the properties, as stored, that are looked into for names
# Upper limit of the JSON of a conversion `c` without reading it: PostgreSQL compresses by a factor of 90 at most.
PROPERTIES_BYTES: Final = f"least(pg_column_size(c.properties)::bigint * 100, {MOST_PROPERTIES})"
# True if the value at a path, cut as the parts of a breakdown are, is this one.
PROPERTY_IS: Final = """(
    SELECT CASE WHEN length(its.value) <= %s THEN its.value
                ELSE left(its.value, %s) || '… (' || left(md5(its.value), 8) || ')' END
      FROM (SELECT goals_conversion.properties #>> %s::text[] AS value OFFSET 0) AS its) = %s"""


@dataclass(frozen=True, slots=True)
class GoalFilter:
    """Conditions of a list of goals. A field that is None or empty is no condition."""

    tags: Collection[str] = ()
    needs_every_tag: bool = False
    is_archived: bool | None = None
    is_made_by_event: bool | None = None
    search: str = ""  # words of the name or of the display name, in any order (names.search)
    type: str = ""
    seen_since: datetime | None = None  # converted at this time or later
    unseen_since: datetime | None = None  # not since then, or never
    is_never_seen: bool = False


@dataclass(frozen=True, slots=True)
class ConversionPosition:
    """End of a page of conversions; the next page begins with older ones."""

    occurred_at: datetime
    id: int


def live_goals(site_id: int, *, with_: Iterable[str] = ("tags", "bindings")) -> QuerySet[Goal]:
    """Return the goals of a site that are neither deleted nor merged, with `last_conversion_at` and `merged_ids`.

    The site, tags and bindings are loaded, too. Three queries a page, two probes of an index for each goal, and one for
    each goal merged into it.
    """
    conversions = Conversion.objects.filter(site_id=site_id, goal=OuterRef("pk"))
    last = conversions.order_by("-occurred_at", "-id").values("occurred_at")[:1]
    members = Goal.objects.filter(site_id=site_id, counts_for=OuterRef("pk"), deleted_at=None)
    merged = members.annotate(last_at=Subquery(last))
    tags = Prefetch("tags", Tag.objects.filter(site_id=site_id))
    last_of_merged = merged.order_by(F("last_at").desc(nulls_last=True)).values("last_at")[:1]
    return (
        Goal.objects.filter(site_id=site_id, deleted_at=None, counts_for=None)
        .annotate(
            last_conversion_at=Greatest(Subquery(last), Subquery(last_of_merged)),
            merged_ids=ArraySubquery(merged.order_by("pk").values("pk")),
        )
        .select_related("site")
        .prefetch_related(*(tags if name == "tags" else name for name in with_))
    )


def find_live_goal(site_id: int, goal_id: int, *, follows_merge: bool = False) -> Goal | None:
    """Return a goal of `live_goals` by its id; if it `follows_merge`, also by that of a merged goal. Four queries."""
    goal = live_goals(site_id).filter(pk=goal_id).first()
    if goal is None and follows_merge:
        merged = Goal.objects.filter(site_id=site_id, pk=goal_id, deleted_at=None)
        goal = live_goals(site_id).filter(pk__in=merged.values("counts_for")).first()
    return goal


def filter_goals(site_id: int, goal_filter: GoalFilter) -> QuerySet[Goal]:
    """Return the live goals of a site that pass the filter, in no order."""
    goals = live_goals(site_id)
    if goal_filter.tags:
        tagged = GoalTag.objects.filter(site_id=site_id)
        names_of_tags = sorted(set(goal_filter.tags))
        for choice in [[name] for name in names_of_tags] if goal_filter.needs_every_tag else [names_of_tags]:
            goals = goals.filter(pk__in=tagged.filter(tag__name__in=choice).values("goal_id"))
    if goal_filter.is_archived is not None:
        goals = goals.filter(archived_at__isnull=not goal_filter.is_archived)
    if goal_filter.is_made_by_event is not None:
        by_event = {"origin": Goal.Origin.EVENT}
        goals = goals.filter(**by_event) if goal_filter.is_made_by_event else goals.exclude(**by_event)
    if goal_filter.search:
        goals = names.search_folded(goals, goal_filter.search, *SEARCH_KEYS)
    if goal_filter.type:
        goals = goals.filter(type=goal_filter.type)
    if goal_filter.seen_since is not None:
        goals = goals.filter(Q(last_conversion_at__gte=goal_filter.seen_since))
    if goal_filter.unseen_since is not None:
        goals = goals.filter(Q(last_conversion_at__lt=goal_filter.unseen_since) | Q(last_conversion_at=None))
    if goal_filter.is_never_seen:
        goals = goals.filter(Q(last_conversion_at=None))
    return goals


def list_goal_conversions(
    goal: Goal,
    *,
    after: ConversionPosition | None,
    limit: int,
    begin: datetime | None = None,
    end: datetime | None = None,
    visitors: Sequence[str] | None = None,
    fields: Sequence[FieldFilter] = (),
) -> list[Conversion]:
    """Return a page of the conversions of a goal and of the goals merged into it, newest first, without properties.

    `begin` and `end` limit them to those from one time until before another, `visitors` to those of these visitors, and
    `fields` to those that match all of these.
    Two queries, however deep the page, and one more for each merged goal, because the index has the order of one goal.
    """
    conversions = Conversion.objects.filter(site_id=goal.site_id)
    conversions = conversions.filter(occurred_at__gte=begin) if begin else conversions
    conversions = conversions.filter(occurred_at__lt=end) if end else conversions
    conversions = conversions if visitors is None else conversions.filter(visitor_code__in=visitors)
    for each in fields:
        conversions = conversions.filter(_matches(each))
    members = load_member_ids(goal.site_id, [goal])[goal.pk]
    pages = (_page(conversions.filter(goal=id_), after=after, limit=limit) for id_ in members)
    newest = sorted(
        chain.from_iterable(pages), key=lambda conversion: (conversion.occurred_at, conversion.pk), reverse=True
    )
    return newest[:limit]


def _matches(field: FieldFilter) -> Q | RawSQL:
    """Return the condition that a conversion is in the part of a breakdown, as reports/breakdown.sql divides them."""
    match field.by:
        case BreakdownField.PROPERTY:
            given = (VALUE_LENGTH, VALUE_LENGTH, list(field.path), field.value)
            return RawSQL(PROPERTY_IS, given, output_field=BooleanField())  # noqa: S611 - a constant
        case BreakdownField.CURRENCY:
            return Q(currency=field.value)
        case _:
            return Q(source_id=field.value)


def list_visitor_conversions(
    site_id: int, visitor_code: str, *, after: ConversionPosition | None, limit: int
) -> list[Conversion]:
    """Return a page of a visitor's conversions on a site, newest first, without their properties.

    One query, however deep the page.
    """
    conversions = Conversion.objects.filter(site_id=site_id, visitor_code=visitor_code)
    return _page(conversions, after=after, limit=limit)


def _page(conversions: QuerySet[Conversion], *, after: ConversionPosition | None, limit: int) -> list[Conversion]:
    conversions = conversions.filter(goal__deleted_at=None).select_related("goal").order_by("-occurred_at", "-id")
    conversions = conversions.defer("properties")  # 50 of them may be 100 MB
    if after is not None:
        # The index answers this comparison of rows. The same with OR would read every row of one time again.
        older = RawSQL(
            "(goals_conversion.occurred_at, goals_conversion.id) < (%s, %s)",
            (after.occurred_at, after.id),
            output_field=BooleanField(),
        )
        conversions = conversions.filter(older)
    return list(conversions[:limit])


def estimate_properties_bytes(site_id: int, conversion_ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return ids with an upper limit of the bytes of their properties as JSON, in the order given. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT c.id, {PROPERTIES_BYTES} FROM goals_conversion c
             WHERE c.site_id = %s AND c.id = ANY(%b::bigint[])
            """,
            [site_id, list(conversion_ids)],
        )
        sizes = dict(cursor.fetchall())
    return [(id_, sizes[id_]) for id_ in conversion_ids if id_ in sizes]


def load_properties(site_id: int, conversion_ids: Sequence[int]) -> dict[int, str | None]:
    """Return the properties of conversions as JSON, by id; None where they are more than MOST_PROPERTIES. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.id, CASE WHEN octet_length(json.properties) <= %s THEN json.properties END
              FROM goals_conversion c, LATERAL (SELECT c.properties::text AS properties OFFSET 0) AS json
             WHERE c.site_id = %s AND c.id = ANY(%b::bigint[])
            """,
            [MOST_PROPERTIES, site_id, list(conversion_ids)],
        )
        return dict(cursor.fetchall())


def load_property_names(goal: Goal, *, latest: int) -> set[str]:
    """Return the names of the properties of a goal's last conversions, a bounded part of them. Two queries."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT property.name
              FROM (SELECT c.properties
                      FROM unnest(%(goals)s::bigint[]) AS member (id)
                      JOIN LATERAL (
                        SELECT properties, occurred_at, id FROM goals_conversion
                         WHERE site_id = %(site)s AND goal_id = member.id
                         ORDER BY occurred_at DESC, id DESC LIMIT %(latest)s) AS c ON true
                     ORDER BY c.occurred_at DESC, c.id DESC LIMIT %(latest)s) AS c,
                   LATERAL (SELECT name FROM jsonb_object_keys(c.properties) AS name
                             WHERE length(name) <= %(length)s LIMIT %(most)s) AS property
             WHERE pg_column_size(c.properties) <= %(bytes)s
             LIMIT %(most)s
            """,
            {
                "site": goal.site_id,
                "goals": load_member_ids(goal.site_id, [goal])[goal.pk],
                "latest": latest,
                "length": NAME_LENGTH,
                "most": MOST_NAMES,
                "bytes": NAMED_BYTES,
            },
        )
        return {row[0] for row in cursor.fetchall()}
