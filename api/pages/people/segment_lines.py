r"""Texts as a person types them, one per line. Pure.

A text that is no single line is written as a JSON string with an escape: `"two\nlines"`. A line counts as such a
string only if it has an escape, so that other texts in quotes stay as they are typed.
"""

import json
from collections.abc import Iterable
from typing import Final

import msgspec

BREAKS: Final = "\r\n"


def write_lines(texts: Iterable[str]) -> str:
    """Return texts one per line, so that `read_lines` returns the same."""
    return "\n".join(map(_write, texts))


def read_lines(text: str) -> list[str]:
    """Return the texts of lines without empty ones."""
    lines = [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]
    return [line if (said := _read_escaped(line)) is None else said for line in lines]


def _write(text: str) -> str:
    if text.strip() and not any(each in text for each in BREAKS) and _read_escaped(text) is None:
        return text
    return json.dumps(text).replace(" ", "\\u0020")


def _read_escaped(line: str) -> str | None:
    if not (line.startswith('"') and line.endswith('"') and "\\" in line):
        return None
    try:
        return msgspec.json.decode(line, type=str)
    except msgspec.DecodeError:
        return None
