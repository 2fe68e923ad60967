"""Problems of a configuration file of Kameleoon's SDKs, and readers of its values that note them. Pure."""

import json
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final

import msgspec

LARGEST_ID: Final = 2**53 - 1  # the largest whole number that JavaScript keeps
MOST_TEXT: Final = 255  # characters of a key or name


class Problem(msgspec.Struct, frozen=True):
    """A value that SDKs refuse or read differently: its place as a JSON path, and a sentence."""

    place: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}"


class ProblemList(list[Problem]):
    """The problems found so far. Each reader returns the value as every SDK reads it, or notes a problem."""

    def note(self, place: str, sentence: str) -> None:
        self.append(Problem(place, sentence))

    def read_id(self, value: Any, place: str) -> int:
        """Return a number from 1, which may come as text. Return 0 after a problem."""
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value) if len(value) <= len(str(LARGEST_ID)) else 0
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_ID:
            return value
        self.note(place, f"A whole number from 1 is needed, found {_shown(value)}.")
        return 0

    def read_text(self, value: Any, place: str, *, most: int = MOST_TEXT) -> str:
        """Return a text that is not empty. Return an empty one after a problem."""
        if not isinstance(value, str) or not value or "\0" in value:
            self.note(place, f"A text is needed, found {_shown(value)}.")
            return ""
        if len(value) > most:
            self.note(place, f"The text may have {most} characters.")
            return ""
        return value

    def read_scalar(self, value: Any, place: str) -> str:
        """Return a text; a number or a boolean becomes one. Return an empty one after a problem."""
        if isinstance(value, bool | int | float):
            return json.dumps(value)
        return self.read_text(value, place, most=10_000)

    def read_share(self, value: Any, place: str) -> float:
        """Return a number from 0 to 1. Return 0 after a problem."""
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
        self.note(place, f"A number from 0 to 1 is needed, found {_shown(value)}.")
        return 0.0

    def read_number(self, value: Any, place: str) -> int | float:
        """Return a number that every SDK can keep. Return 0 after a problem."""
        if isinstance(value, int | float) and not isinstance(value, bool) and is_in_range(value):
            return value
        self.note(place, f"A number is needed, found {_shown(value)}.")
        return 0

    def read_choice(self, value: Any, place: str, choices: Sequence[str]) -> str:
        """Return one of these texts. Return an empty one after a problem."""
        if isinstance(value, str) and value in choices:
            return value
        self.note(place, f"One of {', '.join(choices)} is needed, found {_shown(value)}.")
        return ""

    def read_boolean(self, value: Any, place: str, *, default: bool) -> bool:
        """Return a boolean, `default` for null or nothing."""
        if value is None:
            return default
        if not isinstance(value, bool):
            self.note(place, f"true or false is needed, found {_shown(value)}.")
            return default
        return value

    def read_objects(self, value: Any, place: str) -> list[tuple[dict[str, Any], str]]:
        """Return the objects of a list, each with its place. Null or nothing is an empty list."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.note(place, f"A list is needed, found {_shown(value)}.")
            return []
        objects = []
        for number, item in enumerate(value):
            if isinstance(item, dict):
                objects.append((item, f"{place}[{number}]"))
            else:
                self.note(f"{place}[{number}]", f"An object is needed, found {_shown(item)}.")
        return objects

    def note_repeated(self, seen: set[Any], value: Any, place: str, of: str) -> None:
        """Note a value that another of its kind has already, and remember it."""
        if value and value in seen:
            self.note(place, f"Another {of} has {_shown(value)} already.")
        seen.add(value)


def is_in_range(value: float) -> bool:
    """Return True for a finite number that is no whole number beyond 64 bits, which JSON cannot be written with."""
    return isfinite(value) if isinstance(value, float) else -(2**63) <= value < 2**63


def _shown(value: Any) -> str:
    if value is None:
        return "null or nothing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:39]}…"  # noqa: PLR2004 - characters
