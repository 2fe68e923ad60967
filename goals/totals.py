"""Totals that are kept: per goal and visitor, per goal and day, per goal. They equal a recount at every commit.

Days and goals count cancellations by themselves and subtract their revenue. Visitors' totals are of conversions alone.

A transaction writes them last and in one order. First it locks the goals, so that their zones stay. Then come the rows
of visitors, by goal and visitor: their locks keep two workers from counting one visitor's visits at a time. Last come
the rows of days and goals. Each transaction has rows of its own there, so that workers with conversions of one goal on
one day do not wait for each other.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from django.db import connection, transaction

import zones
from goals import visitor_totals
from goals.sql import read_query
from goals.visitor_totals import (
    CountedConversion,
    VisitorKey,
    VisitorTotals,
    change_totals,
    sum_conversions,
    sum_revenue,
    write_revenue,
)
from goals.visits import VISIT_GAP, list_visit_starts
from sessions import LockSpace, lock_lowest_free

PARTS: Final = 64  # rows of a day and of a goal at most: as many transactions add to them at a time

RECOUNT: Final = read_query("recount")
RECOUNT_DAYS: Final = read_query("recount_days")

Conversions = Mapping[VisitorKey, Sequence[CountedConversion]]
GoalTime = tuple[int, datetime]  # a goal's id and a time


class MovedConversion(NamedTuple):
    """A conversion that counts for another visitor of its goal now."""

    conversion: CountedConversion  # as it counts now
    before: VisitorKey


def count_conversions(
    site_id: int,
    added: Sequence[CountedConversion],
    moved: Sequence[MovedConversion] = (),
    cancelled: Sequence[CountedConversion] = (),
) -> Mapping[VisitorKey, int]:
    """Count conversions of a site that this transaction inserted or re-keyed. It takes the last locks of the commit.

    `cancelled` are new cancellations, with the revenue that they take below 0. Return the conversions that visitors had
    before, of those from whom none were re-keyed.

    Four queries if every visitor is new to the goal or comes back later; up to four more. They never read all
    conversions of a visitor, but its totals and the neighbours of each time that is not after the old ones.
    """
    if not added and not moved and not cancelled:
        return {}
    joined = _group((each.key, each) for each in (*added, *(conversion for conversion, _ in moved)))
    left = _group((before, conversion) for conversion, before in moved)
    starts = Counter[GoalTime]()
    goals = {goal_id for goal_id, _ in joined.keys() | left.keys()} | {each.key[0] for each in cancelled}
    old, new = _lock_visitors(site_id, joined, left, goals)
    for key in new:
        starts.update(_of_goal(key, list_visit_starts(conversion.at for conversion in joined[key])))
    later = {
        key: totals
        for key, totals in old.items()
        if key not in left and all(conversion.at >= totals.last_at for conversion in joined[key])
    }
    changed: dict[VisitorKey, VisitorTotals | None] = {}
    for key, totals in later.items():
        # The last old conversion begins the first of these visits, so that it is no new one.
        begun = list_visit_starts([totals.last_at, *(conversion.at for conversion in joined[key])])[1:]
        starts.update(_of_goal(key, begun))
        changed[key] = change_totals(totals, joined[key], (), visits=len(begun))
    earlier = {key: totals for key, totals in old.items() if key not in later}
    changed |= _change_earlier(site_id, earlier, joined, left, starts)
    visitor_totals.replace_totals(site_id, changed)
    visitors = Counter(goal_id for goal_id, _ in new)
    visitors.subtract(goal_id for (goal_id, _), totals in changed.items() if totals is None)
    _add_to_days_and_goals(site_id, added, cancelled, starts, visitors)
    return {key: totals.conversions for key, totals in old.items() if key not in left}


def _lock_visitors(
    site_id: int, joined: Conversions, left: Conversions, goals: Collection[int]
) -> tuple[dict[VisitorKey, VisitorTotals], set[VisitorKey]]:
    """Lock goals and the totals of these visitors, or insert these. Return the old totals, and the inserted keys."""
    old = visitor_totals.lock_totals(site_id, joined.keys() | left.keys(), goals)
    new = set[VisitorKey]()
    while missing := joined.keys() - old.keys() - new:
        new |= visitor_totals.insert_totals(site_id, {key: sum_conversions(joined[key]) for key in missing})
        # Another worker inserted these meanwhile, and has committed by now.
        old |= visitor_totals.lock_totals(site_id, missing - new)
    return old, new


def _change_earlier(
    site_id: int,
    old: Mapping[VisitorKey, VisitorTotals],
    joined: Conversions,
    left: Conversions,
    starts: Counter[GoalTime],
) -> dict[VisitorKey, VisitorTotals | None]:
    """Return the totals of visitors whose new conversions are not all later; None for no more conversions.

    The times at which visits begin now, and began before, are added to `starts`.
    """
    neighbours = visitor_totals.load_neighbours(site_id, {key: (joined.get(key, ()), left.get(key, ())) for key in old})
    changed: dict[VisitorKey, VisitorTotals | None] = {}
    lost_ends: dict[VisitorKey, VisitorTotals] = {}
    for key in old:
        near, came, gone = neighbours.get(key, []), joined.get(key, []), left.get(key, [])
        begun = list_visit_starts([*near, *(conversion.at for conversion in came)])
        before = list_visit_starts([*near, *(conversion.at for conversion in gone)])
        starts.update(_of_goal(key, begun))
        starts.subtract(_of_goal(key, before))
        totals = changed[key] = change_totals(old[key], came, gone, visits=len(begun) - len(before))
        if totals is not None and any(conversion.at in (totals.first_at, totals.last_at) for conversion in gone):
            lost_ends[key] = totals
    for key, (first_at, last_at) in visitor_totals.load_ends(site_id, lost_ends).items():
        changed[key] = lost_ends[key]._replace(first_at=first_at, last_at=last_at)
    return changed


def _group(pairs: Iterable[tuple[VisitorKey, CountedConversion]]) -> dict[VisitorKey, list[CountedConversion]]:
    groups = defaultdict[VisitorKey, list[CountedConversion]](list)
    for key, conversion in pairs:
        groups[key].append(conversion)
    return groups


def _of_goal(key: VisitorKey, times: Iterable[datetime]) -> list[GoalTime]:
    return [(key[0], at) for at in times]


# Adds the new revenue of `n` to that of the row `t` by currency.
SUM_OF_REVENUES: Final = """
    CASE WHEN n.revenue = '{}' THEN t.revenue ELSE (
        SELECT jsonb_object_agg(currency, total) FROM (
            SELECT key AS currency, sum(value::numeric)::text AS total
              FROM (SELECT * FROM jsonb_each_text(t.revenue) UNION ALL SELECT * FROM jsonb_each_text(n.revenue))
                   AS either
             GROUP BY key) AS amount) END
"""
# PostgreSQL says on which day a moment was, here and wherever days are counted: two lists of zones may differ.
# No other transaction writes this part at a time, so that rows that no UPDATE finds can be inserted.
ADD_TO_DAYS_AND_GOALS: Final = f"""
    WITH moment AS MATERIALIZED (
        SELECT n.goal_id, (n.at AT TIME ZONE g.day_zone)::date AS day, n.conversions, n.visits, n.cancellations,
               n.currency, n.revenue
          FROM unnest(%(moment_goals)b::bigint[], %(moment_times)b::timestamptz[], %(moment_conversions)b::int[],
                      %(moment_visits)b::int[], %(moment_cancellations)b::int[], %(moment_currencies)b::text[],
                      %(moment_revenue)b::numeric[])
               AS n (goal_id, at, conversions, visits, cancellations, currency, revenue)
          JOIN goals_goal AS g ON g.site_id = %(site)s AND g.id = n.goal_id
    ), day AS MATERIALIZED (
        SELECT goal_id, day, sum(conversions) AS conversions, sum(visits) AS visits,
               sum(cancellations) AS cancellations,
               coalesce(jsonb_object_agg(currency, total::text) FILTER (WHERE total IS NOT NULL), '{{}}') AS revenue
          FROM (SELECT goal_id, day, currency, sum(conversions) AS conversions, sum(visits) AS visits,
                       sum(cancellations) AS cancellations, sum(revenue) AS total
                  FROM moment GROUP BY goal_id, day, currency) AS amount
         GROUP BY goal_id, day
        HAVING sum(conversions) <> 0 OR sum(visits) <> 0 OR sum(cancellations) <> 0
    ), changed_day AS (
        UPDATE goals_goalday AS t
           SET conversions = t.conversions + n.conversions, visits = t.visits + n.visits,
               cancellations = t.cancellations + n.cancellations, revenue = {SUM_OF_REVENUES}
          FROM day AS n
         WHERE t.site_id = %(site)s AND t.goal_id = n.goal_id AND t.day = n.day AND t.part = %(part)s
        RETURNING t.goal_id, t.day
    ), new_day AS (
        INSERT INTO goals_goalday (site_id, goal_id, day, part, conversions, visits, cancellations, revenue)
        SELECT %(site)s, goal_id, day, %(part)s, conversions, visits, cancellations, revenue
          FROM day WHERE (goal_id, day) NOT IN (SELECT goal_id, day FROM changed_day)
    ), goal AS MATERIALIZED (
        SELECT * FROM unnest(%(goals)b::bigint[], %(conversions)b::bigint[], %(visits)b::bigint[],
                             %(visitors)b::bigint[], %(cancellations)b::bigint[], %(revenue)b::jsonb[])
                      AS n (goal_id, conversions, visits, visitors, cancellations, revenue)
    ), changed_goal AS (
        UPDATE goals_goaltotal AS t
           SET conversions = t.conversions + n.conversions, visits = t.visits + n.visits,
               visitors = t.visitors + n.visitors, cancellations = t.cancellations + n.cancellations,
               revenue = {SUM_OF_REVENUES}
          FROM goal AS n
         WHERE t.site_id = %(site)s AND t.goal_id = n.goal_id AND t.part = %(part)s
        RETURNING t.goal_id
    )
    INSERT INTO goals_goaltotal (site_id, goal_id, part, conversions, visits, visitors, cancellations, revenue)
    SELECT %(site)s, goal_id, %(part)s, conversions, visits, visitors, cancellations, revenue
      FROM goal WHERE goal_id NOT IN (SELECT goal_id FROM changed_goal)
"""


@dataclass(slots=True)
class _MinuteSums:
    """Additions to the day of a time, of one currency."""

    conversions: int = 0
    visits: int = 0
    cancellations: int = 0
    revenue: Decimal | None = None


_Moment = tuple[int, datetime, str]  # a goal's id, a time and a currency


def _sum_by_minute(
    added: Sequence[CountedConversion], cancelled: Sequence[CountedConversion], starts: Mapping[GoalTime, int]
) -> dict[_Moment, _MinuteSums]:
    """Return what conversions, cancellations and begins of visits add, by minutes, which are far fewer. Pure."""
    sums = defaultdict[_Moment, _MinuteSums](_MinuteSums)
    for number, conversions in ((1, added), (0, cancelled)):
        for (goal_id, _), at, revenue, currency in conversions:
            of_minute = sums[goal_id, zones.start_of_minute(at), currency or ""]
            of_minute.conversions += number
            of_minute.cancellations += 1 - number
            if revenue is not None:
                of_minute.revenue = revenue if of_minute.revenue is None else of_minute.revenue + revenue
    for (goal_id, at), more in starts.items():
        if more:
            sums[goal_id, zones.start_of_minute(at), ""].visits += more
    return sums


def _add_to_days_and_goals(
    site_id: int,
    added: Sequence[CountedConversion],
    cancelled: Sequence[CountedConversion],
    starts: Mapping[GoalTime, int],
    visitors: Mapping[int, int],
) -> None:
    """Add to the rows of one part for days and goals. Two queries, if any total changes."""
    moments = _sum_by_minute(added, cancelled, starts)
    by_goal = defaultdict[int, list[CountedConversion]](list)
    for conversion in (*added, *cancelled):
        by_goal[conversion.key[0]].append(conversion)
    cancelled_by_goal = Counter(each.key[0] for each in cancelled)
    visits = Counter[int]()
    for (goal_id, _), more in starts.items():
        visits[goal_id] += more
    goals = sorted(by_goal.keys() | {id_ for counts in (visits, visitors) for id_, more in counts.items() if more})
    if not moments and not goals:
        return
    parameters: dict[str, Any] = {
        "site": site_id,
        # The lowest free one: a day then has no more rows than there are workers.
        "part": lock_lowest_free(LockSpace.GOAL_TOTALS, count=PARTS),
        "moment_goals": [goal_id for goal_id, _, _ in moments],
        "moment_times": [at for _, at, _ in moments],
        "moment_currencies": [currency for _, _, currency in moments],
        "moment_conversions": [sums.conversions for sums in moments.values()],
        "moment_visits": [sums.visits for sums in moments.values()],
        "moment_cancellations": [sums.cancellations for sums in moments.values()],
        "moment_revenue": [sums.revenue for sums in moments.values()],
        "goals": goals,
        "conversions": [len(by_goal[goal_id]) - cancelled_by_goal[goal_id] for goal_id in goals],
        "visits": [visits[goal_id] for goal_id in goals],
        "visitors": [visitors.get(goal_id, 0) for goal_id in goals],
        "cancellations": [cancelled_by_goal[goal_id] for goal_id in goals],
        "revenue": [write_revenue(sum_revenue(by_goal[goal_id])) for goal_id in goals],
    }
    with connection.cursor() as cursor:
        cursor.execute(ADD_TO_DAYS_AND_GOALS, parameters)


def recount_goal(site_id: int, goal_id: int) -> int:
    """Replace the totals of a goal by sums of its conversions and cancellations. Return how many conversions it has.

    One transaction. New ones, of other goals too, wait until it ends: half a minute for a million. Raises
    OperationalError for a deadlock with a digest, after which it may be called again.
    """
    parameters: dict[str, Any] = {"site": site_id, "goal": goal_id, "visit_gap": VISIT_GAP}
    with transaction.atomic(), connection.cursor() as cursor:
        # A digest or a re-keying locks totals later than these tables, so totals cannot change in between.
        cursor.execute("LOCK TABLE goals_cancellation, goals_conversion IN SHARE ROW EXCLUSIVE MODE")
        for table in ("goals_goalvisitor", "goals_goaltotal"):
            cursor.execute(f"DELETE FROM {table} WHERE site_id = %s AND goal_id = %s", [site_id, goal_id])
        cursor.execute(RECOUNT, parameters)
        row = cursor.fetchone()
        recount_days(site_id, goal_id)
    return int(row[0]) if row else 0


def recount_days(site_id: int, goal_id: int, *, zone: str | None = None) -> None:
    """Replace the totals of a goal's days by sums, in another zone if one is given. Call it inside a transaction.

    New conversions of this goal wait until it ends, because `count_conversions` locks their goals: some seconds for a
    million. It waits for no other lock while it holds this one. Three queries, one more for another zone.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT day_zone FROM goals_goal WHERE site_id = %s AND id = %s FOR UPDATE", [site_id, goal_id])
        row = cursor.fetchone()
        if row is None:  # it was deleted meanwhile, with its totals
            return
        cursor.execute("DELETE FROM goals_goalday WHERE site_id = %s AND goal_id = %s", [site_id, goal_id])
        parameters: dict[str, Any] = {"site": site_id, "goal": goal_id, "zone": zone or row[0], "visit_gap": VISIT_GAP}
        cursor.execute(RECOUNT_DAYS, parameters)
        if zone:
            cursor.execute(
                "UPDATE goals_goal SET day_zone = %s WHERE site_id = %s AND id = %s", [zone, site_id, goal_id]
            )
