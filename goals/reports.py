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
# A visit begins with a conversion when the one before it was so long ago (goals.rollups).
GAP: Final = "interval '30 minutes'"
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
    """The figures of a page of goals, by goal id; every goal has one. At most three queries.

    They read what is kept, and the conversions of the last 24 hours; of a goal that others are merged into, every
    conversion of them all.
    """
    members = members_of(goals)
    day, month = now - timedelta(hours=24), first_day(now)
    found = _load_kept([id_ for id_, its in members.items() if len(its) == 1], since=month)
    spans: dict[int, Sequence[datetime | None]] = {
        id_: [day] if id_ in found else [day, _midnight(month), None] for id_ in members
    }
    counted = _count(members, spans)
    nothing = (Figures(), None)
    for id_ in members:
        (day_figures, _), (month_figures, _), (ever, last_at) = (counted.get((id_, n), nothing) for n in range(3))
        if id_ in found:
            found[id_] = replace(found[id_], last_24_hours=day_figures)
        else:
            found[id_] = Headline(day_figures, month_figures, ever, last_at)
    return found


def figures_of(groups: Mapping[int, Sequence[int]]) -> dict[int, Figures]:
    """The figures since ever of groups of goals, each counted as one goal. One query that reads every conversion."""
    counted = _count(groups, {number: [None] for number in groups})
    return {number: counted[number, 0][0] if (number, 0) in counted else Figures() for number in groups}


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
    """The headline figure of each of the last 30 days, the oldest first, by goal id; every goal has one. One query."""
    first = first_day(now)
    lines = {goal.pk: [0] * MONTH for goal in goals}
    counts_all = {goal.pk: goal.has_multiple_conversions for goal in goals}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH merged AS (
                SELECT counts_for_id AS key, id AS goal_id
                  FROM goals_goal WHERE counts_for_id = ANY(%(ids)s) AND deleted_at IS NULL
            ), alone AS (
                SELECT key FROM unnest(%(ids)s::bigint[]) AS asked (key) WHERE key NOT IN (SELECT key FROM merged)
            ), member AS (
                SELECT key, goal_id FROM merged UNION ALL SELECT DISTINCT key, key FROM merged
            ), hit AS (
                SELECT m.key, c.occurred_at, {VISIT}
                  FROM member m
                  JOIN goals_conversion c ON c.goal_id = m.goal_id AND c.occurred_at >= %(begin)s - {GAP}
                WINDOW mine AS (PARTITION BY m.key, c.visitor_code ORDER BY c.occurred_at)
            )
            SELECT key, day, sum(conversions), sum(visits)
              FROM alone JOIN goals_goalday ON goal_id = key AND day >= %(first)s
             GROUP BY 1, 2
             UNION ALL
            SELECT key, (occurred_at AT TIME ZONE 'UTC')::date, count(*), sum(visit)
              FROM hit WHERE occurred_at >= %(begin)s
             GROUP BY 1, 2
            """,
            {"ids": list(lines), "begin": _midnight(first), "first": first},
        )
        for id_, day, conversions, visits in cursor.fetchall():
            number = (day - first).days
            if number < MONTH:
                lines[id_][number] = conversions if counts_all[id_] else visits
    return lines


def series(goal: Goal, *, begin: datetime, end: datetime, step: Step) -> list[Point]:
    """The steps of a goal's curve from the one that holds `begin` to the one before `end`, empty ones too.

    Raises ValueError for more than MOST_POINTS of them. Two queries, which read what is kept of its days; for hours,
    or where others are merged into it, the conversions of that time.
    """
    starts = steps(begin, end, step)
    if not starts:
        return []
    members = members_of([goal])[goal.pk]
    is_kept = len(members) == 1 and step != Step.HOUR
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


def _load_kept(goal_ids: Sequence[int], *, since: date) -> dict[int, Headline]:
    """What is kept of goals: their figures since a day and since ever, and the last conversion. One query, if any."""
    if not goal_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT g.id, d.conversions, d.visits,
                   (SELECT count(*) FROM goals_goalvisitor v WHERE v.goal_id = g.id AND v.last_at >= %(begin)s),
                   {_revenue_of("goals_goalday", "AND r.day >= %(since)s")},
                   t.conversions, t.visits, t.visitors, {_revenue_of("goals_goaltotal", "")},
                   (SELECT max(v.last_at) FROM goals_goalvisitor v WHERE v.goal_id = g.id)
              FROM unnest(%(ids)s::bigint[]) AS g (id)
              JOIN LATERAL (
                SELECT sum(conversions) AS conversions, sum(visits) AS visits
                  FROM goals_goalday WHERE goal_id = g.id AND day >= %(since)s) AS d ON true
              JOIN LATERAL (
                SELECT sum(conversions) AS conversions, sum(visits) AS visits, sum(visitors) AS visitors
                  FROM goals_goaltotal WHERE goal_id = g.id) AS t ON true
            """,
            {"ids": list(goal_ids), "since": since, "begin": _midnight(since)},
        )
        return {
            row[0]: Headline(Figures(), _figures(*row[1:5]), _figures(*row[5:9]), row[9]) for row in cursor.fetchall()
        }


def _revenue_of(table: str, condition: str) -> str:
    return f"""
        (SELECT jsonb_object_agg(currency, total)::text
           FROM (SELECT key AS currency, sum(value::numeric)::text AS total
                   FROM {table} r, jsonb_each_text(r.revenue) WHERE r.goal_id = g.id {condition} GROUP BY 1) AS each)
    """


def _count(
    groups: Mapping[int, Sequence[int]], spans: Mapping[int, Sequence[datetime | None]]
) -> dict[tuple[int, int], tuple[Figures, datetime | None]]:
    """Count the conversions of groups of goals, each as one goal, from some times on (None: all of them).

    By group and number of the span: the figures and the last conversion, where there is any. One query.
    """
    members = [(key, id_) for key, ids in groups.items() for id_ in ids]
    times = [(key, number, since) for key, its in spans.items() for number, since in enumerate(its)]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH span AS (
                SELECT key, number, coalesce(since, '-infinity') AS since
                  FROM unnest(%(span_keys)s::bigint[], %(numbers)s::int[], %(times)s::timestamptz[])
                       AS s (key, number, since)
            ), member AS (
                SELECT key, goal_id, (SELECT min(s.since) - {GAP} FROM span s WHERE s.key = m.key) AS since
                  FROM unnest(%(keys)s::bigint[], %(ids)s::bigint[]) AS m (key, goal_id)
            ), hit AS (
                SELECT m.key, c.visitor_code, c.occurred_at, c.revenue, c.currency, {VISIT}
                  FROM member m
                  JOIN goals_conversion c ON c.goal_id = m.goal_id AND c.occurred_at >= m.since
                WINDOW mine AS (PARTITION BY m.key, c.visitor_code ORDER BY c.occurred_at)
            ), money AS (
                SELECT key, number, jsonb_object_agg(currency, total)::text AS revenue
                  FROM (SELECT key, number, currency, sum(revenue)::text AS total
                          FROM span JOIN hit USING (key) WHERE occurred_at >= since AND revenue IS NOT NULL
                         GROUP BY 1, 2, 3) AS each
                 GROUP BY 1, 2
            )
            SELECT key, number, count(*), sum(visit), count(DISTINCT visitor_code),
                   (SELECT m.revenue FROM money m WHERE m.key = span.key AND m.number = span.number), max(occurred_at)
              FROM span JOIN hit USING (key) WHERE occurred_at >= since
             GROUP BY key, number
            """,
            {
                "keys": [key for key, _ in members],
                "ids": [id_ for _, id_ in members],
                "span_keys": [key for key, _, _ in times],
                "numbers": [number for _, number, _ in times],
                "times": [since for _, _, since in times],
            },
        )
        return {(row[0], row[1]): (_figures(*row[2:6]), row[6]) for row in cursor.fetchall()}


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _figures(conversions: int | None, visits: int | None, visitors: int | None, revenue: str | None) -> Figures:
    return Figures(int(conversions or 0), int(visits or 0), int(visitors or 0), _revenue(revenue))


def _revenue(totals: str | None) -> Revenue:
    """Revenue from JSON whose values are texts: a float would not be exact."""
    return {currency: Decimal(total) for currency, total in sorted(json.loads(totals or "{}").items())}
