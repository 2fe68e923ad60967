"""Lists of the inbox: newest first, in bounded steps whatever its size."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection

from api.digest.derivation import StoredMessage
from api.digest.mapping import Glance, glance
from api.digest.readings import READING
from api.digest.site_config import SiteConfig
from api.events.effects import Effect
from api.events.types import ALL_TYPES
from api.ingest import inbox
from api.models import Message
from api.models.message_rows import key_of

Status = Message.Status

SEARCHED_MESSAGES: Final = 10_000  # messages that a filter without an index searches at a time
LIST_BYTES: Final = 65_536  # a larger body is not read for a list
MOST_ID: Final = 2**63 - 1
SETTLES: Final = timedelta(seconds=inbox.PATIENCE + 2)

# The labels by which people filter messages: a status, or one of the effects in place of `done`.
OUTCOMES: Final[Mapping[str, str]] = {
    **{status.value: str(status.label) for status in (Status.PENDING, Status.DEFERRED)},
    **{effect.value: effect.label for effect in Effect},
    **{status.value: str(status.label) for status in (Status.REJECTED, Status.FAILED)},
}


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """Filter of messages; fields that are empty or None do not filter."""

    outcome: str = ""  # of OUTCOMES
    reason: str = ""
    source_id: int | None = None
    type: str = ""
    message_id: str = ""
    text: str = ""  # anywhere in the body
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message in a list."""

    id: int
    received_at: datetime
    source_id: int | None
    type: str
    message_id: str | None
    status: str
    reason: str
    effects: Sequence[str]
    goal_id: int | None
    is_large: bool  # its body is too large to read
    seen: Glance

    @property
    def outcome(self) -> str:
        """Return the label of the status, or of the effects of a processed message."""
        if self.status == Status.DONE:
            return ", ".join(OUTCOMES.get(effect, effect) for effect in self.effects)
        return OUTCOMES[self.status]

    @property
    def is_open(self) -> bool:
        """Return True if the message is still queued."""
        return self.status in {Status.PENDING, Status.DEFERRED}

    @property
    def mood(self) -> str:
        """Return good, warn, bad or an empty string."""
        if self.status in {Status.REJECTED, Status.FAILED}:
            return "bad"
        if self.status == Status.DEFERRED:
            return "warn"
        return "good" if Effect.CONVERTED in self.effects else ""


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A page of messages, newest first."""

    rows: list[MessageRow]
    before: int | None  # the next page's `before`; None if there is no older message
    looked_at: int  # SEARCHED_MESSAGES if the search ended before the page was full, otherwise 0
    looked_back_to: datetime | None


def find_messages(
    config: SiteConfig, query: MessageFilter, *, after: int = 0, before: int | None = None, limit: int = 50
) -> MessagePage:
    """Return the newest messages of a site that pass the filter, with ids above `after` and below `before`.

    It uses the index of (site, id), or that of failed messages. Other filters search the newest SEARCHED_MESSAGES below
    `before`, and the next page goes on from there. One query for a full page, otherwise two, and two more for times. At
    most some 50 ms if bodies are searched, otherwise some 10 ms.
    """
    top = before if before is not None else MOST_ID
    if query.until is not None:
        top = min(top, id_at(config.site_id, query.until))
    if query.since is not None:
        after = max(after, id_at(config.site_id, query.since) - 1)
    inner, outer, parameters = _conditions(query)
    parameters |= {"site": config.site_id, "after": after, "before": top, "look": SEARCHED_MESSAGES, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            {SELECT} FROM (
                SELECT * FROM api_message
                 WHERE site_id = %(site)s AND id > %(after)s AND id < %(before)s {inner}
                 ORDER BY id DESC LIMIT %(look)s
            ) AS m
             WHERE true {outer}
             ORDER BY m.id DESC LIMIT %(limit)s
            """,
            parameters,
        )
        rows = [_row(config, columns) for columns in cursor.fetchall()]
        if len(rows) == limit:
            return MessagePage(rows, rows[-1].id, 0, None)
        if query.message_id:  # never as many as SEARCHED_MESSAGES
            return MessagePage(rows, None, 0, None)
        cursor.execute(
            f"""
            SELECT id, received_at FROM api_message
             WHERE site_id = %(site)s AND id > %(after)s AND id < %(before)s {inner}
             ORDER BY id DESC OFFSET %(look)s - 1 LIMIT 1
            """,
            parameters,
        )
        last = cursor.fetchone()
    return MessagePage(rows, last[0], SEARCHED_MESSAGES, last[1]) if last else MessagePage(rows, None, 0, None)


def messages_by_id(config: SiteConfig, ids: Sequence[int]) -> list[MessageRow]:
    """Return these messages of a site as rows of the list, newest first. One query at most."""
    if not ids:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            {SELECT} FROM api_message m
             WHERE m.id = ANY(%(ids)b::bigint[]) AND m.site_id = %(site)s ORDER BY m.id DESC
            """,
            {"ids": list(ids), "site": config.site_id},
        )
        return [_row(config, columns) for columns in cursor.fetchall()]


def id_at(site_id: int, at: datetime) -> int:
    """Return the id of a site's first message received at this time or later, above all ids if there is none.

    Ids ascend with time, except within a commit. One query, a binary search by the index of (site, id). An index of
    (site, received_at) would make it simpler, at the cost of a write for each event.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE half AS (
                SELECT coalesce((SELECT id FROM api_message WHERE site_id = %(site)s ORDER BY id LIMIT 1), 0) AS low,
                       coalesce((SELECT id FROM api_message WHERE site_id = %(site)s ORDER BY id DESC LIMIT 1), 0) + 1
                       AS high
                 UNION ALL
                SELECT CASE WHEN probe.received_at < %(at)s THEN probe.id + 1 ELSE half.low END,
                       CASE WHEN probe.received_at < %(at)s THEN half.high ELSE (half.low + half.high) / 2 END
                  FROM half
                  LEFT JOIN LATERAL (
                    SELECT id, received_at FROM api_message
                     WHERE site_id = %(site)s AND id >= (half.low + half.high) / 2 AND id < half.high
                     ORDER BY id LIMIT 1
                  ) AS probe ON true
                 WHERE half.low < half.high
            )
            SELECT min(high) FROM half
            """,
            {"site": site_id, "at": at},
        )
        return int(cursor.fetchone()[0])


def settled_id(site_id: int, *, after: int, now: datetime) -> int:
    """Return the highest id above `after` below which no message can appear any more, otherwise `after`. One query.

    Ids are drawn before the commit, and commits may overtake one another; none takes longer than inbox.PATIENCE.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id FROM api_message WHERE site_id = %s AND id > %s AND received_at < %s ORDER BY id DESC LIMIT 1
            """,
            [site_id, after, now - SETTLES],
        )
        row = cursor.fetchone()
    return row[0] if row else after


KEYED: Final = f"""
SELECT k.id FROM unnest(%(types)s::text[]) AS t (type)
  JOIN api_messagekey k ON k.site_id = %(site)s AND k.key = {key_of("t.type", "%(message_id)s")}
"""
BODY: Final = "SELECT b.body FROM api_messagebody b WHERE b.site_id = %(site)s AND b.id = m.id"
SELECT: Final = f"""
SELECT m.id, m.received_at, m.source_id, m.type, m.message_id, m.status, m.reason, m.effects, m.goal_id, m.position,
       m.occurred_at, {READING}, CASE WHEN m.size <= {LIST_BYTES} THEN ({BODY}) END
"""


def _row(config: SiteConfig, columns: tuple[Any, ...]) -> MessageRow:
    id_, received_at, source_id, type_, message_id, status, reason, effects, goal_id, position, at, *rest = columns
    reading, body = rest
    seen = Glance()
    if body is not None:
        message = StoredMessage(id_, type_, message_id, position, at, bytes(body), source_id, reading)
        seen = glance(message, config.for_message(message))
    return MessageRow(
        id_, received_at, source_id, type_, message_id, status, reason, effects, goal_id, body is None, seen
    )


def _conditions(query: MessageFilter) -> tuple[str, str, dict[str, Any]]:
    """Return conditions for the index, conditions for the rows that it finds, and the parameters."""
    inner: list[str] = []
    outer: list[str] = []
    parameters: dict[str, Any] = {}
    if query.message_id:
        # Rejected messages have no key of their messageId, but an index.
        inner.append(
            f"((id = ANY(ARRAY({KEYED})) AND status <> 'rejected') OR "
            "(status = 'rejected' AND message_id = %(message_id)s))"
        )
        parameters |= {"message_id": query.message_id, "types": list(ALL_TYPES)}
    if query.outcome in Status.values:
        inner.append("status = %(outcome)s")
    elif query.outcome:
        outer.append("status = 'done' AND %(outcome)s = ANY(effects)")
    if query.reason:
        outer.append("reason = %(reason)s")
    if query.source_id is not None:
        outer.append("source_id = %(source)s")
    if query.type:
        outer.append("type = %(type)s")
    if query.text:
        outer.append(
            f"m.size <= {LIST_BYTES} AND EXISTS ({BODY}"
            " AND (position(%(text)s::bytea IN b.body) > 0 OR position(%(escaped)s::bytea IN b.body) > 0))"
        )
        parameters |= {
            "text": json.dumps(query.text, ensure_ascii=False)[1:-1].encode(errors="replace"),
            "escaped": json.dumps(query.text)[1:-1].encode(),
        }
    parameters |= {"outcome": query.outcome, "reason": query.reason, "source": query.source_id, "type": query.type}
    return (
        "".join(f" AND {condition}" for condition in inner),
        "".join(f" AND {condition}" for condition in outer),
        parameters,
    )
