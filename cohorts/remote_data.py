"""Remote data: from a key (`IDENTIFY_<id>`, `COHORTS_<id>`, `common`) to the JSON object that SDKs read."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from cohorts import merge
from cohorts.reserved import company_id, full_name

IDENTIFY: Final = "IDENTIFY_"
COHORTS: Final = "COHORTS_"
COMMON: Final = "common"
MOST_POINTING: Final = 1_000  # identities that point at one and are read: an id like "test" may be on every device

Wanted = tuple[int, str | None]  # (site, the id of a person), or (site, None) for the site's personas
Found = Mapping[Wanted, Sequence[str]]  # as JSON: the registers of each identity of a person; one list of personas

# The identities of every person asked for, in one statement. An id is looked up as user, then visitor, then anonymous
# (the order of Identity.Kind). Owners and aliases make a person's identities a tree; UNION ends also where aliases
# form a ring. An unknown person gives no row; the personas of a site give one.
PERSON: Final = """
WITH RECURSIVE asked AS (
    SELECT * FROM unnest(%(sites)b::bigint[], %(ids)b::text[]) WITH ORDINALITY AS asked (site_id, id, place)
), person AS (
    (SELECT asked.place, asked.site_id, first.*
       FROM asked
       JOIN LATERAL (
            SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value
              FROM cohorts_identity i
             WHERE i.site_id = asked.site_id AND i.kind IN (1, 2, 3) AND i.value = asked.id
             ORDER BY i.kind
             LIMIT 1
       ) AS first ON true)
    UNION
    SELECT person.place, person.site_id, next.*
      FROM person
      JOIN LATERAL (
            SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value
              FROM cohorts_identity i
             WHERE i.site_id = person.site_id AND i.kind = person.parent_kind AND i.value = person.parent_value
             UNION ALL
            (SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value
               FROM cohorts_identity i
              WHERE i.site_id = person.site_id AND i.parent_kind = person.kind AND i.parent_value = person.value
              ORDER BY i.id
              LIMIT %(most)b)
      ) AS next ON true
)
"""
STATEMENT: Final = f"""
{PERSON}
SELECT person.place, (SELECT identity.registers::text FROM cohorts_identity identity WHERE identity.id = person.id)
  FROM person  -- a subquery, because the planner would hash the whole table for a join with so many rows as it expects
 UNION ALL
SELECT asked.place, (SELECT coalesce(json_agg(name), '[]')::text FROM cohorts_persona WHERE site_id = asked.site_id)
  FROM asked WHERE asked.id IS NULL
"""


def wanted(site_id: int, keys: Sequence[str]) -> list[Wanted]:
    """What these keys need from the database, each once."""
    needs = (need(site_id, key) for key in keys)
    return list(dict.fromkeys(each for each in needs if each is not None))


def need(site_id: int, key: str) -> Wanted | None:
    """What one key needs from the database. Space around it is none of it: a printed snippet adds a newline (K-74)."""
    key = key.strip()
    if key == COMMON:
        return site_id, None
    for prefix in (IDENTIFY, COHORTS):
        if key.startswith(prefix):
            # PostgreSQL holds no NUL; no identity has one either.
            return site_id, key.removeprefix(prefix).replace("\0", "\ufffd")
    return None


def parameters(asked: Sequence[Wanted]) -> dict[str, Any]:
    """The parameters of STATEMENT."""
    return {"sites": [site for site, _ in asked], "ids": [id_ for _, id_ in asked], "most": MOST_POINTING}


def find(asked: Sequence[Wanted], rows: Sequence[tuple[int, str]]) -> Found:
    """The rows of STATEMENT, by what was asked for."""
    found: dict[Wanted, list[str]] = {each: [] for each in asked}
    for place, text in rows:
        found[asked[place - 1]].append(text)
    return found


def documents(
    site_id: int,
    keys: Sequence[str],
    found: Found,
    *,
    public_traits: Collection[str] | None,
    company_is_group: bool = False,
) -> dict[str, dict[str, Any]]:
    """The object under each key as asked for, `{}` for one that is unknown (promises K-56, K-59, K-67, K-69, K-76).

    `public_traits` holds the traits a reader without a token may see, None means all. With `company_is_group` a
    person's company stands in for the group of whom no group call tells.
    """
    answers: dict[str, dict[str, Any]] = {}
    for key in keys:
        wanted = need(site_id, key)
        said = [msgspec.json.decode(text) for text in found[wanted]] if wanted else []
        if wanted is None:
            answers[key] = {}
        elif wanted[1] is None:
            answers[key] = {"cohorts": sorted(said[0])}
        elif key.strip().startswith(IDENTIFY):
            answers[key] = profile(merge.join(said), public_traits=public_traits, company_is_group=company_is_group)
        else:
            answers[key] = memberships(merge.join(said))
    return answers


def profile(
    person: Mapping[str, Any], *, public_traits: Collection[str] | None, company_is_group: bool
) -> dict[str, Any]:
    """`{"traits": {…}, "groupId": "…"}` of a joined person; `{}` when neither was ever said.

    A reader without a token gets `{}` also where nothing that it may see is known: otherwise the answer would tell
    whether somebody has this id, which may be an e-mail address.

    What follows from other traits is found here, so that it changes with them: the name of who has none from first
    and last name (promises I-14, I-15), and the group from the company (I-12).
    """
    if "traits" not in person and "group" not in person:
        return {}
    traits = {name: register[3] for name, register in person.get("traits", {}).items() if register[3] is not None}
    if "name" not in traits and (name := full_name(traits)) is not None:
        traits["name"] = name
    group = person["group"][3] if "group" in person else company_id(traits) if company_is_group else None
    seen = {name: value for name, value in traits.items() if public_traits is None or name in public_traits}
    if public_traits is not None and not seen and group is None:
        return {}
    return {"traits": seen, **({"groupId": group} if group is not None else {})}


def memberships(person: Mapping[str, Any]) -> dict[str, bool]:
    """`{"persona": true | false}` of a joined person: in, or out after having been in (promises K-56)."""
    return {name: register[3] for name, register in person.get("personas", {}).items()}
