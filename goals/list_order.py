"""The order of lists of goals: by name, by age or by a figure, each goal with all that is merged into it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from django.db import connection

import names
from goals.models import Goal
from goals.queries import GoalFilter, filter_goals, live_goals
from goals.reports import month_start

Rank = str | int | Decimal | datetime | None

# What ranks the goals that have it; `member` is every live goal with the one it counts for.
FIGURES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "conversions24h": """
            SELECT key, count(*) AS rank FROM member JOIN goals_conversion c USING (goal_id)
             WHERE c.occurred_at >= %(day)s GROUP BY key
        """,
        "conversions30d": """
            SELECT key, sum(d.conversions) AS rank FROM member JOIN goals_goalday d USING (goal_id)
             WHERE d.day >= %(month)s GROUP BY key
        """,
        "conversions": """
            SELECT key, sum(t.conversions) AS rank FROM member JOIN goals_goaltotal t USING (goal_id) GROUP BY key
        """,
        # A visitor of two goals that are one is one visitor.
        "visitors": """
            SELECT key, sum(t.visitors) AS rank FROM member JOIN goals_goaltotal t USING (goal_id)
             WHERE key NOT IN (SELECT key FROM member WHERE goal_id <> key) GROUP BY key
             UNION ALL
            SELECT key, count(*) FROM (
                SELECT DISTINCT key, v.visitor_code FROM member JOIN goals_goalvisitor v USING (goal_id)
                 WHERE key IN (SELECT key FROM member WHERE goal_id <> key)) AS each GROUP BY key
        """,
        "revenue": """
            SELECT key, sum((t.revenue ->> name)::numeric) AS rank
              FROM (SELECT coalesce(nullif(%(currency)s, ''), names[1]) AS name FROM currency) AS wanted,
                   member JOIN goals_goaltotal t USING (goal_id)
             GROUP BY key
        """,
        "lastConversion": """
            SELECT key, max(c.occurred_at) AS rank
              FROM member
              JOIN LATERAL (SELECT occurred_at FROM goals_conversion
                             WHERE goal_id = member.goal_id ORDER BY occurred_at DESC LIMIT 1) AS c ON true
             GROUP BY key
        """,
    }
)
FIELDS: Final = MappingProxyType({"name": "sort_key", "created": "created_at"})
ORDERINGS: Final = (*FIELDS, *FIGURES)
COUNTS: Final = frozenset({"conversions24h", "conversions30d", "conversions", "visitors"})


@dataclass(frozen=True, slots=True)
class GoalOrder:
    """By which of ORDERINGS, and from which end; revenue is that of one currency: without it, of the most usual one."""

    key: str = "name"
    is_descending: bool = False
    currency: str = ""


@dataclass(frozen=True, slots=True)
class GoalPosition:
    """Where a page of goals ended: the next one begins with what is ranked after it."""

    rank: Rank
    id: int


@dataclass(frozen=True, slots=True)
class GoalPage:
    """Some goals of a list in its order, as `queries.live_goals` gives them."""

    goals: list[Goal]
    total: int  # of the whole list
    next: GoalPosition | None  # more follow after it
    currencies: list[str]  # of the sites' revenue, that of the most goals first, then by name


def find_goals(
    site_ids: Collection[int],
    wanted: GoalFilter,
    *,
    now: datetime,
    order: GoalOrder = GoalOrder(),
    after: GoalPosition | None = None,
    offset: int = 0,
    limit: int | None = None,
    with_: Sequence[str] = ("tags", "bindings"),
) -> GoalPage:
    """Live goals that pass the filter, in their order, then in that of their ids, which turns round with it.

    Names are in the order in which people read them (names.sort_key), the same on every machine.

    Goals that never converted stand last in either direction of `lastConversion`, and those without revenue in the
    currency in either direction of `revenue`. One query that ranks every goal of the sites (0.2 s for 10,000 goals
    with a million conversions at worst), and those of `live_goals`. Figures go on while people turn pages: a goal that
    rises or falls meanwhile may be seen twice, or not.
    """
    ranked = _rank(site_ids, wanted, now=now, order=order, after=after, offset=offset, limit=limit)
    shown, more = ranked.rows[:limit], ranked.rows[limit:] if limit is not None else []
    goals = live_goals(site_ids).prefetch_related(None).prefetch_related(*with_).in_bulk([id_ for id_, _ in shown])
    return GoalPage(
        [goals[id_] for id_, _ in shown if id_ in goals],
        ranked.total,
        GoalPosition(shown[-1][1], shown[-1][0]) if more and shown else None,
        ranked.currencies,
    )


class GoalIds(NamedTuple):
    """A whole list of `find_goals`."""

    ids: list[int]
    currencies: list[str]  # as of GoalPage


def find_goal_ids(site_ids: Collection[int], wanted: GoalFilter, *, now: datetime, order: GoalOrder) -> GoalIds:
    """Return the ids of a whole list of `find_goals`. One query."""
    ranked = _rank(site_ids, wanted, now=now, order=order, after=None, offset=0, limit=None)
    return GoalIds([id_ for id_, _ in ranked.rows], ranked.currencies)


class _Ranked(NamedTuple):
    rows: list[tuple[int, Rank]]  # ids with their ranks, one more than the limit
    total: int
    currencies: list[str]


def _rank(
    site_ids: Collection[int],
    wanted: GoalFilter,
    *,
    now: datetime,
    order: GoalOrder,
    after: GoalPosition | None,
    offset: int,
    limit: int | None,
) -> _Ranked:
    if not site_ids:
        return _Ranked([], 0, [])
    parameters: dict[str, Any] = {
        "sites": list(site_ids),
        "day": now - timedelta(hours=24),
        "month": month_start(now),
        "currency": order.currency,
        "offset": offset,
        "limit": None if limit is None else limit + 1,
    }
    filtered, given = (
        filter_goals(site_ids, wanted).values("pk", "name", "sort_key", "created_at").query.sql_with_params()
    )
    # Django's parameters have no names, and a statement has those of one kind.
    given_names = [f"filter_{number}" for number in range(len(given))]
    parameters |= dict(zip(given_names, given, strict=True))
    filtered %= tuple(f"%({name})s" for name in given_names)
    side, way = ("<", "DESC") if order.is_descending else (">", "ASC")
    place = "true"
    if after is not None:
        parameters |= {"rank": after.rank, "id": after.id}
        its_rank = f"{names.SORT_KEY}(%(rank)s)" if order.key == "name" else "%(rank)s"
        place = (
            f"rank IS NULL AND id {side} %(id)s"
            if after.rank is None
            else f"((rank, id) {side} ({its_rank}, %(id)s) OR rank IS NULL)"
        )
    rank = f"g.{FIELDS[order.key]}" if order.key in FIELDS else "f.rank"
    if order.key in COUNTS:
        rank = "coalesce(f.rank, 0)::bigint"
    shown = "name" if order.key == "name" else "rank"  # an address holds a name rather than its key
    figure = FIGURES.get(order.key, "SELECT NULL::bigint AS key, 0 AS rank WHERE false")
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH member AS (
                SELECT coalesce(counts_for_id, id) AS key, id AS goal_id
                  FROM goals_goal WHERE site_id = ANY(%(sites)s) AND deleted_at IS NULL
            ), currency AS MATERIALIZED (
                SELECT array_agg(name ORDER BY goals DESC, name) AS names
                  FROM (SELECT name, count(*) AS goals
                          FROM member JOIN goals_goaltotal t USING (goal_id), jsonb_object_keys(t.revenue) AS name
                         GROUP BY name) AS each
            ), figure AS MATERIALIZED ({figure}
            ), ranked AS MATERIALIZED (
                SELECT g.id, g.name, {rank} AS rank FROM ({filtered}) AS g (id, name, sort_key, created_at)
                  LEFT JOIN figure f ON f.key = g.id
            )
            SELECT total, (SELECT names FROM currency), id, {shown}
              FROM (SELECT count(*) AS total FROM ranked) AS whole
              LEFT JOIN LATERAL (
                SELECT id, name, rank FROM ranked WHERE {place}
                 ORDER BY rank {way} NULLS LAST, id {way} OFFSET %(offset)s LIMIT %(limit)s) AS page ON true
             ORDER BY rank {way} NULLS LAST, id {way}
            """,
            parameters,
        )
        rows = cursor.fetchall()
    return _Ranked([(row[2], row[3]) for row in rows if row[2] is not None], rows[0][0], rows[0][1] or [])
