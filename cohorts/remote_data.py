"""Remote data: from a key (`IDENTIFY_<id>`, `COHORTS_<id>`, `common`) to the JSON object that SDKs read."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from cohorts import merge

IDENTIFY: Final = "IDENTIFY_"
COHORTS: Final = "COHORTS_"
COMMON: Final = "common"
MOST_POINTING: Final = 1_000  # identities that point at one and are read: an id like "test" may be on every device

# The identities of every person asked for, in one statement. An id is looked up as user, then visitor, then anonymous
# (the order of Identity.Kind). Owners and aliases make a person's identities a tree; UNION ends also where aliases
# form a ring. A key without an identity, and `common`, give rows of their own.
PEOPLE_SQL: Final = """
WITH RECURSIVE person AS (
    (SELECT asked.place, first.*
       FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS asked (id, place)
       JOIN LATERAL (
            SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value
              FROM cohorts_identity i
             WHERE i.site_id = %(site)s AND i.kind IN (1, 2, 3) AND i.value = asked.id
             ORDER BY i.kind
             LIMIT 1
       ) AS first ON true)
    UNION
    SELECT person.place, next.*
      FROM person
      JOIN LATERAL (
            SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value
              FROM cohorts_identity i
             WHERE i.site_id = %(site)s AND i.kind = person.parent_kind AND i.value = person.parent_value
             UNION ALL
            (SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value
               FROM cohorts_identity i
              WHERE i.site_id = %(site)s AND i.parent_kind = person.kind AND i.parent_value = person.value
              ORDER BY i.id
              LIMIT %(most)s)
      ) AS next ON true
)
SELECT person.place, (SELECT identity.registers::text FROM cohorts_identity identity WHERE identity.id = person.id)
  FROM person  -- a subquery, because the planner would hash the whole table for a join with so many rows as it expects
"""
COMMON_SQL: Final = """
SELECT 0, coalesce(json_agg(name), '[]')::text FROM cohorts_persona WHERE site_id = %(site)s
"""


def statement(site_id: int, keys: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """The one SQL statement, with its parameters, that answers these keys; None when no key needs any."""
    keys = [key.strip() for key in keys]
    ids = person_ids(keys)
    parts = ([f"({PEOPLE_SQL})"] if ids else []) + ([f"({COMMON_SQL})"] if COMMON in keys else [])
    if not parts:
        return None
    # PostgreSQL holds no NUL; no identity has one either.
    return " UNION ALL ".join(parts), {
        "site": site_id,
        "most": MOST_POINTING,
        "ids": [id_.replace("\0", "\ufffd") for id_ in ids],
    }


def documents(
    keys: Sequence[str], rows: Sequence[tuple[int, str]], *, public_traits: Collection[str] | None
) -> dict[str, dict[str, Any]]:
    """The object under each key as asked for, `{}` for one that is unknown (promises K-56, K-59, K-67, K-69, K-76).

    `rows` is what `statement` gave. `public_traits` holds the traits a reader without a token may see, None means all.
    """
    registers: dict[int, list[Mapping[str, Any]]] = {}
    for place, text in rows:
        registers.setdefault(place, []).append(msgspec.json.decode(text))
    stripped = {key: key.strip() for key in keys}  # a printed snippet asks for its key with a newline (K-74)
    places = {id_: place for place, id_ in enumerate(person_ids(list(stripped.values())), start=1)}
    people = {id_: merge.join(registers.get(place, [])) for id_, place in places.items()}
    answers: dict[str, dict[str, Any]] = {}
    for asked, key in stripped.items():
        if key == COMMON:
            answers[asked] = {"cohorts": sorted(registers[0][0])}
        elif key.startswith(IDENTIFY):
            answers[asked] = profile(people[key.removeprefix(IDENTIFY)], public_traits=public_traits)
        elif key.startswith(COHORTS):
            answers[asked] = memberships(people[key.removeprefix(COHORTS)])
        else:
            answers[asked] = {}
    return answers


def profile(person: Mapping[str, Any], *, public_traits: Collection[str] | None) -> dict[str, Any]:
    """`{"traits": {…}, "groupId": "…"}` of a joined person; `{}` when neither was ever said."""
    if "traits" not in person and "group" not in person:
        return {}
    traits = {
        name: register[3]
        for name, register in person.get("traits", {}).items()
        if register[3] is not None and (public_traits is None or name in public_traits)
    }
    group = {"groupId": person["group"][3]} if "group" in person else {}
    return {"traits": traits, **group}


def memberships(person: Mapping[str, Any]) -> dict[str, bool]:
    """`{"persona": true | false}` of a joined person: in, or out after having been in (promises K-56)."""
    return {name: register[3] for name, register in person.get("personas", {}).items()}


def person_ids(keys: Sequence[str]) -> list[str]:
    """The ids behind IDENTIFY_ and COHORTS_ keys, each once, in order."""
    ids = [key.removeprefix(prefix) for key in keys for prefix in (IDENTIFY, COHORTS) if key.startswith(prefix)]
    return list(dict.fromkeys(ids))
