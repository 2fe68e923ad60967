"""Base of the checks: each yields the rows that contradict it, and counts what it read."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection

from api.digest.readings import FIRST

DERIVE_AGAIN: Final = (
    "To process them again: UPDATE api_message SET status = 'pending', reason = '', waiting_for = '', attempts = 0, "
    f"digested_at = NULL, reading = coalesce(reading, {FIRST}) WHERE id IN (...). Nothing counts twice."
)
Counts = Counter[str]  # by name, as the line of a check shows them


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that contradicts a check."""

    meaning: str  # with the advice; the same for all rows of its kind
    row: str  # names the row by numbers and keys, never by values of people


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `run` reads one site, or all for None, and adds to the counts that `line` shows."""

    name: str
    line: str
    run: Callable[[int | None, Counts], Iterator[Difference]]


def stream(sql: str, parameters: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a statement, a few at a time."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, parameters)
        yield from cursor


def fetch_row(sql: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
    """Return the only row of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def of_site(column: str) -> str:
    """Return the SQL condition that a row belongs to the site `%(site)s`, or to any site for NULL."""
    return f"(%(site)s::bigint IS NULL OR {column} = %(site)s)"
