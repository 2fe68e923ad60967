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

from goals.models import Goal

MONTH: Final = 30  # days
GAP: Final = timedelta(minutes=30)  # between conversions of a visitor on a goal: the later one starts a new visit
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
    """The figures of a page of goals, by goal id; every goal has one. At most three queries."""
    ids = [goal.pk for goal in goals]
    found: dict[int, Headline] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH hit AS (
                SELECT goal_id, visitor_code, occurred_at, revenue, currency,
                       coalesce(occurred_at - lag(occurred_at) OVER mine >= interval '30 minutes', true)::int AS visit
                  FROM goals_conversion WHERE goal_id = ANY(%(ids)s)
                WINDOW mine AS (PARTITION BY goal_id, visitor_code ORDER BY occurred_at, id)
            ), span (number, since) AS (VALUES (0, %(day)s), (1, %(month)s), (2, '-infinity'::timestamptz)),
            money AS (
                SELECT number, goal_id, jsonb_object_agg(currency, total) AS revenue
                  FROM (SELECT number, goal_id, currency, sum(revenue)::text AS total
                          FROM span JOIN hit ON occurred_at >= since
                         WHERE revenue IS NOT NULL GROUP BY 1, 2, 3) AS each
                 GROUP BY 1, 2
            )
            SELECT goal_id, number, count(*), sum(visit), count(DISTINCT visitor_code), max(occurred_at),
                   (SELECT m.revenue::text FROM money m WHERE m.number = span.number AND m.goal_id = hit.goal_id)
              FROM span JOIN hit ON occurred_at >= since
             GROUP BY goal_id, number
            """,
            {
                "ids": ids,
                "day": now - timedelta(hours=24),
                "month": _midnight(first_day(now)),
            },
        )
        rows = cursor.fetchall()
    spans = {(row[0], row[1]): row[2:] for row in rows}
    for id_ in ids:
        day, month, ever = (_figures(spans.get((id_, number))) for number in range(3))
        found[id_] = Headline(day, month, ever, spans[id_, 2][3] if (id_, 2) in spans else None)
    return found


def sparklines(goals: Sequence[Goal], *, now: datetime) -> dict[int, list[int]]:
    """The headline figure of each of the last 30 days, the oldest first, by goal id; every goal has one. One query."""
    first = first_day(now)
    lines = {goal.pk: [0] * MONTH for goal in goals}
    for goal in goals:
        points = series(goal, begin=_midnight(first), end=_midnight(first + timedelta(days=MONTH)), step=Step.DAY)
        lines[goal.pk] = [point.headline(goal) for point in points]
    return lines


def series(goal: Goal, *, begin: datetime, end: datetime, step: Step) -> list[Point]:
    """The steps of a goal's curve from the one that holds `begin` to the one before `end`, empty ones too.

    Raises ValueError for more than MOST_POINTS of them. One query.
    """
    starts = steps(begin, end, step)
    if not starts:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH hit AS (
                SELECT date_trunc(%(step)s, occurred_at, 'UTC') AS begin, occurred_at, revenue, currency,
                       coalesce(occurred_at - lag(occurred_at) OVER mine >= interval '30 minutes', true)::int AS visit
                  FROM goals_conversion
                 WHERE goal_id = %(goal)s AND occurred_at >= %(begin)s - interval '30 minutes' AND occurred_at < %(end)s
                WINDOW mine AS (PARTITION BY visitor_code ORDER BY occurred_at, id)
            )
            SELECT begin, count(*), sum(visit),
                   (SELECT jsonb_object_agg(currency, total)::text
                      FROM (SELECT m.currency, sum(m.revenue)::text AS total FROM hit m
                             WHERE m.begin = hit.begin AND m.revenue IS NOT NULL GROUP BY 1) AS each)
              FROM hit WHERE occurred_at >= %(begin)s
             GROUP BY begin
            """,
            {"goal": goal.pk, "step": step, "begin": starts[0], "end": end},
        )
        rows = cursor.fetchall()
    found = {row[0]: Point(row[0], row[1], row[2], _revenue(row[3])) for row in rows}
    return [found.get(start, Point(start)) for start in starts]


def breakdown(
    goal: Goal, by: By, *, path: Sequence[str] = (), begin: datetime | None = None, end: datetime | None = None
) -> Breakdown:
    """A goal's conversions from `begin` until before `end` by a property at a path, by currency or by source.

    One query that reads every conversion in that time: some 300,000 a second.
    """
    value: dict[By, str] = {
        By.PROPERTY: "properties #>> %(path)s",
        By.CURRENCY: "currency",
        By.SOURCE: "source_id::text",
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH hit AS (
                SELECT {value[by]} AS value, visitor_code, revenue, currency
                  FROM goals_conversion
                 WHERE goal_id = %(goal)s
                   AND occurred_at >= coalesce(%(begin)s, '-infinity'::timestamptz)
                   AND occurred_at < coalesce(%(end)s, 'infinity'::timestamptz)
            ), ranked AS (
                SELECT value, row_number() OVER (ORDER BY count(*) DESC, value) AS rank FROM hit GROUP BY value
            ), placed AS (
                SELECT hit.*, least(rank, %(top)s + 1) AS rank
                  FROM hit JOIN ranked ON ranked.value IS NOT DISTINCT FROM hit.value
            )
            SELECT CASE WHEN rank <= %(top)s THEN min(value) END, count(*), count(DISTINCT visitor_code),
                   (SELECT jsonb_object_agg(currency, total)::text
                      FROM (SELECT m.currency, sum(m.revenue)::text AS total FROM placed m
                             WHERE m.rank = placed.rank AND m.revenue IS NOT NULL GROUP BY 1) AS each),
                   rank, (SELECT count(*) FROM ranked)
              FROM placed GROUP BY rank ORDER BY rank
            """,
            {"goal": goal.pk, "path": list(path), "begin": begin, "end": end, "top": TOP},
        )
        rows = cursor.fetchall()
    parts = [(row[4], Part(row[0], row[1], row[2], _revenue(row[3]))) for row in rows]
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
    length = {Step.HOUR: timedelta(hours=1), Step.DAY: timedelta(days=1), Step.WEEK: timedelta(weeks=1)}[step]
    count = max(0, -((start - end) // length))
    if count > MOST_POINTS:
        raise ValueError(f"{count} points; {MOST_POINTS} are the most")
    return [start + length * number for number in range(count)]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _figures(row: tuple[Any, ...] | None) -> Figures:
    return Figures(row[0], int(row[1]), row[2], _revenue(row[4])) if row else Figures()


def _revenue(totals: str | None) -> Revenue:
    """Revenue from JSON whose values are texts: a float would not be exact."""
    return {currency: Decimal(total) for currency, total in sorted(json.loads(totals or "{}").items())}
