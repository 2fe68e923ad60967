"""The table of limits for operators shows the values of the constants that it names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from api.http.bodies import BodyMemory
from api.http.concurrency import ConcurrencyLimit
from api.http.django_requests import Room

MANUAL = Path(__file__).parents[1] / "docker" / "README.md"
HEAD = "| of | at most | beyond it | in the code |"
UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def rows() -> list[tuple[str, str]]:
    """Return the cells `at most` and `in the code` of each row."""
    table = MANUAL.read_text().partition(HEAD)[2].partition("\n\n")[0]
    rows_of_cells = [line.strip("|").split("|") for line in table.strip().split("\n")[1:]]
    return [(cells[1].strip(), cells[3].strip().strip("`")) for cells in rows_of_cells]


def numbers(value: Any) -> Iterator[float]:
    """Yield the numbers of a constant: itself, the fields of a dataclass, the values of a mapping or of a limit."""
    if isinstance(value, Room):
        value = value.limit
    if isinstance(value, ConcurrencyLimit):
        value = {"running": value.running, "waiting": value._room - value.running, "patience": value.patience}
    if isinstance(value, BodyMemory):
        value = value._left
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    for number in value.values() if isinstance(value, Mapping) else [value]:
        if isinstance(number, int | float):
            yield number


def spellings(number: float) -> set[str]:
    """Return the spellings of a number that the table may use."""
    plain = {f"{number:,}", f"{number:g}"}
    return plain | {f"{number / size:g} {unit}" for unit, size in UNITS if not number % size}


def test_rows__of_the_table__are_found() -> None:
    assert len(rows()) > 25


@pytest.mark.parametrize(("at_most", "constant"), rows())
def test_constant__in_the_table__has_the_value_that_it_says(at_most: str, constant: str) -> None:
    module, _, name = constant.rpartition(".")
    for number in numbers(getattr(import_module(module), name)):
        is_written = any(re.search(rf"(?<![\d,.]){re.escape(text)}(?!\d|,\d)", at_most) for text in spellings(number))
        assert is_written or not number, f"{constant} holds {number}, the table says {at_most!r}"
