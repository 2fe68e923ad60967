"""Orders of lists of goals: by name, by age or by a figure, each goal with all goals that are merged into it."""

import operator
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from django.db import connection
from django.db.models import Case, F, Q, Subquery, TextField, Value
from django.db.models.functions import Coalesce

import names
from goals.models import Goal
from goals.queries import GoalFilter, filter_goals, live_goals
from goals.reports.summaries import MONTH
from goals.shown_names import show_name, shown_sort_key
from goals.sql import read_query

Rank = str | int | Decimal | datetime | None

COLUMNS: Final = MappingProxyType({"name": "sort_key", "created": "created_at"})
COUNTS: Final = frozenset({"conversions24h", "conversions30d", "conversions", "visitors", "period"})
RANKINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        key: read_query(f"rankings/{key}")
        for key in (*sorted(COUNTS), "revenue", "periodRevenue", "revenueSince", "lastConversion")
    }
)
OF_HOURS: Final = MappingProxyType({"period": "conversions24h", "periodRevenue": "revenueSince"})
CURRENCIES: Final = read_query("rankings/currencies")
PLACEHOLDER: Final = re.compile("%s")
ORDERINGS: Final = (
    *("name", "created"),
    *("conversions24h", "conversions30d", "conversions", "visitors", "revenue", "lastConversion"),
)


@dataclass(frozen=True, slots=True)
class GoalOrder:
    """One of ORDERINGS, or `period` or `periodRevenue`, and its direction."""

    key: str = "name"
    is_descending: bool = False
    currency: str = ""  # of the revenue; empty for the currency of the most goals
    template: str = ""  # the site's, to order by names as pages show them; empty to order by the names themselves
    period: tuple[date, date] = (date.min, date.max)  # first and last day, as the totals of days are kept
    since: datetime | None = None  # the beginning of a period of hours, which has no whole days


@dataclass(frozen=True, slots=True)
class GoalPosition:
    """End of a page of goals; the next page begins with the goal after it."""

    rank: Rank  # a name as it is ordered by, not its sort key, because addresses hold it
    id: int


@dataclass(frozen=True, slots=True)
class GoalPage:
    """Some goals of a list in its order, as `queries.live_goals` gives them."""

    goals: list[Goal]
    total: int  # of the whole list
    next: GoalPosition | None  # None on the last page


class _Ranked(NamedTuple):
    rows: list[tuple[int, Rank]]  # ids with their ranks
    total: int


def find_goals(
    site_ids: Collection[int],
    goal_filter: GoalFilter,
    *,
    now: datetime,
    order: GoalOrder = GoalOrder(),
    after: GoalPosition | None = None,
    offset: int = 0,
    limit: int | None = None,
    with_: Sequence[str] = ("tags", "bindings"),
) -> GoalPage:
    """Return the live goals that pass the filter, in their order, then in that of their ids in the same direction.

    Names are in the order in which people read them (`names.sort_key`), the same on every machine. They are those that
    pages show if the order has a template, which must be that of each of these sites. In either direction
    of `lastConversion` goals that never converted come last. So do goals without revenue in the currency in either
    direction of `revenue`.

    One query a site for an order by a figure, otherwise two, and those of `live_goals`; one more for `revenue` without
    a currency. An order by a figure ranks every goal of the sites, and a page of several sites reads those before it.
    Figures change while people turn pages: a goal whose rank changes may be on two pages or none.
    """
    if not site_ids:
        return GoalPage([], 0, None)
    end = None if limit is None else offset + limit + 1
    ranked = _rank(site_ids, goal_filter, now=now, order=order, after=after, part=(offset, end))
    rows, rest = ranked.rows[:limit], ranked.rows[limit:] if limit is not None else []
    goals: dict[int, Goal] = {}
    for site_id in site_ids:
        goals |= live_goals(site_id, with_=with_).in_bulk([id_ for id_, _ in rows])
    return GoalPage(
        [goals[id_] for id_, _ in rows if id_ in goals],
        ranked.total,
        GoalPosition(rows[-1][1], rows[-1][0]) if rest and rows else None,
    )


def find_goal_ids(site_ids: Collection[int], goal_filter: GoalFilter, *, now: datetime, order: GoalOrder) -> list[int]:
    """Return the ids of a whole list of `find_goals`. As many queries as there, without those of `live_goals`."""
    return [id_ for id_, _ in _rank(site_ids, goal_filter, now=now, order=order).rows]


def load_currencies(site_ids: Collection[int]) -> list[str]:
    """Return the currencies of the sites' revenue, that of the most goals first, then by name. One query a site."""
    goals = Counter[str]()
    for site_id in site_ids:
        goals.update(dict(_fetch(CURRENCIES, {"site": site_id})))
    return [name for name, _ in sorted(goals.items(), key=lambda item: (-item[1], item[0]))]


def _rank(
    site_ids: Collection[int],
    goal_filter: GoalFilter,
    *,
    now: datetime,
    order: GoalOrder,
    after: GoalPosition | None = None,
    part: tuple[int, int | None] = (0, None),
) -> _Ranked:
    if order.key in COLUMNS:
        return _rank_by_column(site_ids, goal_filter, order=order, after=after, part=part)
    currency = order.currency
    if order.key in {"revenue", "periodRevenue"} and not currency:
        currency = next(iter(load_currencies(site_ids)), "")
    parameters = {
        "day": order.since or now - timedelta(hours=24),
        "now": now,
        "days_before": MONTH - 1,
        "currency": currency,
        "first": order.period[0],
        "last": order.period[1],
    }
    is_of_one = len(site_ids) == 1
    total, rows = 0, list[tuple[int, Rank]]()
    for site_id in site_ids:
        bounds = part if is_of_one else (0, part[1])
        found = _rank_by_figure(site_id, goal_filter, parameters, order=order, after=after, part=bounds)
        total, rows = total + found.total, rows + found.rows
    return _Ranked(rows if is_of_one else sort_by_rank(rows, order=order)[slice(*part)], total)


def _rank_by_figure(
    site_id: int,
    goal_filter: GoalFilter,
    parameters: Mapping[str, Any],
    *,
    order: GoalOrder,
    after: GoalPosition | None,
    part: tuple[int, int | None],
) -> _Ranked:
    """Return a part of the goals of a site in the order of a figure. One query, whatever the size of the list."""
    listed, values = filter_goals(site_id, goal_filter).values_list("pk").query.sql_with_params()
    given = {f"value_{number}": value for number, value in enumerate(values)}
    names_of_values = iter(given)
    listed = PLACEHOLDER.sub(lambda _: f"%({next(names_of_values)})s", listed)
    ranking = RANKINGS[OF_HOURS.get(order.key, order.key) if order.since else order.key]
    rank = "coalesce(ranking.rank, 0)" if order.key in COUNTS else "ranking.rank"
    direction = "DESC" if order.is_descending else "ASC"
    rows = list(
        _fetch(
            f"""
            WITH listed (id) AS MATERIALIZED ({listed}), ranking (key, rank) AS MATERIALIZED ({ranking}), goal AS (
                SELECT listed.id, {rank} AS rank FROM listed LEFT JOIN ranking ON ranking.key = listed.id
            ), chosen AS (
                SELECT * FROM goal WHERE {_follows(order, after)}
                 ORDER BY rank IS NULL, rank {direction}, id {direction} OFFSET %(begin)s LIMIT %(size)s
            )
            SELECT total.goals, chosen.id, chosen.rank
              FROM (SELECT count(*) AS goals FROM listed) AS total LEFT JOIN chosen ON true
             ORDER BY chosen.rank IS NULL, chosen.rank {direction}, chosen.id {direction}
            """,
            {
                **parameters,
                **given,
                "site": site_id,
                "after_rank": after and after.rank,
                "after_id": after and after.id,
                "begin": part[0],
                "size": None if part[1] is None else part[1] - part[0],
            },
        )
    )
    return _Ranked([(id_, rank) for _, id_, rank in rows if id_ is not None], total=rows[0][0])


def _follows(order: GoalOrder, after: GoalPosition | None) -> str:
    """Return the condition that a goal comes after a position in an order, those without a rank last."""
    sign = "<" if order.is_descending else ">"
    if after is None:
        return "true"
    if after.rank is None:
        return f"rank IS NULL AND id {sign} %(after_id)s"
    return f"rank IS NULL OR (rank, id) {sign} (%(after_rank)s, %(after_id)s)"


def sort_by_rank(rows: Iterable[tuple[int, Rank]], *, order: GoalOrder) -> list[tuple[int, Rank]]:
    """Return ids and ranks of several sites in an order, those without a rank last. Pure."""
    ranked = [row for row in rows if row[1] is not None]
    with_rank: list[Any] = sorted(ranked, key=operator.itemgetter(1, 0), reverse=order.is_descending)
    without_rank = sorted((row for row in rows if row[1] is None), reverse=order.is_descending)
    return [*with_rank, *without_rank]


def _rank_by_column(
    site_ids: Collection[int],
    goal_filter: GoalFilter,
    *,
    order: GoalOrder,
    after: GoalPosition | None,
    part: tuple[int, int | None],
) -> _Ranked:
    direction, lookup = ("-", "lt") if order.is_descending else ("", "gt")
    is_of_one = len(site_ids) == 1
    total, rows = 0, list[tuple[Any, ...]]()
    for site_id in site_ids:
        goals = filter_goals(site_id, goal_filter)
        total += goals.count()
        ordered = goals.annotate(key=_key(order))
        if after is not None:
            rank = _find_key(site_id, order, after)
            ordered = ordered.filter(Q((f"key__{lookup}", rank)) | Q(("key", rank), (f"pk__{lookup}", after.id)))
        ordered = ordered.order_by(f"{direction}key", f"{direction}pk")
        found = ordered.values_list("key", "pk", "name", "display_name")
        rows += found[slice(*part) if is_of_one else slice(part[1])]
    if not is_of_one:  # the sort keys compare in Python as in PostgreSQL, by code points
        rows = sorted(rows, key=operator.itemgetter(0, 1), reverse=order.is_descending)[slice(*part)]
    return _Ranked([(id_, key if order.key != "name" else _rank_of(order, *texts)) for key, id_, *texts in rows], total)


def _key(order: GoalOrder) -> Case | F:
    is_of_shown = order.key == "name" and order.template
    return shown_sort_key(order.template) if is_of_shown else F(COLUMNS[order.key])


def _rank_of(order: GoalOrder, name: str, display_name: str) -> str:
    return show_name(name, display_name, template=order.template).text if order.template else name


def _find_key(site_id: int, order: GoalOrder, after: GoalPosition) -> Any:
    """Return the key of a position: of its goal, otherwise of the name that the address says."""
    if order.key != "name":
        return after.rank
    key = names.sort_key(Value(after.rank, output_field=TextField()))
    if not order.template:
        return key
    goal = Goal.objects.filter(site_id=site_id, pk=after.id).annotate(key=_key(order))
    return Coalesce(Subquery(goal.values("key")), key)


def _fetch(query: str, parameters: Mapping[str, Any]) -> Iterator[Any]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        yield from cursor.fetchall()
