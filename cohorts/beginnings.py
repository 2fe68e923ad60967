"""Search for ids by their beginning, in any case, by the index in which they are looked up anyway.

That index is in the order of the letters' code points, capital letters apart. The search leaps from one spelling of the
beginning that is there to the next. An index of lower-case ids would be written with each new id.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from django.db import connection

from cohorts.changes import IdentityKey
from cohorts.models import Identity

MOST_LOOKS: Final = 100  # into the index: most beginnings need two or three
# In this order, because otherwise the planner would sort all ids that follow.
LOOK: Final = """
SELECT i.kind, i.value
  FROM unnest(%(kinds)b::smallint[], %(beginnings)b::text[]) AS k (kind, beginning), LATERAL (
    SELECT kind, value FROM cohorts_identity
     WHERE site_id = %(site)b AND kind = k.kind AND value >= k.beginning ORDER BY kind, value LIMIT %(limit)b
  ) AS i
"""


def find_by_beginning(site_id: int, text: str, *, limit: int) -> list[IdentityKey]:
    """Return identities whose ids begin with the text, in the order of their lower-case ids. A query for each look.

    If more than the limit begin so, the first by code points of each spelling are candidates.
    """
    letters = [spell(letter) for letter in text]
    sought: dict[int, str] = dict.fromkeys(Identity.Kind.values, "".join(letter[0] for letter in letters))
    found: list[tuple[str, int]] = []  # value and kind
    for _ in range(MOST_LOOKS):
        if not sought:
            break
        rows = _look(site_id, sought, limit=limit)
        sought = {}
        for kind, of_kind in rows.items():
            others = [value for value in of_kind if not begins(value, letters)]
            found += [(value, kind) for value in of_kind if begins(value, letters)]
            if others or len(of_kind) == limit:
                beginning = next_beginning(others[0] if others else of_kind[-1], letters)
                sought |= {} if beginning is None else {kind: beginning}
    first = sorted(dict.fromkeys(found), key=lambda each: (each[0].lower(), each[0]))[:limit]
    return [(kind, value) for value, kind in first]


def spell(letter: str) -> str:
    """Return a letter in each case, in the order of the code points. Pure."""
    return "".join(sorted({each for each in (letter, letter.lower(), letter.upper()) if len(each) == 1}))


def next_beginning(value: str, letters: Sequence[str]) -> str | None:
    """Return the first spelling of a beginning that comes after a value and is none of its beginnings. Pure."""
    beginning = None
    for place, spellings in enumerate(letters):
        later = [letter for letter in spellings if letter > value[place : place + 1]]
        if later:
            beginning = value[:place] + later[0] + "".join(letter[0] for letter in letters[place + 1 :])
        if place >= len(value) or value[place] not in spellings:
            break
    return beginning


def begins(value: str, letters: Sequence[str]) -> bool:
    """Return True if a value has this beginning in any case. Pure."""
    return len(value) >= len(letters) and all(map(str.__contains__, letters, value))


def _look(site_id: int, sought: Mapping[int, str], *, limit: int) -> dict[int, list[str]]:
    """Return the next values of each kind from a beginning on. One query."""
    found: dict[int, list[str]] = {}
    with connection.cursor() as cursor:
        kinds, beginnings = list(sought), list(sought.values())
        cursor.execute(LOOK, {"site": site_id, "kinds": kinds, "beginnings": beginnings, "limit": limit})
        for kind, value in cursor.fetchall():
            found.setdefault(kind, []).append(value)
    return found
