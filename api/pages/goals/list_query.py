"""What the address of a list of goals asks for: a filter, an order, a place; and the addresses of other orders."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple

from django.http import QueryDict

from goals.list_order import COUNTS, GoalOrder, GoalPosition, Rank
from goals.models import Goal
from goals.queries import GoalFilter

ID_DIGITS: Final = 18
MOST_PLACES: Final = 30  # of a sum of money
MOST_CURRENCIES: Final = 8  # whose revenue lists can be ordered by
Choices = Sequence[tuple[str, str]]
STATUSES: Final = (("active", "Active"), ("archived", "Archived"), ("all", "All"))
MAKERS: Final = (("", "Any way"), ("events", "Made by events"), ("hand", "Made by hand"))
TYPES: Final = (("", "Any type"), *Goal.Type.choices)
SEEN: Final = (
    ("", "At any time"),
    ("1", "In the last 24 hours"),
    ("7", "In the last 7 days"),
    ("30", "In the last 30 days"),
    ("not-30", "Not in the last 30 days"),
    ("never", "Never"),
)
FEWEST: Final = ("fewest first", "most first")
OLDEST: Final = ("oldest first", "newest first")


class Sort(NamedTuple):
    """What an order is called, in words and over its column, and its two directions."""

    name: str
    head: str
    rising: str
    falling: str


SORTS: Final = {
    "name": Sort("Name", "Name", "A to Z", "Z to A"),
    "conversions24h": Sort("Conversions in 24 h", "24 h", *FEWEST),
    "conversions30d": Sort("Conversions in 30 days", "30 days", *FEWEST),
    "conversions": Sort("Conversions", "All", *FEWEST),
    "visitors": Sort("Converting visitors", "Converting visitors", *FEWEST),
    "revenue": Sort("Revenue", "Revenue", "least first", "most first"),
    "lastConversion": Sort("Last conversion", "Last conversion", *OLDEST),
    "created": Sort("Made", "Made", *OLDEST),
}
CURRENCY: Final = re.compile("[A-Z]{3}")
MAY_LACK: Final = frozenset({"revenue", "lastConversion"})
RISES_FIRST: Final = frozenset({"name"})  # the others begin with the largest, or the newest


@dataclass(frozen=True, slots=True)
class Wish:
    """What the address of a list asks for."""

    filter: GoalFilter
    status: str
    made: str
    seen: str
    order: GoalOrder
    after: GoalPosition | None

    @property
    def is_narrowed(self) -> bool:
        """Whether anything but the archived goals is left out."""
        return bool(self.filter.tags or self.filter.search or self.made or self.seen or self.filter.type)


@dataclass(frozen=True, slots=True)
class Head:
    """A way to order the list: the head of a column, or one currency in that of the revenue."""

    label: str
    address: str  # the list in this order; the other way round where it is in this order already
    direction: str  # ascending, descending, or none


def read_wish(asked: QueryDict, *, now: datetime) -> Wish:
    """What an address asks for; what it says wrongly counts as not said."""
    status = _one_of(STATUSES, asked.get("status"))
    made = _one_of(MAKERS, asked.get("made"))
    seen = _one_of(SEEN, asked.get("seen"))
    days = seen.removeprefix("not-")
    since = now - timedelta(days=int(days)) if days.isdigit() else None
    order = read_order(asked.get("sort", ""))
    wanted = GoalFilter(
        tags=[name for name in dict.fromkeys(asked.getlist("tag")) if name],
        needs_every_tag=asked.get("match") == "all",
        is_archived={"active": False, "archived": True}.get(status),
        is_made_by_event={"events": True, "hand": False}.get(made),
        search=asked.get("q", ""),
        type=_one_of(TYPES, asked.get("type")),
        seen_since=since if seen == days else None,
        unseen_since=since if seen != days else None,
        is_never_seen=seen == "never",
    )
    return Wish(wanted, status, made, seen, order, read_place(asked, order))


def read_order(text: str) -> GoalOrder:
    """The order that `-revenue.EUR` and its like say; by name for anything else."""
    key, _, currency = text.removeprefix("-").partition(".")
    if key not in SORTS:
        return GoalOrder()
    return GoalOrder(key, text.startswith("-"), currency if CURRENCY.fullmatch(currency) and key == "revenue" else "")


def write_order(order: GoalOrder) -> str:
    """As an address says it."""
    return f"{'-' if order.is_descending else ''}{order.key}{'.' if order.currency else ''}{order.currency}"


def read_place(asked: QueryDict, order: GoalOrder) -> GoalPosition | None:
    """Where the page before ended: `after=<rank>&id=<goal>`, without a rank where that goal had none."""
    number, text = asked.get("id", ""), asked.get("after")
    if not (number.isascii() and number.isdigit() and len(number) <= ID_DIGITS):
        return None
    if text is None:
        return GoalPosition(None, int(number)) if order.key in MAY_LACK else None
    read: Callable[[str], Rank] = str
    if order.key in COUNTS:
        read = _count
    elif order.key == "revenue":
        read = _amount
    elif order.key != "name":
        read = _time
    try:
        return GoalPosition(read(text), int(number))
    except (ValueError, InvalidOperation):
        return None


def with_place(asked: QueryDict, place: GoalPosition) -> str:
    """The same list from a place on."""
    query = without_place(asked)
    if place.rank is not None:
        query["after"] = place.rank.isoformat() if isinstance(place.rank, datetime) else str(place.rank)
    query["id"] = str(place.id)
    return query.urlencode()


def without_place(asked: QueryDict) -> QueryDict:
    """The same list from its beginning."""
    query = asked.copy()
    for name in ("after", "id"):
        query.pop(name, None)
    return query


def sorts_of(order: GoalOrder, currencies: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Every order, as (what the address says, what people read, whether it is this one)."""
    return [
        (write_order(each), f"{SORTS[key].name}{f' in {currency}' if currency else ''}, {way}", each == order)
        for key, currency in _columns(currencies)
        for falls, way in ((False, SORTS[key].rising), (True, SORTS[key].falling))[:: 1 if key in RISES_FIRST else -1]
        for each in [GoalOrder(key, falls, currency)]
    ]


def heads_of(asked: QueryDict, order: GoalOrder, currencies: Sequence[str]) -> dict[str, list[Head]]:
    """By key, the heads of a column: one, or one for each currency."""
    query = without_place(asked)
    heads: dict[str, list[Head]] = {}
    for key, currency in _columns(currencies):
        is_this = (key, currency) == (order.key, order.currency)
        falls = not order.is_descending if is_this else key not in RISES_FIRST
        query["sort"] = write_order(GoalOrder(key, falls, currency))
        direction = ("descending" if order.is_descending else "ascending") if is_this else "none"
        heads.setdefault(key, []).append(Head(currency or SORTS[key].head, query.urlencode(), direction))
    return heads


def _columns(currencies: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (key, currency) for key in SORTS for currency in (currencies[:MOST_CURRENCIES] if key == "revenue" else [""])
    ]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= ID_DIGITS):
        raise ValueError(text)
    return int(text)


def _amount(text: str) -> Decimal:
    amount = Decimal(text)
    if not amount.is_finite() or abs(amount.adjusted()) > MOST_PLACES:
        raise ValueError(text)
    return amount


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(text)
    return at


def _one_of(choices: Choices, asked: str | None) -> str:
    return asked if asked in dict(choices) else choices[0][0]
