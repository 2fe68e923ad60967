"""Visitors with a conversion in a period and in its steps: the two sides of a conversion rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import connection

from goals.reports.figures import NO_END
from goals.sql import read_query

VISITORS_SEEN: Final = read_query("reports/visitors_seen")


@dataclass(frozen=True, slots=True)
class SeenVisitors:
    """Different visitors of a period, and of each step that has any, by the step's begin."""

    visitors: int = 0
    steps: Mapping[datetime, int] = field(default_factory=dict)


class SeenPeriod(NamedTuple):
    """A period from a time until before another, which is None if it runs, and the goals that visitors converted."""

    begin: datetime
    end: datetime | None
    goal_ids: Sequence[int] | None = None  # None: any goal


def count_visitors_seen(
    site_id: int, periods: Sequence[SeenPeriod], *, starts: Sequence[datetime] = (), most_read: int | None = None
) -> list[SeenVisitors | None]:
    """Return the visitors of a site who converted in each period.

    `starts` are the sorted begins of the steps of all periods. One query. It reads every conversion of the periods, but
    no more than `most_read` of each, and returns None for a period that has more. A million takes about a second.
    """
    parameters: dict[str, Any] = {
        "site": site_id,
        "of_all": [period.goal_ids is None for period in periods],
        "places": [place for place, period in enumerate(periods, start=1) for _ in period.goal_ids or ()],
        "goals": [goal_id for period in periods for goal_id in period.goal_ids or ()],
        "sinces": [period.begin for period in periods],
        "untils": [period.end or NO_END for period in periods],
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
