"""The query string of the goal list: its filter, its order, its columns and the place of a page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from types import MappingProxyType
from typing import Final, NamedTuple

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from api.pages.query_form import IdField, PlaceTimeField, QueryForm, read_id
from api.templatetags.figures import UNKNOWN
from goals.list_order import COUNTS, GoalOrder, GoalPosition
from goals.models import Goal
from goals.queries import GoalFilter

MOST_CURRENCIES: Final = 8  # by which the list can be ordered
MOST_PICKED: Final = 50  # a page
STATUSES: Final = (("active", "Active"), ("archived", "Archived"), ("all", "All"))
MAKERS: Final = (("", "Anybody"), ("events", "Automatically"), ("hand", "Manually"))
TYPES: Final = (("", "Any"), *Goal.Type.choices)
SEEN: Final = (
    ("", "Any time"),
    ("1", "In the last 24 hours"),
    ("7", "In the last 7 days"),
    ("30", "In the last 30 days"),
    ("not-30", "Not in the last 30 days"),
    ("never", "Never"),
)
FEWEST: Final = ("fewest first", "most first")
OLDEST: Final = ("oldest first", "newest first")


class Sort(NamedTuple):
    """An order by its name, the head of its column and its two directions."""

    name: str
    head: str
    rising: str
    falling: str


SORTS: Final = {
    "name": Sort("Name", "Name", "A to Z", "Z to A"),
    "period": Sort("Conversions", "Conversions", *FEWEST),
    "periodRevenue": Sort("Revenue", "Revenue", "least first", "most first"),
    "conversions": Sort("Conversions, all time", "All time", *FEWEST),
    "visitors": Sort("Visitors, all time", "Visitors, all time", *FEWEST),
    "revenue": Sort("Revenue, all time", "Revenue, all time", "least first", "most first"),
    "lastConversion": Sort("Last conversion", "Last conversion", *OLDEST),
    "created": Sort("Created", "Created", *OLDEST),
}
CURRENCY: Final = re.compile("[A-Z]{3}")
MONEY: Final = frozenset({"revenue", "periodRevenue"})
MAY_LACK: Final = MONEY | {"lastConversion"}
DEFAULT_ORDER: Final = GoalOrder("period", is_descending=True)
# Columns to choose, in their order on the page.
COLUMNS: Final = {
    "change": "Change",
    "visitors": "Visitors",
    "rate": "Rate",
    "revenue": "Revenue",
    "last": "Last conversion",
    "trend": "30 days",
    "ever": "All time",
    "everVisitors": "Visitors, all time",
    "everRevenue": "Revenue, all time",
    "made": "Created by",
    "created": "Created",
}
DEFAULT_COLUMNS: Final = ("change", "visitors", "rate", "revenue", "last")
OF_SUMMARY: Final = frozenset({"trend", "ever", "everVisitors", "everRevenue"})
# Parameters that mean nothing on another page of the list: its place, and the goals picked.
PLACES: Final = ("after", "id", "pick", "action")
RISES_FIRST: Final = frozenset({"name"})  # the others begin with the largest, or the newest
# The rank of a page's last goal, by the key of the order; a time for the other keys.
RANKS: Final = MappingProxyType(
    {
        "name": forms.CharField(strip=False, required=False),
        **dict.fromkeys(MONEY, forms.DecimalField(max_digits=60, decimal_places=30)),
        **dict.fromkeys(COUNTS, IdField()),
    }
)


class GoalListQuery(QueryForm):
    """The query string of the goal list; `after` and `id` say where the page before ended."""

    q = forms.CharField(strip=False)
    tag = forms.Field(widget=forms.MultipleHiddenInput)
    match = forms.ChoiceField(choices=[("all", "Match all")])
    status = forms.ChoiceField(choices=STATUSES, initial="active")
    made = forms.ChoiceField(choices=MAKERS)
    type = forms.ChoiceField(choices=TYPES)
    seen = forms.ChoiceField(choices=SEEN)
    sort = forms.CharField()
    col = forms.Field(widget=forms.MultipleHiddenInput)
    pick = forms.Field(widget=forms.MultipleHiddenInput)
    after = forms.CharField(strip=False)
    id = IdField()

    def __init__(self, query: QueryDict, *, template: str, now: datetime) -> None:
        super().__init__(query)
        self.template = template  # of the site
        self.now = now

    @cached_property
    def filter(self) -> GoalFilter:
        asked = self.values
        seen = asked["seen"]
        days = seen.removeprefix("not-")
        since = self.now - timedelta(days=int(days)) if days.isdigit() else None
        return GoalFilter(
            tags=[name for name in dict.fromkeys(asked["tag"] or ()) if name],
            needs_every_tag=asked["match"] == "all",
            is_archived={"active": False, "archived": True}.get(asked["status"]),
            is_made_by_event={"events": True, "hand": False}.get(asked["made"]),
            search=asked["q"],
            type=asked["type"],
            seen_since=since if seen == days else None,
            unseen_since=since if seen != days else None,
            is_never_seen=seen == "never",
        )

    @cached_property
    def order(self) -> GoalOrder:
        return replace(read_order(self.values["sort"]), template=self.template)

    @cached_property
    def columns(self) -> frozenset[str]:
        """The chosen columns, otherwise those of everybody."""
        return frozenset(self.values["col"] or ()) & COLUMNS.keys() or frozenset(DEFAULT_COLUMNS)

    @cached_property
    def column_choices(self) -> list[tuple[str, str, bool]]:
        """Every column that can be chosen as (value, words, True if it is)."""
        return [(name, label, name in self.columns) for name, label in COLUMNS.items()]

    @cached_property
    def picked(self) -> frozenset[int]:
        """The goals that were picked before a mistake."""
        return frozenset(id_ for text in (self.values["pick"] or ())[:MOST_PICKED] if (id_ := read_id(text)))

    @cached_property
    def place(self) -> GoalPosition | None:
        """The end of the page before; a goal may have no rank there."""
        id_, key = self.values["id"], self.order.key
        if id_ is None:
            return None
        if "after" not in self.data:
            return GoalPosition(None, id_) if key in MAY_LACK else None
        try:
            return GoalPosition(RANKS.get(key, PlaceTimeField()).clean(self.values["after"]), id_)
        except ValidationError:
            return None

    @property
    def is_narrowed(self) -> bool:
        """True if anything but archived goals is left out."""
        return any(self.values[name] for name in ("tag", "q", "made", "seen", "type"))

    @property
    def is_set(self) -> bool:
        """True if the list differs from that of all active goals."""
        return self.is_narrowed or self.values["status"] != "active"


@dataclass(frozen=True, slots=True)
class SortLink:
    """A link that orders the list: the head of a column, or one currency in the head of the revenue."""

    label: str
    query: str  # reverses the order if the list has it already
    direction: str  # ascending, descending, or none


def read_order(text: str) -> GoalOrder:
    """Return the order that `-revenue.EUR` and its like say; by conversions, most first, for anything else."""
    key, _, currency = text.removeprefix("-").partition(".")
    if key not in SORTS:
        return DEFAULT_ORDER
    return GoalOrder(key, text.startswith("-"), currency if CURRENCY.fullmatch(currency) and key in MONEY else "")


def write_order(order: GoalOrder) -> str:
    """Return an order as the query string says it."""
    return f"{'-' if order.is_descending else ''}{order.key}{'.' if order.currency else ''}{order.currency}"


def with_place(query: QueryDict, place: GoalPosition) -> str:
    """Return the query string of the same list from a place on."""
    query = without_place(query)
    if place.rank is not None:
        query["after"] = place.rank.isoformat() if isinstance(place.rank, datetime) else str(place.rank)
    query["id"] = str(place.id)
    return query.urlencode()


def without_place(query: QueryDict) -> QueryDict:
    """Return the query string of the same list from its beginning."""
    query = query.copy()
    for name in PLACES:
        query.pop(name, None)
    return query


def list_sorts(order: GoalOrder, currencies: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Return every order as (value in the query string, words, True for this one)."""
    return [
        (
            write_order(option),
            f"{SORTS[key].name}{f' in {_name_currency(currency)}' if currency else ''}, {words}",
            write_order(option) == write_order(order),
        )
        for key, currency in _columns(currencies)
        for falls, words in ((False, SORTS[key].rising), (True, SORTS[key].falling))[:: 1 if key in RISES_FIRST else -1]
        for option in [GoalOrder(key, falls, currency)]
    ]


def link_sorts(query: QueryDict, order: GoalOrder, currencies: Sequence[str]) -> dict[str, list[SortLink]]:
    """Return the links in the head of each column by key: one, or one for each currency."""
    query = without_place(query)
    links: dict[str, list[SortLink]] = {}
    for key, currency in _columns(currencies):
        is_this = (key, currency) == (order.key, order.currency)
        falls = not order.is_descending if is_this else key not in RISES_FIRST
        query["sort"] = write_order(GoalOrder(key, falls, currency))
        direction = ("descending" if order.is_descending else "ascending") if is_this else "none"
        label = _name_currency(currency) or SORTS[key].head
        links.setdefault(key, []).append(SortLink(label, query.urlencode(), direction))
    return links


def _columns(currencies: Sequence[str]) -> list[tuple[str, str]]:
    return [(key, currency) for key in SORTS for currency in (currencies[:MOST_CURRENCIES] if key in MONEY else [""])]


def _name_currency(currency: str) -> str:
    return UNKNOWN.capitalize() if currency == "XXX" else currency
