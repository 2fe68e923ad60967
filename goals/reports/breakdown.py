"""Breakdowns of a goal's conversions by what each of them carries: a property, its currency or its source.

Cancellations are in no part: neither their source nor, for a user without a visitor code, their visitor is known.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from django.db import connection
from django.db.models import Count, Sum

from goals.models import Cancellation, Goal
from goals.reports.figures import MOST_BEFORE, Revenue, load_member_ids, parse_revenue
from goals.sql import read_query
from goals.visits import VISIT_GAP

TOP: Final = 20  # parts of a breakdown; the others are one more
VALUE_LENGTH: Final = 200  # characters of a value that a part shows

BREAKDOWN: Final = read_query("reports/breakdown")


class BreakdownField(StrEnum):
    PROPERTY = "property"
    CURRENCY = "currency"
    SOURCE = "source"


@dataclass(frozen=True, slots=True)
class FieldFilter:
    """Filter of conversions: those in the part of this value of a breakdown `by`."""

    by: BreakdownField
    value: str
    path: Sequence[str] = ()  # of a property


@dataclass(frozen=True, slots=True)
class BreakdownPart:
    """The conversions that have one value in common."""

    value: str | None  # None without one; a text as it is, other values as JSON; a source's id
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


class Cancelled(NamedTuple):
    """Sum of the cancellations of a goal in some time."""

    number: int
    revenue: Revenue


class BreakdownRow(NamedTuple):
    """Row of breakdown.sql."""

    value: str | None
    conversions: int
    visitors: int
    revenue: str | None  # JSON
    visits: int
    rank: int  # TOP + 1 for the others
    values_in_all: int

    @property
    def part(self) -> BreakdownPart:
        return BreakdownPart(self.value, self.conversions, self.visitors, parse_revenue(self.revenue), self.visits)


def load_breakdown(
    goal: Goal,
    by: BreakdownField,
    *,
    path: Sequence[str] = (),
    begin: datetime | None = None,
    end: datetime | None = None,
    newest: int | None = None,
    visitors: Sequence[str] | None = None,
    fields: Sequence[FieldFilter] = (),
) -> Breakdown:
    """Return a goal's conversions from `begin` until before `end` by a property at a path, by currency or by source.

    `newest` limits them to that many of the newest, `visitors` to those of these visitors, and `fields` to those that
    match all of these. Two queries that read all conversions of that time, or the newest ones.
    """
    parameters: dict[str, Any] = {
        "site": goal.site_id,
        "goals": load_member_ids(goal.site_id, [goal])[goal.pk],
        "by": by,
        "path": list(path),
        "length": VALUE_LENGTH,
        "since": begin,
        "until": end,
        "newest": newest,
        "before": MOST_BEFORE,
        "visitors": None if visitors is None else list(visitors),
        "fields": write_fields(fields),
        "top": TOP,
        "visit_gap": VISIT_GAP,
    }
    with connection.cursor() as cursor:
        cursor.execute(BREAKDOWN, parameters)
        rows = [BreakdownRow(*row) for row in cursor.fetchall()]
    return Breakdown(
        [row.part for row in rows if row.rank <= TOP],
        next((row.part for row in rows if row.rank > TOP), None),
        values=rows[0].values_in_all if rows else 0,
    )


def write_fields(fields: Sequence[FieldFilter]) -> str:
    """Return filters as the JSON that the queries read. Pure."""
    return json.dumps([{"by": each.by, "path": list(each.path), "value": each.value} for each in fields])


def load_cancelled(goal: Goal, *, begin: datetime, end: datetime) -> Cancelled:
    """Return the sum of a goal's cancellations from `begin` until before `end`. Two queries."""
    members = load_member_ids(goal.site_id, [goal])[goal.pk]
    cancelled = Cancellation.objects.filter(
        site_id=goal.site_id, goal__in=members, occurred_at__gte=begin, occurred_at__lt=end
    )
    rows = cancelled.values_list("currency").annotate(number=Count("pk"), revenue=Sum("revenue")).order_by("currency")
    sums = list(rows)
    revenue = {currency or "": amount for currency, _, amount in sums if amount is not None}
    return Cancelled(sum(number for _, number, _ in sums), revenue)
