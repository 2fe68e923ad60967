"""Figures that are kept: per goal and visitor, per goal and day, per goal. They equal a recount at every commit.

They are written last in the transaction of the conversions, in one order: visitors' rows by goal and visitor, which
also keep two workers from counting one visitor's visits at a time, then the days' and the goals', of which every
worker has a part of its own. So workers that hit one goal on one day do not wait for each other.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final, NamedTuple

from django.db import connection, transaction

VISIT_GAP: Final = timedelta(minutes=30)  # between conversions of a visitor on a goal: the later one starts a new visit
PARTS: Final = 64  # of a day's and a goal's figures: processes that start together share none

VisitorKey = tuple[int, str]  # a goal's id and a visitor code
Times = tuple[datetime, datetime]


class CountedConversion(NamedTuple):
    """What the figures need of a conversion."""

    id: int
    pair: VisitorKey
    at: datetime
    revenue: Decimal | None
    currency: str | None


class MovedConversion(NamedTuple):
    """A conversion that counts for another visitor of its goal now."""

    happened: CountedConversion  # as it counts now
    before: VisitorKey


class VisitorTotals(NamedTuple):
    """What a visitor converted of a goal."""

    conversions: int
    visits: int
    first_at: datetime
    last_at: datetime
    revenue: Mapping[str, Decimal]


def list_visit_starts(times: Iterable[datetime]) -> list[datetime]:
    """When the visits began that conversions at these times make, in whatever order they are given. Pure."""
    ordered = sorted(times)
    return ordered[:1] + [at for before, at in pairwise(ordered) if at - before >= VISIT_GAP]


def count_conversions(site_id: int, added: Sequence[CountedConversion], moved: Sequence[MovedConversion] = ()) -> None:
    """Count conversions of a site that this transaction inserted or re-keyed; the last locks before its commit.

    Two queries if every visitor is new to the goal, otherwise up to four more. They read the visitors' figures, and the
    neighbours of each time that is not after the old ones, never all conversions of a visitor.
    """
    if not added and not moved:
        return
    new = defaultdict[VisitorKey, list[CountedConversion]](list)
    for each in added:
        new[each.pair].append(each)
    fresh = {pair: sum_conversions(happened) for pair, happened in new.items()}
    joined, left = (
        defaultdict[VisitorKey, list[CountedConversion]](list, new),
        defaultdict[VisitorKey, list[CountedConversion]](list),
    )
    for each_moved in moved:
        joined[each_moved.happened.pair].append(each_moved.happened)
        left[each_moved.before].append(each_moved.happened)
    touched = {
        pair: VisitorTotals(0, 0, each.at, each.at, {}) for each, before in moved for pair in (each.pair, before)
    }
    written = _add(fresh | touched)

    starts = Counter[tuple[int, date]]()
    unsure = set(touched)
    for pair, its in fresh.items():
        if pair in touched:
            continue
        if pair in written:
            begun = [its.first_at] if its.conversions == 1 else list_visit_starts(each.at for each in new[pair])
            starts.update(_days(pair, begun[1:] if written[pair] else begun))
        else:
            unsure.add(pair)

    changed: dict[VisitorKey, VisitorTotals | None] = {}
    old = _load(unsure)
    near = _load_neighbours(site_id, {pair: (joined.get(pair, ()), left.get(pair, ())) for pair in unsure})
    for pair in unsure:
        there, came, gone = near.get(pair, []), joined.get(pair, []), left.get(pair, [])
        begun = list_visit_starts([*there, *(each.at for each in came)])
        had = list_visit_starts([*there, *(each.at for each in gone)])
        starts.update(_days(pair, begun))
        starts.subtract(_days(pair, had))
        changed[pair] = _sum(old[pair], came, gone, visits=len(begun) - len(had))
    lost_ends = {
        pair: its
        for pair, its in changed.items()
        if its is not None and any(each.at in (its.first_at, its.last_at) for each in left.get(pair, ()))
    }
    for pair, (first_at, last_at) in _load_ends(site_id, lost_ends).items():
        changed[pair] = lost_ends[pair]._replace(first_at=first_at, last_at=last_at)
    _update(changed)

    visitors = Counter(goal_id for (goal_id, _), has_gone_on in written.items() if has_gone_on is None)
    visitors.subtract(goal_id for (goal_id, _), its in changed.items() if its is None)
    _sum_up(added, starts, visitors)


def sum_conversions(happened: Collection[CountedConversion]) -> VisitorTotals:
    """What a visitor's conversions of a goal come to, at least one. Pure."""
    if len(happened) == 1:  # which most are
        (only,) = happened
        return VisitorTotals(1, 1, only.at, only.at, sum_revenue(happened))
    times = [each.at for each in happened]
    return VisitorTotals(len(times), len(list_visit_starts(times)), min(times), max(times), sum_revenue(happened))


def sum_revenue(happened: Iterable[CountedConversion]) -> dict[str, Decimal]:
    """By currency, exactly. Pure."""
    revenue = defaultdict[str, Decimal](Decimal)
    for each in happened:
        if each.revenue is not None:
            revenue[each.currency or ""] += each.revenue
    return dict(revenue)


def _sum(
    old: VisitorTotals, came: Collection[CountedConversion], gone: Collection[CountedConversion], *, visits: int
) -> VisitorTotals | None:
    """Return the tally of a visitor with what came and without what went; None if nothing is left. Pure.

    Its first and last times may be too far apart: if one of them went, only the conversions have the next one.
    """
    conversions = old.conversions + len(came) - len(gone)
    if conversions == 0:
        return None
    revenue = defaultdict[str, Decimal](Decimal, old.revenue)
    for currency, total in sum_revenue(came).items():
        revenue[currency] += total
    for currency, total in sum_revenue(gone).items():
        revenue[currency] -= total
        if not revenue[currency]:  # whether a conversion of this currency is left, all of them would tell
            del revenue[currency]
    times = [each.at for each in (*came, *gone)] + ([old.first_at, old.last_at] if old.conversions else [])
    return VisitorTotals(conversions, old.visits + visits, min(times), max(times), dict(revenue))


def _days(pair: VisitorKey, times: Iterable[datetime]) -> list[tuple[int, date]]:
    return [(pair[0], at.astimezone(UTC).date()) for at in times]


COLUMNS: Final = "goal_id, visitor_code, conversions, visits, first_at, last_at, revenue"
UNNESTED: Final = (
    "unnest(%b::bigint[], %b::text[], %b::int[], %b::int[], %b::timestamptz[], %b::timestamptz[], %b::jsonb[])"
)


# Adds what is new to what is there: by currency, and only where there is any.
SUM_OF_REVENUES: Final = """
    CASE WHEN excluded.revenue = '{}' THEN t.revenue ELSE (
        SELECT jsonb_object_agg(currency, total) FROM (
            SELECT key AS currency, sum(value::numeric)::text AS total
              FROM (SELECT * FROM jsonb_each_text(t.revenue) UNION ALL SELECT * FROM jsonb_each_text(excluded.revenue))
                   AS either
             GROUP BY key) AS each) END
"""


def _columns(tallies: Sequence[tuple[VisitorKey, VisitorTotals]]) -> list[list[object]]:
    return [
        *_keys([pair for pair, _ in tallies]),
        [its.conversions for _, its in tallies],
        [its.visits for _, its in tallies],
        [its.first_at for _, its in tallies],
        [its.last_at for _, its in tallies],
        [_write(its.revenue) for _, its in tallies],
    ]


def _keys(pairs: Collection[VisitorKey]) -> list[list[object]]:
    return [[goal_id for goal_id, _ in pairs], [code for _, code in pairs]]


def _write(revenue: Mapping[str, Decimal]) -> str:
    return "{" + ",".join([f'"{currency}":"{total}"' for currency, total in revenue.items()]) + "}"


def _read(revenue: str) -> dict[str, Decimal]:
    return {currency: Decimal(total) for currency, total in json.loads(revenue).items()}


def _add(tallies: Mapping[VisitorKey, VisitorTotals]) -> dict[VisitorKey, bool | None]:
    """Add to the visitors' figures, and lock them all, also those that it leaves alone: where it is not all later.

    Of those written: whether the first visit went on one from before; None where there were no figures.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO goals_goalvisitor AS t ({COLUMNS})
            SELECT {COLUMNS} FROM {UNNESTED} WITH ORDINALITY AS n ({COLUMNS}, place) ORDER BY place
            ON CONFLICT (goal_id, visitor_code) DO UPDATE
               SET conversions = t.conversions + excluded.conversions,
                   visits = t.visits + excluded.visits - (excluded.first_at < t.last_at + interval '30 minutes')::int,
                   last_at = excluded.last_at, revenue = {SUM_OF_REVENUES},
                   has_gone_on = excluded.first_at < t.last_at + interval '30 minutes'
             -- The row is locked all the same: what is read of it next nobody else changes.
             WHERE excluded.conversions > 0 AND excluded.first_at >= t.last_at
            RETURNING goal_id, visitor_code, has_gone_on
            """,
            _columns(sorted(tallies.items(), key=lambda each: each[0])),
        )
        return {(goal_id, code): has_gone_on for goal_id, code, has_gone_on in cursor.fetchall()}


def _load(pairs: Collection[VisitorKey]) -> dict[VisitorKey, VisitorTotals]:
    if not pairs:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT goal_id, visitor_code, conversions, visits, first_at, last_at, revenue::text
              FROM unnest(%b::bigint[], %b::text[]) AS p (goal_id, visitor_code)
              JOIN goals_goalvisitor USING (goal_id, visitor_code)
            """,
            _keys(pairs),
        )
        return {
            (row[0], row[1]): VisitorTotals(row[2], row[3], row[4], row[5], _read(row[6])) for row in cursor.fetchall()
        }


def _load_neighbours(
    site_id: int, pairs: Mapping[VisitorKey, tuple[Collection[CountedConversion], Collection[CountedConversion]]]
) -> dict[VisitorKey, list[datetime]]:
    """Return the times next to those at which conversions of these visitors came or went, if less than a gap away.

    They are those of the other conversions. Two of these with no changed time between them begin as many visits as
    before, so the neighbours of each changed time suffice to count visits that began or ended. Three probes of an index
    for each time, however many conversions a visitor has.
    """
    times = []
    for pair, (came, gone) in pairs.items():
        there = Counter(each.at for each in came)  # under this visitor's code by now
        ordered = sorted({*there, *(each.at for each in gone)})
        nexts = zip([None, *ordered], ordered, [*ordered[1:], None], strict=False)
        times += [(pair, before, at, after, there[at]) for before, at, after in nexts]
    if not times:
        return {}
    found = defaultdict[VisitorKey, list[datetime]](list)
    of_visitor = "c.site_id = t.site_id AND c.visitor_code = t.visitor_code AND c.goal_id = t.goal_id AND c.occurred_at"
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT t.goal_id, t.visitor_code, near.at
              FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::timestamptz[], %b::timestamptz[],
                          %b::timestamptz[], %b::int[])
                   AS t (site_id, goal_id, visitor_code, before, at, after, added)
              JOIN LATERAL (
                (SELECT c.occurred_at AS at FROM goals_conversion c
                  WHERE {of_visitor} > greatest(t.before, t.at - interval '30 minutes') AND c.occurred_at < t.at
                  ORDER BY c.occurred_at DESC LIMIT 1)
                 UNION ALL
                (SELECT c.occurred_at FROM goals_conversion c
                  WHERE {of_visitor} < least(t.after, t.at + interval '30 minutes') AND c.occurred_at > t.at
                  ORDER BY c.occurred_at LIMIT 1)
                 UNION ALL
                (SELECT c.occurred_at FROM goals_conversion c WHERE {of_visitor} = t.at LIMIT 1 OFFSET t.added)
              ) AS near ON true
            """,
            [
                [site_id] * len(times),
                *_keys([pair for pair, *_ in times]),
                [before for _, before, _, _, _ in times],
                [at for _, _, at, _, _ in times],
                [after for _, _, _, after, _ in times],
                [added for *_, added in times],
            ],
        )
        for goal_id, code, at in cursor.fetchall():
            found[goal_id, code].append(at)
    return found


def _load_ends(site_id: int, tallies: Mapping[VisitorKey, VisitorTotals]) -> dict[VisitorKey, Times]:
    """Return the first and last times of visitors' conversions, which are within those given."""
    if not tallies:
        return {}
    among = """
        SELECT c.occurred_at AS at FROM goals_conversion c
         WHERE c.site_id = p.site_id AND c.visitor_code = p.visitor_code AND c.goal_id = p.goal_id
           AND c.occurred_at BETWEEN p.first_at AND p.last_at ORDER BY c.occurred_at
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT p.goal_id, p.visitor_code, first.at, last.at
              FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::timestamptz[], %b::timestamptz[])
                   AS p (site_id, goal_id, visitor_code, first_at, last_at)
              JOIN LATERAL ({among} LIMIT 1) AS first ON true
              JOIN LATERAL ({among} DESC LIMIT 1) AS last ON true
            """,
            [
                [site_id] * len(tallies),
                *_keys(tallies.keys()),
                [its.first_at for its in tallies.values()],
                [its.last_at for its in tallies.values()],
            ],
        )
        return {(goal_id, code): (first, last) for goal_id, code, first, last in cursor.fetchall()}


def _update(changed: Mapping[VisitorKey, VisitorTotals | None]) -> None:
    """Write the figures of visitors that `_insert` locked; None: there is no conversion any more."""
    kept = [(pair, its) for pair, its in changed.items() if its is not None]
    gone = [pair for pair, its in changed.items() if its is None]
    with connection.cursor() as cursor:
        if kept:
            cursor.execute(
                f"""
                UPDATE goals_goalvisitor AS v
                   SET conversions = t.conversions, visits = t.visits, first_at = t.first_at, last_at = t.last_at,
                       revenue = t.revenue
                  FROM {UNNESTED} AS t ({COLUMNS})
                 WHERE v.goal_id = t.goal_id AND v.visitor_code = t.visitor_code
                """,
                _columns(kept),
            )
        if gone:
            cursor.execute(
                """
                DELETE FROM goals_goalvisitor AS v USING unnest(%b::bigint[], %b::text[]) AS t (goal_id, visitor_code)
                 WHERE v.goal_id = t.goal_id AND v.visitor_code = t.visitor_code
                """,
                _keys(gone),
            )


def _sum_up(
    added: Sequence[CountedConversion], starts: Mapping[tuple[int, date], int], visitors: Mapping[int, int]
) -> None:
    """Add to this worker's parts of the days and the goals."""
    by_day = defaultdict[tuple[int, date], list[CountedConversion]](list)
    by_goal = defaultdict[int, list[CountedConversion]](list)
    for each in added:
        by_day[each.pair[0], each.at.astimezone(UTC).date()].append(each)
        by_goal[each.pair[0]].append(each)
    visits = Counter[int]()
    for (goal_id, _), more in starts.items():
        visits[goal_id] += more
    days = sorted(by_day.keys() | {day for day, more in starts.items() if more})
    goals = sorted(by_goal.keys() | {id_ for of in (visits, visitors) for id_, more in of.items() if more})
    if not days and not goals:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
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
            """,
            [
                [goal_id for goal_id, _ in days],
                [day for _, day in days],
                [len(by_day[day]) for day in days],
                [starts.get(day, 0) for day in days],
                [_write(sum_revenue(by_day[day])) for day in days],
                goals,
                [len(by_goal[goal_id]) for goal_id in goals],
                [visits[goal_id] for goal_id in goals],
                [visitors.get(goal_id, 0) for goal_id in goals],
                [_write(sum_revenue(by_goal[goal_id])) for goal_id in goals],
            ],
        )


def purge_visitor_totals(goal_id: int, *, limit: int) -> int:
    """Remove some of a deleted goal's figures of visitors; how many. Nothing counts them any more."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM goals_goalvisitor
             WHERE goal_id = %(goal)s AND visitor_code IN (
                   SELECT visitor_code FROM goals_goalvisitor
                    WHERE goal_id = %(goal)s ORDER BY visitor_code LIMIT %(limit)s)
            """,
            {"goal": goal_id, "limit": limit},
        )
        return int(cursor.rowcount)


# A goal's conversions, summed up three times. A currency has a row of its own until the last step.
RECOUNT: Final = """
    WITH hit AS MATERIALIZED (
        SELECT visitor_code, occurred_at, (occurred_at AT TIME ZONE 'UTC')::date AS day, revenue,
               coalesce(currency, '') AS currency,
               coalesce(occurred_at >= lag(occurred_at) OVER visitor + interval '30 minutes', true)::int AS visit
          FROM goals_conversion WHERE goal_id = %(goal)s
        WINDOW visitor AS (PARTITION BY visitor_code ORDER BY occurred_at)
    ), visitors AS (
        INSERT INTO goals_goalvisitor (goal_id, visitor_code, conversions, visits, first_at, last_at, revenue)
        SELECT %(goal)s, visitor_code, sum(conversions), sum(visits), min(first_at), max(last_at),
               coalesce(jsonb_object_agg(currency, total) FILTER (WHERE total IS NOT NULL), '{}')
          FROM (SELECT visitor_code, currency, count(*) AS conversions, sum(visit) AS visits,
                       min(occurred_at) AS first_at, max(occurred_at) AS last_at, sum(revenue)::text AS total
                  FROM hit GROUP BY 1, 2) AS each
         GROUP BY visitor_code
    ), days AS (
        INSERT INTO goals_goalday (goal_id, day, part, conversions, visits, revenue)
        SELECT %(goal)s, day, 0, sum(conversions), sum(visits),
               coalesce(jsonb_object_agg(currency, total) FILTER (WHERE total IS NOT NULL), '{}')
          FROM (SELECT day, currency, count(*) AS conversions, sum(visit) AS visits, sum(revenue)::text AS total
                  FROM hit GROUP BY 1, 2) AS each
         GROUP BY day
    )
    INSERT INTO goals_goaltotal (goal_id, part, conversions, visits, visitors, revenue)
    SELECT %(goal)s, 0, sum(conversions), sum(visits), (SELECT count(DISTINCT visitor_code) FROM hit),
           coalesce(jsonb_object_agg(currency, total) FILTER (WHERE total IS NOT NULL), '{}')
      FROM (SELECT currency, count(*) AS conversions, sum(visit) AS visits, sum(revenue)::text AS total
              FROM hit GROUP BY 1) AS each
    HAVING count(*) > 0
    RETURNING conversions
"""


def recount_goal(goal_id: int) -> int:
    """Replace the figures of a goal by what its conversions come to; return how many conversions these are.

    One transaction. New conversions, of other goals too, wait until it ends: half a minute for a million. Raises
    OperationalError for a deadlock with a digest, after which it may be called again.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # Who converts or re-keys locks figures later than this table, so figures cannot change in between.
        cursor.execute("LOCK TABLE goals_conversion IN SHARE ROW EXCLUSIVE MODE")
        for table in ("goals_goalvisitor", "goals_goalday", "goals_goaltotal"):
            cursor.execute(f"DELETE FROM {table} WHERE goal_id = %s", [goal_id])
        cursor.execute(RECOUNT, {"goal": goal_id})
        row = cursor.fetchone()
    return int(row[0]) if row else 0
