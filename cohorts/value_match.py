"""Comparison of a trait or property of any type with a text that a person typed (promise K-79)."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any, Final

NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def matches(actual: Any, text: str) -> bool:
    """Return True if a JSON value equals the text. Never raises.

    | the value is | it matches                                            | for example                              |
    |--------------|-------------------------------------------------------|------------------------------------------|
    | a string     | the same string, space, case and all                  | "3" matches 3, but neither 3.0 nor 03    |
    | a number     | a number of the same value, however it is written     | 3 and 3.0 match 3, 3.0 and 3e0; 0.1, 0.10 |
    | a boolean    | `true` or `false`, in lower case                      | true matches neither 1, True nor yes     |
    | null         | nothing                                               | not even `null` or an empty text         |
    | a list       | what any of its elements matches; lists in it nothing | ["a", 3] matches a and 3.0               |
    | an object    | nothing: name one of its fields instead               |                                          |
    """
    if isinstance(actual, list):
        return any(not isinstance(element, list) and matches(element, text) for element in actual)
    if isinstance(actual, str):
        return actual == text
    if isinstance(actual, bool):
        return text == ("true" if actual else "false")
    if isinstance(actual, int | float | Decimal) and NUMBER.fullmatch(text):
        try:
            # By the shortest text of a float, which is what the sender wrote (0.1 is 0.1).
            return Decimal(repr(actual) if isinstance(actual, float) else actual) == Decimal(text)
        except InvalidOperation:  # an exponent that no number can have
            return False
    return False
