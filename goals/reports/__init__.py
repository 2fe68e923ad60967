"""The figures of goals that people read: headlines, curves and breakdowns, of a goal with all that is merged into it.

A visit counts at the time of its first conversion. Days are of UTC; a month is today and the 29 days before it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from django.db import connection

import times
from goals.models import Goal

MONTH: Final = 30  # days
TOP: Final = 20
MOST_POINTS: Final = 2_000  # of a series
MOST_BEFORE: Final = 2_000  # conversions before the newest so many that are read to see which visits they go on with

Revenue = Mapping[str, Decimal]  # by currency, sorted


@dataclass(frozen=True, slots=True)
class GoalFigures:
    """What happened in some time."""

    conversions: int = 0
    visits: int = 0  # converting visits
    visitors: int = 0  # converting visitors
    revenue: Revenue = field(default_factory=dict)

    def headline(self, goal: Goal) -> int:
        """The figure that counts for this goal: every conversion, or one a visit (`hasMultipleConversions`)."""
        return self.conversions if goal.has_multiple_conversions else self.visits


@dataclass(frozen=True, slots=True)
class GoalSummary:
    """The figures at the head of a goal."""

    last_24_hours: GoalFigures = GoalFigures()
    last_30_days: GoalFigures = GoalFigures()
    ever: GoalFigures = GoalFigures()
    last_conversion_at: datetime | None = None
    line: Sequence[int] = (0,) * MONTH  # what counts for the goal on each of the last 30 days, the oldest first


class SeriesStep(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"  # from Monday


LENGTHS: Final = {
    SeriesStep.HOUR: timedelta(hours=1),
    SeriesStep.DAY: timedelta(days=1),
    SeriesStep.WEEK: timedelta(weeks=1),
}
VALUE_LENGTH: Final = 200  # characters of what a breakdown calls a part
# A visit begins with a conversion when the one before it was so long ago (goals.totals).
GAP: Final = "interval '30 minutes'"
VISIT: Final = f"coalesce(c.occurred_at >= lag(c.occurred_at) OVER mine + {GAP}, true)::int AS visit"
# The conversions of some goals as one in a time, and in the gap before it, which says where visits begin. `place` is
# theirs from the newest on; of no more than `newest` with MOST_BEFORE before them, where it is given.
COUNTED_HITS: Final = f"""
    SELECT c.*, {VISIT}
      FROM (
        SELECT c.*, row_number() OVER (ORDER BY c.occurred_at DESC, c.id DESC) AS place
          FROM unnest(%(goals)s::bigint[]) AS member (id)
          JOIN LATERAL (
            SELECT * FROM goals_conversion
             WHERE goal_id = member.id
               AND occurred_at >= coalesce(%(begin)s, '-infinity'::timestamptz) - {GAP}
               AND occurred_at < coalesce(%(end)s, 'infinity'::timestamptz)
             ORDER BY occurred_at DESC, id DESC LIMIT %(newest)s::int + {MOST_BEFORE}
          ) AS c ON true
         ORDER BY c.occurred_at DESC, c.id DESC LIMIT %(newest)s::int + {MOST_BEFORE}
      ) AS c
    WINDOW mine AS (PARTITION BY visitor_code ORDER BY occurred_at)
"""
# A property at a path. One that is too long for a page is told apart from others by its hash.
SHORT_VALUE: Final = f"""
    (SELECT CASE WHEN length(its.value) <= {VALUE_LENGTH} THEN its.value
                 ELSE left(its.value, {VALUE_LENGTH}) || '… (' || left(md5(its.value), 8) || ')' END
       FROM (SELECT properties #>> %(path)s AS value OFFSET 0) AS its)
"""
# Of these, the ones that count.
IS_COUNTED: Final = """
    occurred_at >= coalesce(%(begin)s, '-infinity'::timestamptz) AND (%(newest)s::int IS NULL OR place <= %(newest)s)
"""
# The visits of some goals as one, each at its conversion's time; by goal, or the planner would look for each visitor's.
UNITED_VISITS: Final = f"""
    SELECT c.occurred_at, {VISIT}
      FROM unnest(%(goals)s::bigint[]) AS member (id)
      JOIN LATERAL (
        SELECT visitor_code, occurred_at FROM goals_conversion
         WHERE goal_id = member.id AND occurred_at >= %(begin)s - {GAP} AND occurred_at < %(end)s OFFSET 0
      ) AS c ON true
    WINDOW mine AS (PARTITION BY c.visitor_code ORDER BY c.occurred_at)
"""
# The parts of a series by day or week: what is kept of each day, but visits of several goals, which do not add up.
DAYS: Final = f"""
    SELECT date_trunc(%(step)s, day::timestamp AT TIME ZONE 'UTC', 'UTC') AS begin, conversions,
           CASE WHEN %(is_of_several)s THEN 0 ELSE visits END AS visits, revenue
      FROM goals_goalday
     WHERE goal_id = ANY(%(goals)s) AND day >= (%(begin)s AT TIME ZONE 'UTC')::date
       AND day < (%(end)s AT TIME ZONE 'UTC')::date
     UNION ALL
    SELECT date_trunc(%(step)s, occurred_at, 'UTC'), 0, sum(visit), '{{}}'
      FROM ({UNITED_VISITS}) AS hit WHERE %(is_of_several)s AND occurred_at >= %(begin)s GROUP BY 1
"""
# And by hour.
HOURS: Final = f"""
    SELECT date_trunc(%(step)s, occurred_at, 'UTC') AS begin, count(*) AS conversions, 0 AS visits,
           CASE WHEN sum(revenue) IS NULL THEN '{{}}' ELSE jsonb_build_object(currency, sum(revenue)::text) END
               AS revenue
      FROM goals_conversion
     WHERE goal_id = ANY(%(goals)s) AND occurred_at >= %(begin)s AND occurred_at < %(end)s
     GROUP BY 1, currency
     UNION ALL
    SELECT date_trunc(%(step)s, occurred_at, 'UTC'), 0, sum(visit), '{{}}'
      FROM ({UNITED_VISITS}) AS hit WHERE occurred_at >= %(begin)s GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """A step of a series, from `begin` until the next one's."""

    begin: datetime
    conversions: int = 0
    visits: int = 0
    revenue: Revenue = field(default_factory=dict)

    def headline(self, goal: Goal) -> int:
        """As of Figures."""
        return self.conversions if goal.has_multiple_conversions else self.visits


@dataclass(frozen=True, slots=True)
class BreakdownPart:
    """The conversions that have one value in common."""

    value: str | None  # None: they have none; a text as it is, anything else as JSON; a source's id
    conversions: int
    visitors: int
    revenue: Revenue
    visits: int = 0  # that began with one of them


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A goal's conversions by something, the largest parts first."""

    parts: list[BreakdownPart]  # TOP at most
    other: BreakdownPart | None  # the rest together (value None), if there is one
    values: int  # how many different values there are, in all


class BreakdownField(StrEnum):
    PROPERTY = "property"
    CURRENCY = "currency"
    SOURCE = "source"


def summarise_goals(goals: Sequence[Goal], *, now: datetime) -> dict[int, GoalSummary]:
    """The figures of a page of goals, by goal id; every goal has one. One query, and one more for goals that
    `queries.live_goals` did not give.

    It reads what is kept, and the conversions of the last 24 hours; of goals that others are merged into, the time of
    every conversion and what is kept of every visitor, for visits and visitors do not add up.
    """
    members = load_member_ids(goals)
    first = month_start(now)
    kept = _load_kept(members, month=first, day=now - timedelta(hours=24))
    found: dict[int, GoalSummary] = {}
    for goal in goals:
        its = kept[goal.pk]
        days = [its.days.get(first + timedelta(days=number), (0, 0)) for number in range(MONTH)]
        line = tuple(conversions if goal.has_multiple_conversions else visits for conversions, visits in days)
        found[goal.pk] = GoalSummary(its.day, its.month, its.ever, its.last_at, line)
    return found


def load_figures(groups: Mapping[int, Sequence[int]]) -> dict[int, GoalFigures]:
    """The figures since ever of groups of goals, each counted as one goal. One query, which reads what is kept, and of
    groups of several goals what `summarise_goals` reads.
    """
    now = datetime.now(UTC)
    kept = _load_kept(groups, month=now.date(), day=now)
    return {number: kept[number].ever for number in groups}


def sum_totals(goal_ids: Sequence[int]) -> GoalFigures:
    """Return the conversions and the revenue of these goals together, since ever. One query, of what is kept.

    It leaves out visits and visitors, which do not add up.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH total AS (SELECT * FROM goals_goaltotal WHERE goal_id = ANY(%(goals)s))
            SELECT (SELECT sum(conversions) FROM total),
                   (SELECT jsonb_object_agg(currency, amount)::text
                      FROM (SELECT each.key AS currency, sum(each.value::numeric)::text AS amount
                              FROM total, jsonb_each_text(revenue) AS each GROUP BY 1) AS money)
            """,
            {"goals": list(goal_ids)},
        )
        conversions, revenue = cursor.fetchone()
    return _figures(conversions, None, None, revenue)


def load_member_ids(goals: Sequence[Goal]) -> dict[int, list[int]]:
    """By goal id, the goals whose conversions it shows: itself, and what is merged into it.

    One query, none for goals of `queries.live_goals`, which know.
    """
    members = {goal.pk: [goal.pk, *getattr(goal, "merged_ids", ())] for goal in goals}
    unknown = [goal.pk for goal in goals if not hasattr(goal, "merged_ids")]
    merged = Goal.objects.filter(counts_for__in=unknown, deleted_at=None)
    for id_, counts_for in merged.values_list("pk", "counts_for_id") if unknown else ():
        members[counts_for].append(id_)
    return members


def load_series(goal: Goal, *, begin: datetime, end: datetime, step: SeriesStep) -> list[SeriesPoint]:
    """The steps of a goal's curve from the one that holds `begin` to the one before `end`, empty ones too.

    Raises ValueError for more than MOST_POINTS of them. Two queries, which read what is kept of its days; where others
    are merged into it, the time of each conversion besides, and for hours the conversions.
    """
    starts = list_step_starts(begin, end, step)
    if not starts:
        return []
    members = load_member_ids([goal])[goal.pk]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH part AS ({HOURS if step == SeriesStep.HOUR else DAYS}), money AS (
                SELECT begin, jsonb_object_agg(currency, total)::text AS revenue
                  FROM (SELECT begin, each.key AS currency, sum(each.value::numeric)::text AS total
                          FROM part, jsonb_each_text(part.revenue) AS each GROUP BY 1, 2) AS each
                 GROUP BY 1
            )
            SELECT begin, sum(conversions), sum(visits), (SELECT m.revenue FROM money m WHERE m.begin = part.begin)
              FROM part GROUP BY begin
            """,
            {
                "goals": members,
                "is_of_several": len(members) > 1,
                "step": step,
                "begin": starts[0],
                "end": starts[-1] + LENGTHS[step],
            },
        )
        found = {row[0]: SeriesPoint(row[0], int(row[1]), int(row[2]), _revenue(row[3])) for row in cursor.fetchall()}
    return [found.get(start, SeriesPoint(start)) for start in starts]


def load_breakdown(
    goal: Goal,
    by: BreakdownField,
    *,
    path: Sequence[str] = (),
    begin: datetime | None = None,
    end: datetime | None = None,
    newest: int | None = None,
    visitors: Sequence[str] | None = None,
) -> Breakdown:
    """A goal's conversions from `begin` until before `end` by a property at a path, by currency or by source; of the
    newest so many, and of these visitors only, where that is given.

    Two queries that read every conversion in that time, or the newest so many.
    """
    members = load_member_ids([goal])[goal.pk]
    value: dict[BreakdownField, str] = {
        BreakdownField.PROPERTY: SHORT_VALUE,
        BreakdownField.CURRENCY: "currency",
        BreakdownField.SOURCE: "source_id::text",
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH hit AS (
                SELECT {value[by]} AS value, visitor_code, revenue, currency, visit
                  FROM ({COUNTED_HITS}) AS hit
                 WHERE {IS_COUNTED} AND (%(visitors)s::text[] IS NULL OR visitor_code = ANY(%(visitors)s))
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
            {
                "goals": members,
                "path": list(path),
                "begin": begin,
                "end": end,
                "top": TOP,
                "newest": newest,
                "visitors": None if visitors is None else list(visitors),
            },
        )
        rows = cursor.fetchall()
    parts = [(row[4], BreakdownPart(row[0], row[1], row[2], _revenue(row[3]), row[6])) for row in rows]
    return Breakdown(
        [part for rank, part in parts if rank <= TOP],
        next((part for rank, part in parts if rank > TOP), None),
        values=rows[0][5] if rows else 0,
    )


def month_start(now: datetime) -> date:
    """The first of the last 30 days."""
    return now.astimezone(UTC).date() - timedelta(days=MONTH - 1)


def list_step_starts(begin: datetime, end: datetime, step: SeriesStep) -> list[datetime]:
    """When the steps of a series begin. Pure. Raises ValueError for more than MOST_POINTS."""
    start = begin.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if step != SeriesStep.HOUR:
        start = start.replace(hour=0)
    if step == SeriesStep.WEEK:
        start -= timedelta(days=start.weekday())
    length = LENGTHS[step]
    count = max(0, -((start - end) // length))
    if count > MOST_POINTS:
        raise ValueError(f"{count} points; {MOST_POINTS} are the most")
    return [start + length * number for number in range(count)]


@dataclass(frozen=True, slots=True)
class _Kept:
    """The figures of some goals as one."""

    day: GoalFigures
    month: GoalFigures
    ever: GoalFigures
    last_at: datetime | None
    days: Mapping[date, tuple[int, int]]  # of the month: conversions and visits


def _load_kept(groups: Mapping[int, Sequence[int]], *, month: date, day: datetime) -> dict[int, _Kept]:
    """The figures of groups of goals, each as one goal: since two times and since ever. One query, if any."""
    if not groups:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH member AS MATERIALIZED (
                SELECT key, goal_id, count(*) OVER (PARTITION BY key) > 1 AS is_of_several
                  FROM unnest(%(keys)s::bigint[], %(ids)s::bigint[]) AS m (key, goal_id)
            ), hit AS MATERIALIZED (
                SELECT m.key, c.visitor_code, c.occurred_at, c.revenue, c.currency, {VISIT}
                  FROM member m
                  JOIN goals_conversion c ON c.goal_id = m.goal_id AND c.occurred_at >= %(day)s - {GAP}
                WINDOW mine AS (PARTITION BY m.key, c.visitor_code ORDER BY c.occurred_at)
            ), money AS (
                SELECT key, jsonb_object_agg(currency, total)::text AS revenue
                  FROM (SELECT key, currency, sum(revenue)::text AS total
                          FROM hit WHERE occurred_at >= %(day)s AND revenue IS NOT NULL GROUP BY 1, 2) AS each
                 GROUP BY key
            ), last_day AS (
                SELECT key, count(*) AS conversions, sum(visit) AS visits, count(DISTINCT visitor_code) AS visitors
                  FROM hit WHERE occurred_at >= %(day)s GROUP BY key
            ), together AS (  -- by goal: the planner would look for each visitor's conversions
                SELECT m.key, (c.occurred_at AT TIME ZONE 'UTC')::date AS day, {VISIT}
                  FROM member m
                  JOIN LATERAL (SELECT visitor_code, occurred_at FROM goals_conversion
                                 WHERE goal_id = m.goal_id OFFSET 0) AS c ON true
                 WHERE m.is_of_several
                WINDOW mine AS (PARTITION BY m.key, c.visitor_code ORDER BY c.occurred_at)
            ), united_visits AS MATERIALIZED (
                SELECT key, json_object_agg(day, visits)::text AS visits
                  FROM (SELECT key, day, sum(visit) AS visits FROM together GROUP BY 1, 2) AS each GROUP BY key
            ), united_visitors AS MATERIALIZED (
                SELECT key, count(*) AS ever, count(*) FILTER (WHERE last_at >= %(begin)s) AS month
                  FROM (SELECT m.key, max(v.last_at) AS last_at FROM member m JOIN goals_goalvisitor v USING (goal_id)
                         WHERE m.is_of_several GROUP BY m.key, v.visitor_code) AS each
                 GROUP BY key
            )
            SELECT g.key, h.conversions, h.visits, h.visitors, (SELECT m.revenue FROM money m WHERE m.key = g.key),
                   d.days, coalesce(u.month, v.month), {_revenue_of("goals_goalday", "AND r.day >= %(month)s")},
                   t.conversions, t.visits, coalesce(u.ever, t.visitors), {_revenue_of("goals_goaltotal", "")},
                   v.last_at, (SELECT w.visits FROM united_visits w WHERE w.key = g.key)
              FROM (SELECT DISTINCT key FROM member) AS g
              LEFT JOIN last_day h USING (key)
              LEFT JOIN united_visitors u USING (key)
              JOIN LATERAL (
                SELECT json_agg(json_build_array(day, conversions, visits))::text AS days
                  FROM (SELECT day, sum(conversions) AS conversions, sum(visits) AS visits
                          FROM member m JOIN goals_goalday USING (goal_id)
                         WHERE m.key = g.key AND day >= %(month)s GROUP BY day) AS day) AS d ON true
              JOIN LATERAL (
                SELECT sum(conversions) AS conversions, sum(visits) AS visits, sum(visitors) AS visitors
                  FROM member m JOIN goals_goaltotal USING (goal_id) WHERE m.key = g.key) AS t ON true
              JOIN LATERAL (
                SELECT sum(recent) AS month, max(last_at) AS last_at
                  FROM member m, LATERAL (
                       SELECT (SELECT count(*) FROM goals_goalvisitor w WHERE NOT m.is_of_several
                                  AND w.goal_id = m.goal_id AND w.last_at >= %(begin)s) AS recent,
                              (SELECT max(w.last_at) FROM goals_goalvisitor w WHERE w.goal_id = m.goal_id) AS last_at
                       ) AS its
                 WHERE m.key = g.key) AS v ON true
            """,
            {
                "keys": [key for key, ids in groups.items() for _ in ids],
                "ids": [id_ for ids in groups.values() for id_ in ids],
                "month": month,
                "begin": _midnight(month),
                "day": day,
            },
        )
        return {key: _read_kept(row) for key, *row in cursor.fetchall()}


def _read_kept(row: Sequence[Any]) -> _Kept:
    days, month_visitors, month_revenue, conversions, visits, visitors, revenue, last_at, united = row[4:]
    by_day = {times.of_day(day): (its, begun) for day, its, begun in json.loads(days or "[]")}
    if united is not None:
        visits_of = json.loads(united)
        visits = sum(visits_of.values())
        by_day = {day: (its, visits_of.get(f"{day}", 0)) for day, (its, _) in by_day.items()}
    return _Kept(
        _figures(*row[:4]),
        _figures(
            sum(its for its, _ in by_day.values()),
            sum(begun for _, begun in by_day.values()),
            month_visitors,
            month_revenue,
        ),
        _figures(conversions, visits, visitors, revenue),
        last_at,
        by_day,
    )


def _revenue_of(table: str, condition: str) -> str:
    return f"""
        (SELECT jsonb_object_agg(currency, total)::text
           FROM (SELECT money.key AS currency, sum(money.value::numeric)::text AS total
                   FROM member m JOIN {table} r USING (goal_id), jsonb_each_text(r.revenue) AS money
                  WHERE m.key = g.key {condition} GROUP BY 1) AS each)
    """


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _figures(conversions: int | None, visits: int | None, visitors: int | None, revenue: str | None) -> GoalFigures:
    return GoalFigures(int(conversions or 0), int(visits or 0), int(visitors or 0), _revenue(revenue))


def _revenue(totals: str | None) -> Revenue:
    """Revenue from JSON whose values are texts: a float would not be exact."""
    return {currency: Decimal(total) for currency, total in sorted(json.loads(totals or "{}").items())}
