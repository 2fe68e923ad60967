"""Totals that are kept: per goal and visitor, per goal and day, per goal. They equal a recount at every commit.

A transaction writes them last and in one order. First come the rows of visitors, by goal and visitor: their locks keep
two workers from counting one visitor's visits at a time. Then come the rows of days and goals. Each worker has rows of
its own there, so that workers with conversions of one goal on one day do not wait for each other.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from django.db import connection, transaction

from goals import visitor_totals
from goals.sql import read_query
from goals.visitor_totals import (
    SUM_OF_REVENUES,
    CountedConversion,
    VisitorKey,
    VisitorTotals,
    change_totals,
    sum_conversions,
    sum_revenue,
    write_revenue,
)
from goals.visits import VISIT_GAP, list_visit_starts

PARTS: Final = 64  # rows of a day and of a goal: processes that start together share none

RECOUNT: Final = read_query("recount")

Conversions = Mapping[VisitorKey, Sequence[CountedConversion]]


class MovedConversion(NamedTuple):
    """A conversion that counts for another visitor of its goal now."""

    conversion: CountedConversion  # as it counts now
    before: VisitorKey


def count_conversions(site_id: int, added: Sequence[CountedConversion], moved: Sequence[MovedConversion] = ()) -> None:
    """Count conversions of a site that this transaction inserted or re-keyed. It takes the last locks of the commit.

    Two queries if every visitor is new to the goal, otherwise up to four more. They never read all conversions of a
    visitor, but its totals and the neighbours of each time that is not after the old ones.
    """
    if not added and not moved:
        return
    new = _group((conversion.key, conversion) for conversion in added)
    new_totals = {key: sum_conversions(conversions) for key, conversions in new.items()}
    moved_keys = {
        key: VisitorTotals(0, 0, conversion.at, conversion.at, {})
        for conversion, before in moved
        for key in (conversion.key, before)
    }
    continued = visitor_totals.add_totals(new_totals | moved_keys)
    later = (new_totals.keys() & continued.keys()) - moved_keys.keys()
    starts = Counter[tuple[int, date]]()
    for key in later:
        begun = list_visit_starts(conversion.at for conversion in new[key])
        starts.update(_list_days(key, begun[1:] if continued[key] else begun))

    counted = [*added, *(conversion for conversion, _ in moved)]
    joined = _group((conversion.key, conversion) for conversion in counted)
    left = _group((before, conversion) for conversion, before in moved)
    changed = _change_visitors(site_id, (new_totals.keys() | moved_keys.keys()) - later, joined, left, starts)
    visitors = Counter(goal_id for (goal_id, _), is_continued in continued.items() if is_continued is None)
    visitors.subtract(goal_id for (goal_id, _), totals in changed.items() if totals is None)
    _add_to_days_and_goals(added, starts, visitors)


def _change_visitors(
    site_id: int,
    keys: Collection[VisitorKey],
    joined: Conversions,
    left: Conversions,
    starts: Counter[tuple[int, date]],
) -> dict[VisitorKey, VisitorTotals | None]:
    """Replace the totals of visitors whose new conversions are not all later, and return them; None for no more rows.

    The days on which visits begin now, and began before, are added to `starts`.
    """
    old = visitor_totals.load_totals(keys)
    neighbours = visitor_totals.load_neighbours(
        site_id, {key: (joined.get(key, ()), left.get(key, ())) for key in keys}
    )
    changed: dict[VisitorKey, VisitorTotals | None] = {}
    lost_ends: dict[VisitorKey, VisitorTotals] = {}
    for key in keys:
        near, came, gone = neighbours.get(key, []), joined.get(key, []), left.get(key, [])
        begun = list_visit_starts([*near, *(conversion.at for conversion in came)])
        before = list_visit_starts([*near, *(conversion.at for conversion in gone)])
        starts.update(_list_days(key, begun))
        starts.subtract(_list_days(key, before))
        totals = changed[key] = change_totals(old[key], came, gone, visits=len(begun) - len(before))
        if totals is not None and any(conversion.at in (totals.first_at, totals.last_at) for conversion in gone):
            lost_ends[key] = totals
    for key, (first_at, last_at) in visitor_totals.load_ends(site_id, lost_ends).items():
        changed[key] = lost_ends[key]._replace(first_at=first_at, last_at=last_at)
    visitor_totals.replace_totals(changed)
    return changed


def _group(pairs: Iterable[tuple[VisitorKey, CountedConversion]]) -> dict[VisitorKey, list[CountedConversion]]:
    groups = defaultdict[VisitorKey, list[CountedConversion]](list)
    for key, conversion in pairs:
        groups[key].append(conversion)
    return groups


def _day_of(time: datetime) -> date:
    return time.astimezone(UTC).date()


def _list_days(key: VisitorKey, times: Iterable[datetime]) -> list[tuple[int, date]]:
    return [(key[0], _day_of(at)) for at in times]


ADD_TO_DAYS_AND_GOALS: Final = f"""
    WITH days AS (
        INSERT INTO goals_goalday AS t (goal_id, day, part, conversions, visits, revenue)
        SELECT goal_id, day, pg_backend_pid() %% {PARTS}, conversions, visits, revenue
          FROM unnest(%b::bigint[], %b::date[], %b::int[], %b::int[], %b::jsonb[])
               WITH ORDINALITY AS d (goal_id, day, conversions, visits, revenue, place)
         ORDER BY place
        ON CONFLICT (goal_id, day, part) DO UPDATE
           SET conversions = t.conversions + excluded.conversions, visits = t.visits + excluded.visits,
               revenue = {SUM_OF_REVENUES}
    )
    INSERT INTO goals_goaltotal AS t (goal_id, part, conversions, visits, visitors, revenue)
    SELECT goal_id, pg_backend_pid() %% {PARTS}, conversions, visits, visitors, revenue
      FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::jsonb[])
           WITH ORDINALITY AS g (goal_id, conversions, visits, visitors, revenue, place)
     ORDER BY place
    ON CONFLICT (goal_id, part) DO UPDATE
       SET conversions = t.conversions + excluded.conversions, visits = t.visits + excluded.visits,
           visitors = t.visitors + excluded.visitors, revenue = {SUM_OF_REVENUES}
"""


def _add_to_days_and_goals(
    added: Sequence[CountedConversion], starts: Mapping[tuple[int, date], int], visitors: Mapping[int, int]
) -> None:
    """Add to the rows of this worker for days and goals. One query, if any total changes."""
    by_day = defaultdict[tuple[int, date], list[CountedConversion]](list)
    by_goal = defaultdict[int, list[CountedConversion]](list)
    for conversion in added:
        goal_id, _ = conversion.key
        by_day[goal_id, _day_of(conversion.at)].append(conversion)
        by_goal[goal_id].append(conversion)
    visits = Counter[int]()
    for (goal_id, _), more in starts.items():
        visits[goal_id] += more
    days = sorted(by_day.keys() | {day for day, more in starts.items() if more})
    goals = sorted(by_goal.keys() | {id_ for counts in (visits, visitors) for id_, more in counts.items() if more})
    if not days and not goals:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            ADD_TO_DAYS_AND_GOALS,
            [
                [goal_id for goal_id, _ in days],
                [day for _, day in days],
                [len(by_day[day]) for day in days],
                [starts.get(day, 0) for day in days],
                [write_revenue(sum_revenue(by_day[day])) for day in days],
                goals,
                [len(by_goal[goal_id]) for goal_id in goals],
                [visits[goal_id] for goal_id in goals],
                [visitors.get(goal_id, 0) for goal_id in goals],
                [write_revenue(sum_revenue(by_goal[goal_id])) for goal_id in goals],
            ],
        )


def recount_goal(goal_id: int) -> int:
    """Replace the totals of a goal by the sums of its conversions and return how many conversions it has.

    One transaction. New conversions, of other goals too, wait until it ends: half a minute for a million. Raises
    OperationalError for a deadlock with a digest, after which it may be called again.
    """
    parameters: dict[str, Any] = {"goal": goal_id, "visit_gap": VISIT_GAP}
    with transaction.atomic(), connection.cursor() as cursor:
        # A digest or a re-keying locks totals later than this table, so totals cannot change in between.
        cursor.execute("LOCK TABLE goals_conversion IN SHARE ROW EXCLUSIVE MODE")
        for table in ("goals_goalvisitor", "goals_goalday", "goals_goaltotal"):
            cursor.execute(f"DELETE FROM {table} WHERE goal_id = %s", [goal_id])
        cursor.execute(RECOUNT, parameters)
        row = cursor.fetchone()
    return int(row[0]) if row else 0
