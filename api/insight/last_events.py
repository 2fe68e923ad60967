"""The last event of each name, found by a part of the name, from which a test begins."""

from collections.abc import Iterable
from typing import Final

from django.db import connection

import names
from api.digest.site_config import SiteConfig
from api.events.types import TYPES
from api.insight.messages import MessageFilter, MessageRow, find_messages, messages_by_id
from api.models.message_rows import find_by_keys
from goals.models import SEARCH_KEYS, Goal

NEWEST: Final = 200  # events that are looked at whatever their name
MOST_GOALS: Final = 20  # goals with a matching name: their last conversions are looked up, too
MOST_FOUND: Final = 12


def find_last_events(config: SiteConfig, text: str) -> list[MessageRow]:
    """Return the newest event of each type and name that contains a text; a blank text finds the newest names.

    These are events of the tracking API. The newest 200 events are searched, and the last conversions of goals with
    such a name. Six queries at most.
    """
    rows = [row for row in find_messages(config, MessageFilter(), limit=NEWEST).rows if row.type in TYPES]
    words = text.casefold().split()
    found = [row for row in rows if all(word in f"{row.type} {row.seen.name}".casefold() for word in words)]
    if words:
        known = {row.id for row in rows}
        ids = [id_ for id_ in _find_converting(config.site_id, text) if id_ not in known]
        found += messages_by_id(config, ids)
    newest: dict[tuple[str, str], MessageRow] = {}
    for row in sorted(found, key=lambda row: row.id, reverse=True):
        newest.setdefault((row.type, row.seen.name), row)
    return list(newest.values())[:MOST_FOUND]


def _find_converting(site_id: int, text: str) -> Iterable[int]:
    """Return the events of the last conversions of goals with a text in their name, if they are kept. Three queries."""
    live = Goal.objects.filter(site_id=site_id, deleted_at=None)
    goals = names.search_folded(live, text, *SEARCH_KEYS).order_by("sort_key", "pk")
    ids = list(goals.values_list("pk", flat=True)[:MOST_GOALS])
    if not ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.message_key FROM unnest(%(goals)b::bigint[]) AS g (id)
             CROSS JOIN LATERAL (
                SELECT message_key FROM goals_conversion
                 WHERE site_id = %(site)s AND goal_id = g.id ORDER BY occurred_at DESC, id DESC LIMIT 1
             ) AS c
            """,
            {"site": site_id, "goals": ids},
        )
        keys = [key for (key,) in cursor.fetchall()]
    pairs = [(type_, message_id) for type_, separator, message_id in (key.partition(":") for key in keys) if separator]
    plain = [int(key[1:]) for key in keys if key.startswith("#") and key[1:].isdecimal()]
    return [*plain, *find_by_keys(site_id, pairs).values()]
