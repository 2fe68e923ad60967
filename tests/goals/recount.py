"""Slow recount of a goal's totals from its conversions, to compare with the kept totals."""

import json
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from goals.models import Cancellation, Conversion, Goal
from zones import day_of, find_zone

HALF = timedelta(minutes=30)


def visits_of(times: list[datetime]) -> list[datetime]:
    """Return visits the slow way: a conversion begins one if there was none in the half hour before it."""
    starts: list[datetime] = []
    latest: datetime | None = None
    for time in sorted(times):
        if latest is None or time >= latest + HALF:
            starts.append(time)
        latest = time
    return starts


def recount() -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
    """By (goal, visitor): conversions, visits, first, last, revenue; by (goal, day) and by goal: likewise."""
    times = defaultdict[tuple[int, str], list[datetime]](list)
    money = defaultdict[Any, Counter[str]](Counter)
    days = Counter[tuple[int, date]]()
    zones = {goal.pk: find_zone(goal.day_zone) for goal in Goal.objects.all()}
    for each in Conversion.objects.filter(goal__deleted_at=None):
        times[each.goal_id, each.visitor_code].append(each.occurred_at)
        day = day_of(each.occurred_at, zones[each.goal_id])
        days[each.goal_id, day] += 1
        if each.revenue is not None:
            for key in ((each.goal_id, each.visitor_code), (each.goal_id, day), each.goal_id):
                money[key][str(each.currency)] += each.revenue  # type: ignore[assignment]  # a Decimal
    cancelled = Counter[Any]()
    for taken in Cancellation.objects.filter(goal__deleted_at=None):
        for key in ((taken.goal_id, day_of(taken.occurred_at, zones[taken.goal_id])), taken.goal_id):
            cancelled[key] += 1
            if taken.revenue is not None:
                money[key][str(taken.currency)] -= taken.revenue  # type: ignore[assignment]  # a Decimal
    visits = {key: visits_of(its) for key, its in times.items()}
    begun = Counter((goal_id, day_of(at, zones[goal_id])) for (goal_id, _), starts in visits.items() for at in starts)
    goals = {goal_id for goal_id, _ in times} | {key for key in cancelled if isinstance(key, int)}
    return (
        {key: (len(its), len(visits[key]), min(its), max(its), exact(money[key])) for key, its in times.items()},
        {
            key: (days[key], begun[key], cancelled[key], exact(money[key]))
            for key in {*days, *(key for key in cancelled if not isinstance(key, int))}
        },
        {
            goal_id: (
                sum(count for (goal, _), count in days.items() if goal == goal_id),
                sum(count for (goal, _), count in begun.items() if goal == goal_id),
                sum(goal == goal_id for goal, _ in times),
                cancelled[goal_id],
                exact(money[goal_id]),
            )
            for goal_id in goals
        },
    )


def kept() -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
    """Return the same from the tables of the kept totals."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT v.goal_id, v.visitor_code, v.conversions, v.visits, v.first_at, v.last_at, v.revenue
              FROM goals_goalvisitor v JOIN goals_goal g ON g.id = v.goal_id AND g.deleted_at IS NULL
            """
        )
        visitors = {(row[0], row[1]): (*row[2:6], exact(row[6])) for row in cursor.fetchall()}
        days: dict[Any, Any] = {}
        cursor.execute("SELECT d.* FROM goals_goalday d JOIN goals_goal g ON g.id = d.goal_id WHERE deleted_at IS NULL")
        names = [column.name for column in cursor.description]
        for row in cursor.fetchall():
            part = dict(zip(names, row, strict=True))
            add(days, (part["goal_id"], part["day"]), part, "conversions", "visits", "cancellations")
        totals: dict[Any, Any] = {}
        cursor.execute(
            "SELECT t.* FROM goals_goaltotal t JOIN goals_goal g ON g.id = t.goal_id WHERE deleted_at IS NULL"
        )
        names = [column.name for column in cursor.description]
        for row in cursor.fetchall():
            part = dict(zip(names, row, strict=True))
            add(totals, part["goal_id"], part, "conversions", "visits", "visitors", "cancellations")
    return (
        visitors,
        {key: its for key, its in days.items() if any(its)},
        {key: its for key, its in totals.items() if any(its)},
    )


def add(sums: dict[Any, Any], key: Any, part: dict[str, Any], *names: str) -> None:
    *so_far, revenue = sums.get(key, (*(0 for _ in names), {}))
    more = exact(part["revenue"])
    sums[key] = (
        *(before + part[name] for before, name in zip(so_far, names, strict=True)),
        exact({name: revenue.get(name, Decimal(0)) + more.get(name, Decimal(0)) for name in revenue | more}),
    )


def exact(revenue: Any) -> dict[str, Decimal]:
    """Return the amounts by currency without those that are 0."""
    totals = json.loads(revenue) if isinstance(revenue, str) else revenue
    return {name: Decimal(total) for name, total in totals.items() if Decimal(total)}


def assert_exact() -> None:
    assert kept() == recount()
