"""Visits: moments of a visitor with less than VISIT_GAP between one and the next. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

VISIT_GAP: Final = timedelta(minutes=30)


class Stretch(NamedTuple):
    """A time of activity, from its first moment to its last one."""

    started_at: datetime
    last_at: datetime


def list_visit_starts(times: Iterable[datetime]) -> list[datetime]:
    """Return the first time of every visit that conversions at these times make up. Their order does not matter."""
    ordered = sorted(times)
    return ordered[:1] + [at for before, at in pairwise(ordered) if at - before >= VISIT_GAP]


def join_stretches(stretches: Iterable[Stretch]) -> list[Stretch]:
    """Return the visits that these times of activity make up, the oldest first. Their order does not matter."""
    visits: list[Stretch] = []
    for stretch in sorted(stretches):
        if visits and stretch.started_at - visits[-1].last_at < VISIT_GAP:
            visits[-1] = Stretch(visits[-1].started_at, max(visits[-1].last_at, stretch.last_at))
        else:
            visits.append(stretch)
    return visits
