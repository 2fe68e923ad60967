"""Names as people look them up and read them, in every room: folded for search, with a key for the order of lists.

Matching of events is exact and uses none of this (promises K-20). Both are SQL functions (goals/migrations/0009) rather
than an ICU collation: the embedded PostgreSQL is built without ICU, and the order must be the same on every machine.
"""

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Final, TypeVar

from django.db.models import F, Func, GeneratedField, Model, Q, QuerySet, TextField, Value
from django.db.models.functions import StrIndex

Row = TypeVar("Row", bound=Model)

MOST_WORDS: Final = 20  # of a search: each is looked for in each name
MOST_NEAR: Final = 5
FOLD: Final = "goalpost_fold"
SORT_KEY: Final = "goalpost_sort_key"


def fold(text: str | Value) -> Func:
    """Return the SQL that folds a field or a value: no case, no accents, dashes, quotes and Unicode forms alike."""
    return Func(text, function=FOLD, output_field=TextField())


def sort_key(text: str | Value) -> Func:
    """Return the SQL of the key of a field or a value, in whose order people read names: `a9` before `a10`."""
    return Func(text, function=SORT_KEY, output_field=TextField(db_collation="C"))


def search_column(field: str) -> GeneratedField:
    """Return a column that PostgreSQL keeps: a name folded. Folding 20,000 names for one search takes 0.13 s."""
    return GeneratedField(expression=fold(field), output_field=TextField(), db_persist=True)


def sort_column(field: str) -> GeneratedField:
    """Return a column that PostgreSQL keeps: the sort key of a name. Making 20,000 keys takes 0.3 s."""
    return GeneratedField(expression=sort_key(field), output_field=TextField(db_collation="C"), db_persist=True)


def search(rows: QuerySet[Row], text: str, *fields: str) -> QuerySet[Row]:
    """Return the rows that have every word of a text in one of these fields, in any order; all for a blank text."""
    return _search(rows, text, {field: fold(field) for field in fields})


def search_folded(rows: QuerySet[Row], text: str, column: str) -> QuerySet[Row]:
    """Return the same for a column that is folded already."""
    return _search(rows, text, {column: F(column)})


def nearest(wanted: str, known: Iterable[str]) -> list[str]:
    """Return up to five known names that a person may have meant, the nearest first. Pure."""
    by_key = {_loosely(name): name for name in known}
    key = _loosely(wanted)
    holding = sorted((each for each in by_key if key and key in each), key=len)
    near = [*holding, *difflib.get_close_matches(key, by_key, n=MOST_NEAR)]
    return [by_key[each] for each in dict.fromkeys(near)][:MOST_NEAR]


def _loosely(name: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFKD", name).casefold() if each.isalnum())


def in_order(rows: QuerySet[Row], field: str, *, after: str = "") -> QuerySet[Row]:
    """Return rows with a `sort_key` in the order in which people read this field, from behind a name on."""
    key = sort_key(Value(after, output_field=TextField()))
    # The first condition is what an index of the keys answers.
    rows = rows.filter(sort_key__gte=key).filter(Q(sort_key__gt=key) | Q(**{f"{field}__gt": after}))
    return rows.order_by("sort_key", field)


def _search(rows: QuerySet[Row], text: str, columns: dict[str, F | Func]) -> QuerySet[Row]:
    for number, word in enumerate(text.split()[:MOST_WORDS]):
        wanted = fold(Value(word, output_field=TextField()))
        found = Q()
        for place, column in enumerate(columns.values()):
            # A position, not LIKE: a name may hold per cent signs.
            at = f"_word_{number}_{place}"
            rows = rows.alias(**{at: StrIndex(column, wanted)})
            found |= Q(**{f"{at}__gt": 0})
        rows = rows.filter(found)
    return rows
