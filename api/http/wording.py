"""Counts and durations in words, so that no page says "1 events", and long texts in short."""

import math


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return `1 event`, `2 events`, `1,234 identities`: the number and its noun."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def shorten(text: str, length: int) -> str:
    """Return a text, cut with an ellipsis if it is longer than a length."""
    return text if len(text) <= length else f"{text[:length]}…"


def duration_of(seconds: float) -> str:
    """Return a duration in its largest unit: `162 ms`, `1.9 s`, `6 min`, `8.7 days`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    limits = (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 172_800), ("days", 86_400, math.inf))
    unit, number = next((unit, seconds / size) for unit, size, limit in limits if seconds < limit)
    return f"{number:,.0f} {unit}" if number >= 10 else f"{number:.1f}".removesuffix(".0") + f" {unit}"  # noqa: PLR2004
