"""Visits: conversions of a visitor on a goal with less than VISIT_GAP between one and the next. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

VISIT_GAP: Final = timedelta(minutes=30)


def list_visit_starts(times: Iterable[datetime]) -> list[datetime]:
    """Return the first time of every visit that conversions at these times make up. Their order does not matter."""
    ordered = sorted(times)
    return ordered[:1] + [at for before, at in pairwise(ordered) if at - before >= VISIT_GAP]
