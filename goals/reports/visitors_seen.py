"""Visitors with a conversion in a period and in its steps: the two sides of a conversion rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connection

from goals.sql import read_query

VISITORS_SEEN: Final = read_query("reports/visitors_seen")


@dataclass(frozen=True, slots=True)
class SeenVisitors:
    """Different visitors of a period, and of each step that has any, by the step's begin."""

    visitors: int = 0
    steps: Mapping[datetime, int] = field(default_factory=dict)


def count_visitors_seen(
    site_id: int,
    periods: Sequence[tuple[datetime, datetime | None]],
    *,
    goal_ids: Sequence[int] | None = None,
    starts: Sequence[datetime] = (),
    most_read: int | None = None,
) -> list[SeenVisitors | None]:
    """Return the visitors who converted any of these goals of a site, of any goal without them, for each period.

    A period is from a time until before another, which is None if it runs. `starts` are the sorted begins of the steps
    of all periods. One query. It reads every conversion of the periods, but no more than `most_read` of each, and
    returns None for a period that has more. A million takes about a second.
    """
    parameters: dict[str, Any] = {
        "site": site_id,
        "goals": None if goal_ids is None else list(goal_ids),
        "sinces": [begin for begin, _ in periods],
        "untils": [end or datetime.max.replace(tzinfo=UTC) for _, end in periods],
        "starts": list(starts),
        "most": most_read,
    }
    totals, steps = dict.fromkeys(range(len(periods)), 0), [dict[datetime, int]() for _ in periods]
    cut = set[int]()
    with connection.cursor() as cursor:
        cursor.execute(VISITORS_SEEN, parameters)
        for number, begin, visitors, is_cut in cursor.fetchall():
            place = number - 1
            if begin is not None:
                steps[place][begin] = visitors
                continue
            totals[place] = visitors
            cut |= {place} if is_cut else set()
    return [None if place in cut else SeenVisitors(totals[place], steps[place]) for place in totals]
