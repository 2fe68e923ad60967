"""Search and order of names on all pages: names folded for search, and sort keys for lists.

Matching of events is exact and uses none of this (promise K-20). Both are SQL functions (goals/migrations/0009). An
ICU collation would not do: the embedded PostgreSQL has no ICU, and the order must be the same on every machine.
"""

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Final, TypeVar

from django.db.models import F, Func, GeneratedField, Model, Q, QuerySet, TextField, Value
from django.db.models.functions import StrIndex

Row = TypeVar("Row", bound=Model)

MAX_WORDS: Final = 20  # of a search: each is searched in each name
MAX_NEAREST: Final = 5
FOLD: Final = "goalpost_fold"
SORT_KEY: Final = "goalpost_sort_key"


def fold(text: str | Value) -> Func:
    """Return the SQL that folds a field or value: without case and accents, all dashes, quotes and forms alike."""
    return Func(text, function=FOLD, output_field=TextField())


def sort_key(text: str | Value) -> Func:
    """Return the SQL of the sort key of a field or value, which orders `a9` before `a10`."""
    return Func(text, function=SORT_KEY, output_field=TextField(db_collation="C"))


def search_column(field: str) -> GeneratedField:
    """Return a stored column of folded names, because folding 20,000 names for one search takes 0.13 s."""
    return GeneratedField(expression=fold(field), output_field=TextField(), db_persist=True)


def sort_column(field: str) -> GeneratedField:
    """Return a stored column of sort keys, because making 20,000 keys takes 0.3 s."""
    return GeneratedField(expression=sort_key(field), output_field=TextField(db_collation="C"), db_persist=True)


def search(rows: QuerySet[Row], text: str, *fields: str) -> QuerySet[Row]:
    """Return the rows that contain every word of a text in one of these fields. A blank text returns all rows."""
    return _search(rows, text, {field: fold(field) for field in fields})


def search_folded(rows: QuerySet[Row], text: str, *columns: str) -> QuerySet[Row]:
    """Return the rows that contain every word of a text in one of these folded columns."""
    return _search(rows, text, {column: F(column) for column in columns})


def nearest(text: str, known: Iterable[str]) -> list[str]:
    """Return up to five known names that are most like a text, the nearest first. Pure."""
    by_key = {_simplify(name): name for name in known}
    key = _simplify(text)
    containing = sorted((name for name in by_key if key and key in name), key=len)
    near = [*containing, *difflib.get_close_matches(key, by_key, n=MAX_NEAREST)]
    return [by_key[name] for name in dict.fromkeys(near)][:MAX_NEAREST]


def _simplify(name: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", name).casefold() if char.isalnum())


def in_order(rows: QuerySet[Row], field: str, *, after: str = "") -> QuerySet[Row]:
    """Return rows with a `sort_key` in the order of this field, from after a name on."""
    key = sort_key(Value(after, output_field=TextField()))
    # The first condition uses the index of the keys.
    rows = rows.filter(sort_key__gte=key).filter(Q(sort_key__gt=key) | Q(**{f"{field}__gt": after}))
    return rows.order_by("sort_key", field)


def _search(rows: QuerySet[Row], text: str, columns: dict[str, F | Func]) -> QuerySet[Row]:
    for number, word in enumerate(text.split()[:MAX_WORDS]):
        folded = fold(Value(word, output_field=TextField()))
        matches = Q()
        for place, column in enumerate(columns.values()):
            # A position, not LIKE: a name may hold per cent signs.
            at = f"_word_{number}_{place}"
            rows = rows.alias(**{at: StrIndex(column, folded)})
            matches |= Q(**{f"{at}__gt": 0})
        rows = rows.filter(matches)
    return rows
