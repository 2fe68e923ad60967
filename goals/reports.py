"""The figures of goals that people read: headlines, curves and breakdowns, of a goal with all that is merged into it.

A visit counts at the time of its first conversion. Days are of UTC; a month is today and the 29 days before it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from django.db import connection

from goals.models import Goal
from goals.unions import GAP, unite

MONTH: Final = 30  # days
TOP: Final = 20
MOST_POINTS: Final = 2_000  # of a series

Revenue = Mapping[str, Decimal]  # by currency, sorted


@dataclass(frozen=True, slots=True)
class Figures:
    """What happened in some time."""

    conversions: int = 0
    visits: int = 0  # converting visits
    visitors: int = 0  # converting visitors
    revenue: Revenue = field(default_factory=dict)

    def headline(self, goal: Goal) -> int:
        """The figure that counts for this goal: every conversion, or one a visit (`hasMultipleConversions`)."""
        return self.conversions if goal.has_multiple_conversions else self.visits


@dataclass(frozen=True, slots=True)
class Headline:
    """The figures at the head of a goal."""

    last_24_hours: Figures = Figures()
    last_30_days: Figures = Figures()
    ever: Figures = Figures()
    last_conversion_at: datetime | None = None


class Step(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"  # from Monday


LENGTHS: Final = {Step.HOUR: timedelta(hours=1), Step.DAY: timedelta(days=1), Step.WEEK: timedelta(weeks=1)}
VISIT: Final = f"coalesce(c.occurred_at - lag(c.occurred_at) OVER mine >= {GAP}, true)::int AS visit"
# The conversions of some goals as one in a time, and in the gap before it, which says where its visits begin.
COUNTED_HITS: Final = f"""
    SELECT c.*, {VISIT}
      FROM goals_conversion c
     WHERE goal_id = ANY(%(goals)s)
       AND occurred_at >= coalesce(%(begin)s, '-infinity'::timestamptz) - {GAP}
       AND occurred_at < coalesce(%(end)s, 'infinity'::timestamptz)
    WINDOW mine AS (PARTITION BY visitor_code ORDER BY occurred_at)
"""
# The parts of a series: of the days that are kept of a goal, or of the conversions of some goals as one.
KEPT_DAYS: Final = """
    SELECT date_trunc(%(step)s, day::timestamp AT TIME ZONE 'UTC', 'UTC') AS begin, conversions, visits, revenue
      FROM goals_goalday
     WHERE goal_id = ANY(%(goals)s) AND day >= (%(begin)s AT TIME ZONE 'UTC')::date
       AND day < (%(end)s AT TIME ZONE 'UTC')::date
"""
COUNTED: Final = f"""
    SELECT date_trunc(%(step)s, occurred_at, 'UTC') AS begin, 1 AS conversions, visit AS visits,
           CASE WHEN revenue IS NULL THEN '{{}}' ELSE jsonb_build_object(currency, revenue::text) END AS revenue
      FROM ({COUNTED_HITS}) AS hit
     WHERE occurred_at >= %(begin)s
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A step of a series, from `begin` until the next one's."""

    begin: datetime
    conversions: int = 0
    visits: int = 0
    revenue: Revenue = field(default_factory=dict)

    def headline(self, goal: Goal) -> int:
        """As of Figures."""
        return self.conversions if goal.has_multiple_conversions else self.visits


@dataclass(frozen=True, slots=True)
class Part:
    """The conversions that have one value in common."""

    value: str | None  # None: they have none; a text as it is, anything else as JSON; a source's id
    conversions: int
    visitors: int
    revenue: Revenue
    visits: int = 0  # that began with one of them


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A goal's conversions by something, the largest parts first."""

    parts: list[Part]  # TOP at most
    other: Part | None  # the rest together (value None), if there is one
    values: int  # how many different values there are, in all


class By(StrEnum):
    PROPERTY = "property"
    CURRENCY = "currency"
    SOURCE = "source"


def headlines(goals: Sequence[Goal], *, now: datetime) -> dict[int, Headline]:
    """The figures of a page of goals, by goal id; every goal has one. At most four queries.

    They read what is kept, and the conversions of the last 24 hours; of a goal that others are merged into, what
    goals.unions reads.
    """
    members = members_of(goals)
    month = first_day(now)
    kept = _load_kept(members, since=month)
    counted = _count(members, since=now - timedelta(hours=24))
    return {id_: replace(kept[id_], last_24_hours=counted.get(id_, Figures())) for id_ in members}


def figures_of(groups: Mapping[int, Sequence[int]]) -> dict[int, Figures]:
    """The figures since ever of groups of goals, each counted as one goal. Two queries, which read what is kept."""
    kept = _load_kept(groups, since=datetime.now(UTC).date())
    return {number: kept[number].ever for number in groups}


def members_of(goals: Sequence[Goal]) -> dict[int, list[int]]:
    """By goal id, the goals whose conversions it shows: itself, and what is merged into it.

    One query, none for goals of `finding.live_goals`, which know.
    """
    members = {goal.pk: [goal.pk, *getattr(goal, "merged_ids", ())] for goal in goals}
    unknown = [goal.pk for goal in goals if not hasattr(goal, "merged_ids")]
    merged = Goal.objects.filter(counts_for__in=unknown, deleted_at=None)
    for id_, counts_for in merged.values_list("pk", "counts_for_id") if unknown else ():
        members[counts_for].append(id_)
    return members


def sparklines(goals: Sequence[Goal], *, now: datetime) -> dict[int, list[int]]:
    """The headline figure of each of the last 30 days, the oldest first, by goal id; every goal has one.

    At most three queries.
    """
    first = first_day(now)
    lines = {goal.pk: [0] * MONTH for goal in goals}
    members = members_of(goals)
    counts_all = {goal.pk: goal.has_multiple_conversions for goal in goals}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT key, day, sum(conversions), sum(visits)
              FROM unnest(%(keys)s::bigint[], %(ids)s::bigint[]) AS m (key, goal_id)
              JOIN goals_goalday USING (goal_id)
             WHERE day >= %(first)s
             GROUP BY 1, 2
            """,
            {
                "keys": [key for key, ids in members.items() for _ in ids],
                "ids": [id_ for ids in members.values() for id_ in ids],
                "first": first,
            },
        )
        for id_, day, conversions, visits in cursor.fetchall():
            number = (day - first).days
            if number < MONTH:
                lines[id_][number] = int(conversions if counts_all[id_] else visits)
    groups = {key: ids for key, ids in members.items() if len(ids) > 1 and not counts_all[key]}
    for key, union in unite(groups, since=first).items():
        for day, more in union.visits.items():
            if 0 <= (day - first).days < MONTH:
                lines[key][(day - first).days] += more
    return lines


def series(goal: Goal, *, begin: datetime, end: datetime, step: Step) -> list[Point]:
    """The steps of a goal's curve from the one that holds `begin` to the one before `end`, empty ones too.

    Raises ValueError for more than MOST_POINTS of them. Three queries at most, which read what is kept of its days;
    for hours, the conversions of that time.
    """
    starts = steps(begin, end, step)
    if not starts:
        return []
    members = members_of([goal])[goal.pk]
    is_kept = step != Step.HOUR
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH part AS ({KEPT_DAYS if is_kept else COUNTED}), money AS (
                SELECT begin, jsonb_object_agg(currency, total)::text AS revenue
                  FROM (SELECT begin, each.key AS currency, sum(each.value::numeric)::text AS total
                          FROM part, jsonb_each_text(part.revenue) AS each GROUP BY 1, 2) AS each
                 GROUP BY 1
            )
            SELECT begin, sum(conversions), sum(visits), (SELECT m.revenue FROM money m WHERE m.begin = part.begin)
              FROM part GROUP BY begin
            """,
            {"goals": members, "step": step, "begin": starts[0], "end": starts[-1] + LENGTHS[step]},
        )
        found = {row[0]: Point(row[0], int(row[1]), int(row[2]), _revenue(row[3])) for row in cursor.fetchall()}
    if is_kept and len(members) > 1:
        for union in unite({goal.pk: members}, since=starts[0].date()).values():
            for day, more in union.visits.items():
                at = _midnight(day - timedelta(days=day.weekday() if step == Step.WEEK else 0))
                if at in found:
                    found[at] = replace(found[at], visits=found[at].visits + more)
    return [found.get(start, Point(start)) for start in starts]


def breakdown(
    goal: Goal, by: By, *, path: Sequence[str] = (), begin: datetime | None = None, end: datetime | None = None
) -> Breakdown:
    """A goal's conversions from `begin` until before `end` by a property at a path, by currency or by source.

    Two queries that read every conversion in that time.
    """
    members = members_of([goal])[goal.pk]
    value: dict[By, str] = {
        By.PROPERTY: "properties #>> %(path)s",
        By.CURRENCY: "currency",
        By.SOURCE: "source_id::text",
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH hit AS (
                SELECT {value[by]} AS value, visitor_code, revenue, currency, visit
                  FROM ({COUNTED_HITS}) AS hit
                 WHERE occurred_at >= coalesce(%(begin)s, '-infinity'::timestamptz)
            ), ranked AS (
                SELECT value, row_number() OVER (ORDER BY count(*) DESC, value) AS rank FROM hit GROUP BY value
            ), placed AS (
                SELECT hit.*, least(rank, %(top)s + 1) AS rank
                  FROM hit  -- by equality, so that it can be hashed: a value may be another one in each conversion
                  JOIN ranked ON coalesce(ranked.value, '') = coalesce(hit.value, '')
                             AND (ranked.value IS NULL) = (hit.value IS NULL)
            )
            SELECT CASE WHEN rank <= %(top)s THEN min(value) END, count(*), count(DISTINCT visitor_code),
                   (SELECT jsonb_object_agg(currency, total)::text
                      FROM (SELECT m.currency, sum(m.revenue)::text AS total FROM placed m
                             WHERE m.rank = placed.rank AND m.revenue IS NOT NULL GROUP BY 1) AS each),
                   rank, (SELECT count(*) FROM ranked), sum(visit)
              FROM placed GROUP BY rank ORDER BY rank
            """,
            {"goals": members, "path": list(path), "begin": begin, "end": end, "top": TOP},
        )
        rows = cursor.fetchall()
    parts = [(row[4], Part(row[0], row[1], row[2], _revenue(row[3]), row[6])) for row in rows]
    return Breakdown(
        [part for rank, part in parts if rank <= TOP],
        next((part for rank, part in parts if rank > TOP), None),
        values=rows[0][5] if rows else 0,
    )


def first_day(now: datetime) -> date:
    """The first of the last 30 days."""
    return now.astimezone(UTC).date() - timedelta(days=MONTH - 1)


def steps(begin: datetime, end: datetime, step: Step) -> list[datetime]:
    """When the steps of a series begin. Pure. Raises ValueError for more than MOST_POINTS."""
    start = begin.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if step != Step.HOUR:
        start = start.replace(hour=0)
    if step == Step.WEEK:
        start -= timedelta(days=start.weekday())
    length = LENGTHS[step]
    count = max(0, -((start - end) // length))
    if count > MOST_POINTS:
        raise ValueError(f"{count} points; {MOST_POINTS} are the most")
    return [start + length * number for number in range(count)]


def _load_kept(groups: Mapping[int, Sequence[int]], *, since: date) -> dict[int, Headline]:
    """What is kept of groups of goals, each as one goal: the figures since a day and since ever, and the last
    conversion. At most two queries.
    """
    if not groups:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH member AS MATERIALIZED (
                SELECT key, goal_id FROM unnest(%(keys)s::bigint[], %(ids)s::bigint[]) AS m (key, goal_id)
            )
            SELECT g.key, d.conversions, d.visits, v.recent, {_revenue_of("goals_goalday", "AND r.day >= %(since)s")},
                   t.conversions, t.visits, t.visitors, {_revenue_of("goals_goaltotal", "")}, v.last_at
              FROM (SELECT DISTINCT key FROM member) AS g
              JOIN LATERAL (
                SELECT sum(conversions) AS conversions, sum(visits) AS visits
                  FROM member m JOIN goals_goalday USING (goal_id)
                 WHERE m.key = g.key AND day >= %(since)s) AS d ON true
              JOIN LATERAL (
                SELECT sum(conversions) AS conversions, sum(visits) AS visits, sum(visitors) AS visitors
                  FROM member m JOIN goals_goaltotal USING (goal_id) WHERE m.key = g.key) AS t ON true
              JOIN LATERAL (
                SELECT sum(recent) AS recent, max(last_at) AS last_at
                  FROM member m, LATERAL (
                       SELECT (SELECT count(*) FROM goals_goalvisitor w
                                WHERE w.goal_id = m.goal_id AND w.last_at >= %(begin)s) AS recent,
                              (SELECT max(w.last_at) FROM goals_goalvisitor w WHERE w.goal_id = m.goal_id) AS last_at
                       ) AS its
                 WHERE m.key = g.key) AS v ON true
            """,
            {
                "keys": [key for key, ids in groups.items() for _ in ids],
                "ids": [id_ for ids in groups.values() for id_ in ids],
                "since": since,
                "begin": _midnight(since),
            },
        )
        kept = {
            row[0]: Headline(Figures(), _figures(*row[1:5]), _figures(*row[5:9]), row[9]) for row in cursor.fetchall()
        }
    for key, union in unite({key: ids for key, ids in groups.items() if len(ids) > 1}, since=since).items():
        head = kept[key]
        recent_visits = head.last_30_days.visits + union.visits_since(since)
        recent = replace(head.last_30_days, visits=recent_visits, visitors=union.visitors_since)
        ever = replace(head.ever, visits=head.ever.visits + union.visits_since(date.min), visitors=union.visitors)
        kept[key] = replace(head, last_30_days=recent, ever=ever)
    return kept


def _revenue_of(table: str, condition: str) -> str:
    return f"""
        (SELECT jsonb_object_agg(currency, total)::text
           FROM (SELECT money.key AS currency, sum(money.value::numeric)::text AS total
                   FROM member m JOIN {table} r USING (goal_id), jsonb_each_text(r.revenue) AS money
                  WHERE m.key = g.key {condition} GROUP BY 1) AS each)
    """


def _count(groups: Mapping[int, Sequence[int]], *, since: datetime) -> dict[int, Figures]:
    """Count the conversions since a time of groups of goals, each as one goal, where there are any. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH hit AS MATERIALIZED (
                SELECT m.key, c.visitor_code, c.occurred_at, c.revenue, c.currency, {VISIT}
                  FROM unnest(%(keys)s::bigint[], %(ids)s::bigint[]) AS m (key, goal_id)
                  JOIN goals_conversion c ON c.goal_id = m.goal_id AND c.occurred_at >= %(since)s - {GAP}
                WINDOW mine AS (PARTITION BY m.key, c.visitor_code ORDER BY c.occurred_at)
            ), money AS (
                SELECT key, jsonb_object_agg(currency, total)::text AS revenue
                  FROM (SELECT key, currency, sum(revenue)::text AS total
                          FROM hit WHERE occurred_at >= %(since)s AND revenue IS NOT NULL
                         GROUP BY 1, 2) AS each
                 GROUP BY 1
            )
            SELECT key, count(*), sum(visit), count(DISTINCT visitor_code),
                   (SELECT m.revenue FROM money m WHERE m.key = hit.key)
              FROM hit WHERE occurred_at >= %(since)s
             GROUP BY key
            """,
            {
                "keys": [key for key, ids in groups.items() for _ in ids],
                "ids": [id_ for ids in groups.values() for id_ in ids],
                "since": since,
            },
        )
        return {row[0]: _figures(*row[1:5]) for row in cursor.fetchall()}


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _figures(conversions: int | None, visits: int | None, visitors: int | None, revenue: str | None) -> Figures:
    return Figures(int(conversions or 0), int(visits or 0), int(visitors or 0), _revenue(revenue))


def _revenue(totals: str | None) -> Revenue:
    """Revenue from JSON whose values are texts: a float would not be exact."""
    return {currency: Decimal(total) for currency, total in sorted(json.loads(totals or "{}").items())}
