"""Counts in words, so that no page says "1 events", and long texts in short."""


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return `1 event`, `2 events`, `1,234 identities`: the number and its noun."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def shorten(text: str, length: int) -> str:
    """Return a text with an ellipsis in place of what is beyond a length."""
    return text if len(text) <= length else f"{text[:length]}…"
