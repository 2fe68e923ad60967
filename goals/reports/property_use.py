"""Properties of a goal's newest conversions, in the order of their use for a breakdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection

from goals.models import Goal
from goals.reports.breakdown import TOP
from goals.reports.figures import load_member_ids
from goals.sql import read_query

NEWEST: Final = 1_000  # conversions that are read
BYTES: Final = 2_097_152  # of their properties, as stored, in all
BYTES_EACH: Final = 65_536  # conversions with more are left out
MOST_EACH: Final = 50  # properties of a conversion, and fields of a property
MOST_NAMES: Final = 300
NAME_LENGTH: Final = 200
LEAST_REPEATED: Final = 2  # conversions a value, on average
OWN_COLUMNS: Final = frozenset({"currency", "revenue"})  # each row of a breakdown has its own

PROPERTY_USE: Final = read_query("reports/property_use")


@dataclass(frozen=True, slots=True)
class PropertyUse:
    """A property and how it divides conversions."""

    path: str  # with a dot for a field of an object
    conversions: int  # that have it
    values: int


def load_property_use(goal: Goal, *, begin: datetime, end: datetime) -> list[PropertyUse]:
    """Return properties of a goal's newest conversions from `begin` until before `end`, the most useful first.

    One query for a goal of `queries.live_goals`, of 1,000 conversions and 2 MiB of properties at most. Names with a
    dot are left out, because a path could not say them.
    """
    parameters: dict[str, Any] = {
        "site": goal.site_id,
        "goals": load_member_ids(goal.site_id, [goal])[goal.pk],
        "since": begin,
        "until": end,
        "newest": NEWEST,
        "bytes": BYTES,
        "bytes_each": BYTES_EACH,
        "length": NAME_LENGTH,
        "most_each": MOST_EACH,
        "most": MOST_NAMES,
    }
    with connection.cursor() as cursor:
        cursor.execute(PROPERTY_USE, parameters)
        rows = cursor.fetchall()
    return order_by_use([PropertyUse(*row[:3]) for row in rows], read=rows[0][3] if rows else 0)


def order_by_use(properties: Sequence[PropertyUse], *, read: int) -> list[PropertyUse]:
    """Return properties of `read` conversions, the most useful for a breakdown first. Pure.

    First come those whose values repeat and all fit into the rows, then those with more values, then ids and
    constants. Among them the property of most conversions, to a tenth, comes first, then that of fewest values.
    """

    def place(use: PropertyUse) -> tuple[int, int, int, str]:
        repeats = use.values * LEAST_REPEATED <= use.conversions
        is_useful = repeats and use.values > 1 and use.path not in OWN_COLUMNS
        return (
            2 - is_useful - (is_useful and use.values <= TOP),
            -(use.conversions * 10 // max(1, read)),
            use.values,
            use.path,
        )

    return sorted(properties, key=place)
