"""What a law is: a function that finds where the tables contradict it, and counts what it looked at."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from api.digest.readings import FIRST

AGAIN: Final = (
    "To digest them again: UPDATE api_message SET status = 'pending', reason = '', waiting_for = '', attempts = 0, "
    f"digested_at = NULL, reading = coalesce(reading, {FIRST}) WHERE id IN (...). Nothing counts twice by it."
)
Figures = Counter[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that contradicts a law."""

    meaning: str  # what it means and what to do about it, the same for all of its kind
    row: str  # which row: numbers and keys, nobody's values


@dataclass(frozen=True, slots=True)
class Check:
    """`run` looks at one site, or at all for None, and counts into the figures that `line` tells."""

    name: str
    line: str
    run: Callable[[int | None, Figures], Iterator[Difference]]


def stream(sql: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement, a few at a time, however many there are."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, parameters)
        yield from cursor


def fetch_row(sql: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
    """The only row of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def of_site(column: str) -> str:
    """The condition that a row belongs to the site asked for, if any."""
    return f"(%(site)s::bigint IS NULL OR {column} = %(site)s)"
