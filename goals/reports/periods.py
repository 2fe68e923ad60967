"""Figures of goals in any period, for reports that put two periods side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NamedTuple

from django.db import connection

from goals.models import Goal
from goals.reports.figures import NO_END, GoalFigures, load_member_ids, parse_revenue
from goals.sql import read_query
from goals.visits import VISIT_GAP

PERIOD_SUMS: Final = read_query("reports/period_sums")
PERIOD_VISITORS: Final = read_query("reports/period_visitors")


class PeriodRow(NamedTuple):
    """Row of period_sums.sql."""

    place: int
    key: int
    conversions: int
    visits: int
    visitors: int  # of several goals, otherwise 0
    revenue: str | None  # JSON
    cancellations: int


def load_period(
    site_id: int,
    goals: Sequence[Goal],
    *,
    begin: datetime,
    end: datetime | None,
    counts_visits: bool = True,
) -> dict[int, GoalFigures]:
    """Return the figures of each of these goals of a site from `begin` until before `end`, by its id.

    As `load_periods` does for several.
    """
    (figures,) = load_periods(site_id, goals, [(begin, end)], counts_visits=counts_visits)
    return figures


def load_periods(
    site_id: int,
    goals: Sequence[Goal],
    periods: Sequence[tuple[datetime, datetime | None]],
    *,
    counts_visits: bool = True,
) -> list[dict[int, GoalFigures]]:
    """Return the figures of each of these goals of a site by its id, for each period from a time until before another.

    The end is None if a period runs: then it includes everything since its begin. Without `counts_visits` visits and
    visitors are 0: they cost the most, because they do not add up. Two queries, one without visits; one more for goals
    that `queries.live_goals` did not give. Visitors of a period that is over are counted from its conversions, as are
    visits and visitors of goals that others are merged into. Whole days are read by the zone of each goal.
    """
    members = load_member_ids(site_id, goals)
    found = [dict.fromkeys(members, GoalFigures()) for _ in periods]
    if not goals or not periods:
        return found
    for place, figures in _load_sums(site_id, members, periods, counts_visits=counts_visits):
        found[place] |= figures
    if counts_visits:
        alone = {key: ids for key, ids in members.items() if len(ids) == 1}
        for place, key, visitors in _count_visitors(site_id, alone, periods):
            found[place][key] = replace(found[place][key], visitors=visitors)
    return found


def load_visitors(
    site_id: int,
    goals: Sequence[Goal],
    figures: Mapping[int, GoalFigures],
    *,
    begin: datetime,
    end: datetime | None,
    most_read: int,
) -> dict[int, int]:
    """Return the converting visitors of these goals by id, which have these figures in that period. One query.

    Of a period that is over `most_read` conversions are read at most: goals with the fewest come first, and those
    beyond are left out. Of a period that runs the kept totals are read, and every conversion of goals that others are
    merged into. One query more for goals that `queries.live_goals` did not give.
    """
    counted, read = list[Goal](), 0
    for goal in sorted(goals, key=lambda goal: figures[goal.pk].conversions):
        read += figures[goal.pk].conversions
        if end is not None and read > most_read:
            break
        counted.append(goal)
    if not counted:
        return {}
    members = load_member_ids(site_id, counted)
    found = {key: visitors for _, key, visitors in _count_visitors(site_id, members, [(begin, end)])}
    return dict.fromkeys(members, 0) | found


def _count_visitors(
    site_id: int, members: Mapping[int, Sequence[int]], periods: Sequence[tuple[datetime, datetime | None]]
) -> Iterator[tuple[int, int, int]]:
    parameters = _members_of(site_id, members) | _times_of(periods) | {"no_end": NO_END}
    for place, key, visitors in _fetch(PERIOD_VISITORS, parameters) if members else ():
        yield place, key, int(visitors)


def _load_sums(
    site_id: int,
    members: Mapping[int, Sequence[int]],
    periods: Sequence[tuple[datetime, datetime | None]],
    *,
    counts_visits: bool,
) -> Iterator[tuple[int, dict[int, GoalFigures]]]:
    parameters = _members_of(site_id, members) | _times_of(periods)
    parameters |= {"visit_gap": VISIT_GAP, "counts_visits": counts_visits}
    for row in map(PeriodRow._make, _fetch(PERIOD_SUMS, parameters)):
        revenue = parse_revenue(row.revenue)
        visits = int(row.visits) if counts_visits else 0
        figures = GoalFigures(int(row.conversions), visits, int(row.visitors), revenue, int(row.cancellations))
        yield row.place, {row.key: figures}


def _members_of(site_id: int, members: Mapping[int, Sequence[int]]) -> dict[str, Any]:
    return {
        "site": site_id,
        "keys": [key for key, ids in members.items() for _ in ids],
        "ids": [id_ for ids in members.values() for id_ in ids],
    }


def _times_of(periods: Sequence[tuple[datetime, datetime | None]]) -> dict[str, Any]:
    return {
        "places": list(range(len(periods))),
        "sinces": [begin for begin, _ in periods],
        "untils": [end or NO_END for _, end in periods],
    }


def _fetch(query: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        yield from cursor.fetchall()
