"""Counts in words, so that no page says "1 events"."""


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return `1 event`, `2 events`, `1,234 identities`: the number and its noun."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
