"""Cells of the CSV files that people download: harmless in a spreadsheet, plain for a program."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from api.http.wording import stamp_of
from api.insight.rates import Rate

Cell = str | int

BYTE_ORDER_MARK: Final = "\ufeff"  # without it Excel reads UTF-8 as the computer's old code page
# Spreadsheets run a cell that begins like a formula, also after white space and quotes, and in the full width of
# Japanese keyboards. Excel in most of Europe separates by semicolons, so a cell begins behind each of them too.
FORMULA: Final = re.compile(r"""(^|[;\t\r\n])(?=[\s"']*[=+\-@＝＋－＠])|^(?=[\t\r\n])""")


class Line:
    """File for `csv.writer` that returns each line."""

    def write(self, line: str) -> str:
        return line


def as_text(text: str) -> str:
    """Return a text with an apostrophe wherever a spreadsheet would read a formula."""
    return FORMULA.sub(r"\1'", text)


def as_number(amount: Decimal) -> str:
    """Return an amount without zeros at its end, separators or an exponent: `1234.5`."""
    return f"{amount.normalize():f}"


def write_at(at: datetime | None) -> str:
    """Return a time in ISO 8601 and UTC, empty without one."""
    return stamp_of(at) if at else ""


def write_json(value: Any) -> str:
    """Return a value of JSON: a text as it is but harmless, null as an empty cell, all others as JSON."""
    if value is None:
        return ""
    if isinstance(value, int | float):  # a number or a boolean, which begins no formula
        return json.dumps(value)
    return as_text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def write_money(revenue: Mapping[str, Decimal], currencies: Sequence[str]) -> list[str]:
    """Return a cell for each currency, empty without revenue in it."""
    return [as_number(revenue[currency]) if currency in revenue else "" for currency in currencies]


def write_rate(rate: Rate | None) -> list[str | int]:
    """Return both sides of a rate and the rate from 0 to 1, or in its place that a side is not counted."""
    if rate is None:
        return ["", "", "not counted"]
    return [rate.converting, rate.base, "" if rate.value is None else f"{rate.value:.6f}"]
