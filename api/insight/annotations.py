"""Annotations of charts: changes that may explain a turn of a curve, from the audit log."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from api.models import AuditEntry, Site

MOST_READ: Final = 2_000  # the newest entries of the log
MOST: Final = 50
RULE: Final = re.compile(r"(Added|Created|Changed|Switched|Moved|Deleted|Replaced) (?:a|the) rules?\b.*", re.DOTALL)
MERGE: Final = re.compile(r"(?:Merged|Undid the merge of) the goal (\d+) into the goal (\d+)")
CHANGE: Final = re.compile(r"Changed the goal (\d+)")


def find_annotations(site: Site, goal_ids: set[int], *, begin: datetime, end: datetime) -> list[tuple[datetime, str]]:
    """Return the merges and renames of some goals, and changes of rules, from one time until before another.

    The oldest first, the newest MOST at most. One query of the newest MOST_READ entries of the log.
    """
    entries = AuditEntry.objects.filter(site=site).order_by("-id")[:MOST_READ]
    rows = entries.values_list("at", "what", "before", "after")
    found = [
        (at, text)
        for at, what, before, after in rows
        if begin <= at < end
        for text in _explain(what, before or {}, after or {}, goal_ids)
    ]
    return found[:MOST][::-1]


def _explain(what: str, before: dict[str, object], after: dict[str, object], goal_ids: set[int]) -> Iterator[str]:
    """Yield the text of an entry that concerns these goals. Pure."""
    if RULE.fullmatch(what):
        yield what
    elif match := MERGE.fullmatch(what):
        if goal_ids & {int(match[1]), int(match[2])}:
            yield what
    elif (match := CHANGE.fullmatch(what)) and int(match[1]) in goal_ids and "name" in after:
        yield f"Renamed “{before.get('name', '')}” to “{after['name']}”"
