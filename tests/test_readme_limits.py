"""The table of limits in the README against the constants that it names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"
HEAD = "| of | at most | beyond it | in the code |"
UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def rows() -> list[tuple[str, str]]:
    """Return the cells `at most` and `in the code` of each row."""
    table = README.read_text().partition(HEAD)[2].partition("\n\n")[0]
    cells = [line.strip("|").split("|") for line in table.strip().split("\n")[1:]]
    return [(each[1].strip(), each[3].strip().strip("`")) for each in cells]


def numbers(value: Any) -> Iterator[float]:
    """Return the numbers of a constant: itself, the fields of a dataclass or the values of a mapping."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    for number in value.values() if isinstance(value, Mapping) else [value]:
        if isinstance(number, int | float):
            yield number


def spellings(number: float) -> set[str]:
    """Return how the README may write a number."""
    plain = {f"{number:,}", f"{number:g}"}
    return plain | {f"{number / size:g} {unit}" for unit, size in UNITS if not number % size}


def test_rows__of_the_table__are_found() -> None:
    assert len(rows()) > 25


@pytest.mark.parametrize(("at_most", "constant"), rows())
def test_constant__in_the_table__has_the_value_that_it_says(at_most: str, constant: str) -> None:
    module, _, name = constant.rpartition(".")
    for number in numbers(getattr(import_module(module), name)):
        said = any(re.search(rf"(?<![\d,.]){re.escape(each)}(?!\d|,\d)", at_most) for each in spellings(number))
        assert said or not number, f"{constant} holds {number}, the README says {at_most!r}"
