"""Entries into personas and exits by day, from their stored history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from django.db import connection

MOST_FACTS: Final = 20_000  # of a persona on its page, some 0.2 s at the very worst
MOST_IN_LIST: Final = 200  # of each persona of a list
LIST_DAYS: Final = 28  # of the change in a list

# Facts that change the state of their identity: the one before it may be older than the period.
CHANGES: Final = """
SELECT p.id, (f.occurred_at AT TIME ZONE %(zone)s)::date AS day,
       count(*) FILTER (WHERE f.is_member AND NOT f.was_member),
       count(*) FILTER (WHERE NOT f.is_member AND f.was_member), count(*)
  FROM unnest(%(personas)s::bigint[]) AS p (id) CROSS JOIN LATERAL (
    SELECT n.occurred_at, n.is_member, coalesce(
               lag(n.is_member) OVER (
                   PARTITION BY n.identity_id
                   ORDER BY n.occurred_at, n.position, n.message_id COLLATE "C", n.is_member),
               (SELECT e.is_member FROM cohorts_personafact e
                 WHERE e.site_id = %(site)s AND e.identity_id = n.identity_id AND e.persona_id = p.id
                   AND e.occurred_at < %(since)s
                 ORDER BY e.occurred_at DESC, e.position DESC, e.message_id COLLATE "C" DESC, e.is_member DESC LIMIT 1),
               false) AS was_member
      FROM (
        SELECT * FROM cohorts_personafact
         WHERE site_id = %(site)s AND persona_id = p.id AND occurred_at >= %(since)s
         ORDER BY occurred_at DESC LIMIT %(most)s
      ) AS n
  ) AS f
 GROUP BY p.id, day ORDER BY p.id, day
"""


@dataclass(frozen=True, slots=True)
class PersonaChanges:
    """Entries and exits of identifiers by day, without days that had none."""

    days: Sequence[tuple[date, int, int]]
    is_complete: bool  # otherwise only the newest were read

    @property
    def entered(self) -> int:
        return sum(entered for _, entered, _ in self.days)

    @property
    def left(self) -> int:
        return sum(left for _, _, left in self.days)

    @property
    def change(self) -> int:
        return self.entered - self.left


def count_changes(
    site_id: int, persona_ids: Sequence[int], *, since: datetime, zone: str, most: int = MOST_IN_LIST
) -> dict[int, PersonaChanges]:
    """Return the entries and exits of each persona by day of a zone since a time.

    Of its newest `most` facts and one more. One query, if there are personas.
    """
    if not persona_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            CHANGES,
            {"site": site_id, "personas": list(persona_ids), "since": since, "zone": zone, "most": most + 1},
        )
        rows = cursor.fetchall()
    found = {}
    for persona in persona_ids:
        own = [row for row in rows if row[0] == persona]
        days = [(day, entered, left) for _, day, entered, left, _ in own if entered or left]
        found[persona] = PersonaChanges(days, is_complete=sum(row[4] for row in own) <= most)
    return found
