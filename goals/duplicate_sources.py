"""Conversions that two sources may have sent for one action: same goal and visitor, nearly the same time (B-06)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.db import connection

MOST_SECONDS_APART: Final = 5  # seconds
MOST_NEIGHBOURS: Final = (
    20  # conversions of the visitor before and after: an id that all visitors share has thousands a second
)


@dataclass(frozen=True, slots=True)
class DuplicateConversion:
    """A conversion and the nearest one from another source."""

    message_key: str
    other_key: str
    source_id: int
    other_source_id: int
    apart: timedelta


def find_duplicates(site_id: int, message_keys: Sequence[str]) -> list[DuplicateConversion]:
    """Return the conversions that have a near one of another source. One query, which probes an index for each."""
    if not message_keys:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT c.message_key, near.message_key, c.source_id, near.source_id, near.apart
              FROM unnest(%(keys)b::text[]) AS k (message_key)
              JOIN goals_conversion c ON c.site_id = %(site)s AND c.message_key = k.message_key
              JOIN LATERAL (
                SELECT o.message_key, o.source_id,
                       greatest(o.occurred_at - c.occurred_at, c.occurred_at - o.occurred_at) AS apart
                  FROM (
                    (SELECT * FROM goals_conversion b
                      WHERE b.site_id = %(site)s AND b.visitor_code = c.visitor_code
                        AND b.occurred_at BETWEEN c.occurred_at - make_interval(secs => %(seconds)s) AND c.occurred_at
                      ORDER BY b.occurred_at DESC, b.id DESC LIMIT %(most)s)
                     UNION ALL
                    (SELECT * FROM goals_conversion a
                      WHERE a.site_id = %(site)s AND a.visitor_code = c.visitor_code
                        AND a.occurred_at BETWEEN c.occurred_at AND c.occurred_at + make_interval(secs => %(seconds)s)
                      ORDER BY a.occurred_at, a.id LIMIT %(most)s)
                  ) AS o
                 WHERE o.goal_id = c.goal_id AND o.source_id <> c.source_id
                 ORDER BY apart, o.id
                 LIMIT 1
              ) AS near ON true
            """,
            {
                "site": site_id,
                "keys": list(message_keys),
                "seconds": MOST_SECONDS_APART,
                "most": MOST_NEIGHBOURS,
            },
        )
        return [DuplicateConversion(*row) for row in cursor.fetchall()]
