"""Check of conversions and cancellations: each belongs to the message that made it, and each such message has one."""

from collections.abc import Iterator
from typing import Final

from api.checks.base import DERIVE_AGAIN, Counts, Difference, fetch_row, of_site, stream

# `StoredMessage.key` in SQL.
KEY: Final = "CASE WHEN m.message_id IS NULL THEN '#' || m.id ELSE m.type || ':' || m.message_id END"


def check_conversions(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    """Yield converted messages without their conversion, and conversions without a converted message.

    The same goes for messages that cancelled, and for cancellations.

    Conversions may lack their goal if it was deleted, and their message if it is old enough to be pruned.
    """
    counts["conversions"], counts["pruned"], counts["resent"], counts["converted"] = fetch_row(
        f"""
        SELECT count(*), count(*) FILTER (WHERE m.id IS NULL), count(*) FILTER (WHERE NOT m.effects @> '{{converted}}'),
               (SELECT count(*) FROM api_message m WHERE m.effects @> '{{converted}}' AND {of_site("m.site_id")})
          FROM goals_conversion c
          LEFT JOIN api_message m ON m.site_id = c.site_id AND {KEY} = c.message_key AND m.status <> 'rejected'
         WHERE {of_site("c.site_id")}
        """,
        {"site": site_id},
    )
    yield from _find_lost(site_id, counts)
    yield from _find_invented(site_id, "conversion", effect="converted", verb="convert")
    yield from _find_lost_cancellations(site_id)
    yield from _find_invented(site_id, "cancellation", effect="cancelled", verb="cancel")


def _find_lost(site_id: int | None, counts: Counts) -> Iterator[Difference]:
    rows = stream(
        f"""
        SELECT m.id, {KEY}, m.goal_id, c.id, g.id IS NOT NULL AND g.deleted_at IS NULL
          FROM api_message m
          LEFT JOIN goals_conversion c ON c.site_id = m.site_id AND c.message_key = {KEY}
          LEFT JOIN goals_goal g ON g.id = m.goal_id
         WHERE m.effects @> '{{converted}}' AND {of_site("m.site_id")}
           AND (c.id IS NULL OR c.goal_id <> m.goal_id)
        """,
        {"site": site_id},
    )
    lost = f"A message converted and its goal exists, but its conversion was deleted by hand. {DERIVE_AGAIN}"
    moved = "A conversion was moved by hand to another goal than its message converted."
    for id_, key, goal_id, conversion_id, is_live in rows:
        if conversion_id is not None:
            yield Difference(moved, f"conversion {conversion_id} of message {id_} ({key}), goal {goal_id}")
        elif goal_id is None:
            counts["unrecorded"] += 1
        elif is_live:
            yield Difference(lost, f"message {id_} ({key}), goal {goal_id}")
        else:
            counts["deleted"] += 1


def _find_lost_cancellations(site_id: int | None) -> Iterator[Difference]:
    rows = stream(
        f"""
        SELECT m.id, {KEY}, m.goal_id
          FROM api_message m
          JOIN goals_goal g ON g.id = m.goal_id AND g.deleted_at IS NULL
          LEFT JOIN goals_cancellation c ON c.site_id = m.site_id AND c.message_key = {KEY}
         WHERE m.effects @> '{{cancelled}}' AND {of_site("m.site_id")} AND c.id IS NULL
        """,
        {"site": site_id},
    )
    lost = f"A message cancelled a conversion of a goal that exists, but its row was deleted by hand. {DERIVE_AGAIN}"
    for id_, key, goal_id in rows:
        yield Difference(lost, f"message {id_} ({key}), goal {goal_id}")


def _find_invented(site_id: int | None, noun: str, *, effect: str, verb: str) -> Iterator[Difference]:
    """Yield conversions, or cancellations, that no message explains."""
    rows = stream(
        f"""
        SELECT c.id, c.message_key, m.id, g.site_id <> c.site_id
          FROM goals_{noun} c
          JOIN goals_goal g ON g.id = c.goal_id
          LEFT JOIN api_message m ON m.site_id = c.site_id AND {KEY} = c.message_key AND m.status <> 'rejected'
         -- Those of an erased person (api.erasure.erase) have no message.
         WHERE {of_site("c.site_id")} AND c.message_key NOT LIKE 'erased:%%' AND (
               g.site_id <> c.site_id
            -- Processed messages stay for seven days at least, and few happen after their receipt.
            OR (m.id IS NULL AND c.occurred_at > now() - interval '6 days')
            -- A copy sent after the first was pruned finds its row, if both have a messageId.
            OR (NOT m.effects @> '{{{effect}}}' AND m.reason <> 'already_converted'
                AND (m.status = 'done' OR m.message_id IS NULL)))
        """,
        {"site": site_id},
    )
    foreign = f"A {noun} and its goal belong to two sites: its row was changed by hand."
    unsent = (
        f"A {noun} of the last six days has no message, though younger messages are never pruned. It was inserted "
        "by hand, or its message deleted."
    )
    denied = f"The message of a {noun} did not {verb}: one of the two rows was changed by hand."
    for id_, key, message_id, is_foreign in rows:
        meaning = foreign if is_foreign else unsent if message_id is None else denied
        yield Difference(meaning, f"{noun} {id_} ({key})" + (f", message {message_id}" if message_id else ""))
