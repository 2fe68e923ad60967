"""Newest messages of a site that name a person, each with its meaning today."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from django.db import connection

from api.digest.derivation import MESSAGE_COLUMNS, Derivation, StoredMessage
from api.digest.mapping import derive
from api.digest.site_config import SiteConfig
from api.events.reasons import UNSAFE_TO_DERIVE
from api.insight.id_search import names, spellings
from goals.matching import EventName

SEARCHED_MESSAGES: Final = 10_000  # messages
LOOK_BYTES: Final = 16_777_216  # of their bodies, from the newest on: 10,000 of 1.6 kB
MOST_READ: Final = 500  # messages that name the person
FEW: Final = 4  # bodies in memory at a time


@dataclass(frozen=True, slots=True)
class PersonMessage:
    """A message that names the person, with its outcome and its meaning today, without its body."""

    id: int
    key: str
    status: str
    reason: str
    has_converted: bool
    goal_id: int | None
    event: EventName | None  # the event by which it would convert today
    unruled_event: EventName | None  # the same without rules
    idle_reason: str
    detail: str
    fired: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PersonMessages:
    """Messages that name the person, and the number of messages that were searched."""

    searched: int
    messages: list[PersonMessage]


def find_person_messages(config: SiteConfig, ids: set[str]) -> PersonMessages:
    """Return those of the newest messages that name the person, newest first. One query, FEW rows at a time."""
    messages: list[PersonMessage] = []
    newest = searched = 0
    with connection.chunked_cursor() as cursor:
        cursor.execute(
            f"""
            WITH newest AS MATERIALIZED (
                SELECT id, sum(size) OVER (ORDER BY id DESC) AS so_far
                  FROM (SELECT id, size FROM api_message
                         WHERE site_id = %(site)s ORDER BY id DESC LIMIT %(look)s) AS m
            ), counted AS (
                SELECT count(*) AS messages, count(*) FILTER (WHERE so_far <= %(most)s) AS looked_at FROM newest
            )
            SELECT found.*, messages, looked_at
              FROM counted
              LEFT JOIN (
                SELECT {MESSAGE_COLUMNS}, m.status, m.reason, m.effects @> '{{converted}}', m.goal_id
                  FROM newest
                  JOIN api_message m ON m.site_id = %(site)s AND m.id = newest.id
                  JOIN api_messagebody b ON b.site_id = %(site)s AND b.id = newest.id
                 WHERE so_far <= %(most)s
                   AND m.id >= (SELECT min(id) FROM newest) AND b.id >= (SELECT min(id) FROM newest) AND EXISTS (
                       SELECT 1 FROM unnest(%(spellings)s::bytea[]) AS n (spelling)
                        WHERE position(n.spelling IN b.body) > 0)
                 ORDER BY m.id DESC LIMIT %(read)s
              ) AS found ON true
             ORDER BY 1 DESC
            """,
            {
                "site": config.site_id,
                "look": SEARCHED_MESSAGES,
                "most": LOOK_BYTES,
                "spellings": spellings(ids),
                "read": MOST_READ,
            },
        )
        while rows := cursor.fetchmany(FEW):
            for row in rows:
                *columns, newest, searched = row
                message = None if columns[0] is None else _read(config, ids, columns)
                messages += [message] if message is not None else []
    # Fewer than SEARCHED_MESSAGES only if their bodies are too large, not if the site has no more.
    return PersonMessages(SEARCHED_MESSAGES if searched == newest else searched, messages)


def _read(config: SiteConfig, ids: set[str], row: Sequence[Any]) -> PersonMessage | None:
    """Return a message with its meaning today, or None if no value of it names the person."""
    *columns, status, reason, has_converted, goal_id = row
    stored = StoredMessage.of_row(columns)
    if not names(stored.body, ids):
        return None
    effects = unruled = Derivation()
    if reason not in UNSAFE_TO_DERIVE:
        source = config.for_message(stored)
        effects = derive(stored, source)
        unruled = derive(stored, replace(source, rules=(), takes_track=True, heeds_integrations=False))
    return PersonMessage(
        stored.id,
        stored.key,
        status,
        reason,
        has_converted,
        goal_id,
        event=effects.goal.event if effects.goal else None,
        unruled_event=unruled.goal.event if unruled.goal else None,
        idle_reason=effects.idle_reason,
        detail=effects.detail,
        fired=effects.fired,
    )
