"""Remote data: from a key (`IDENTIFY_<id>`, `COHORTS_<id>`, `common`) to the JSON object that SDKs read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from cohorts import merge
from cohorts.models import SIZE
from cohorts.reserved_traits import NAME_PARTS, company_id, full_name

IDENTIFY: Final = "IDENTIFY_"
COHORTS: Final = "COHORTS_"
COMMON: Final = "common"
MOST_POINTING: Final = 1_000  # identities that point at one and are read: an id like "test" may be on every device
MOST_OF_PERSON: Final = 1 + MOST_POINTING  # identities: each of a thousand devices may have a thousand visitors
MOST_LISTED: Final = 2_000  # personas of a site; nobody targets by so many
COMMON_BYTES: Final = 262_144  # of their names in `common`, which anybody may read
# Of the registers of a person whom STATEMENT reads with many others: 200 of the largest are 6 MB, some 0.2 s.
ORDINARY_BYTES: Final = 32_768
# Of a larger person whom LARGE reads alone: one identity has 3.6 MB at the very worst (cohorts.merge), some 0.2 s.
LARGE_BYTES: Final = 4_194_304

Wanted = tuple[int, str | None]  # (site, the id of a person), or (site, None) for the site's personas
# As JSON: the registers of each identity of a person, or one list of personas. None of a person for LARGE.
Found = Mapping[Wanted, Sequence[str] | None]

# The identities of every person asked for, in one statement. An id is looked up as user, then visitor, then anonymous
# (the order of Identity.Kind). Owners and aliases make a person's identities a tree; UNION ends also where aliases
# form a ring. Each person is walked by itself, the nearest identities first, and no further than the limit: PostgreSQL
# walks on only while rows are asked for. An unknown person gives no row; the personas of a site give one.
# A reader keeps the plan that it made when the table was empty. Every index with the site costs the same then, and the
# planner takes the one that returns the order asked for. Hence the owner is looked up with ANY and an ORDER BY.
PERSON: Final = f"""
WITH RECURSIVE asked AS (
    SELECT * FROM unnest(%(sites)b::bigint[], %(ids)b::text[]) WITH ORDINALITY AS asked (site_id, id, place)
), person AS (
    SELECT asked.place, asked.site_id, its.*
      FROM asked
     CROSS JOIN LATERAL (
        WITH RECURSIVE walk AS (
            (SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value, {SIZE} AS size
               FROM cohorts_identity i
              WHERE i.site_id = asked.site_id AND i.kind IN (1, 2, 3) AND i.value = asked.id
              ORDER BY i.kind
              LIMIT 1)
            UNION
            SELECT next.*
              FROM walk
              JOIN LATERAL (
                    (SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value, {SIZE} AS size
                       FROM cohorts_identity i
                      WHERE i.site_id = asked.site_id AND i.kind = ANY (ARRAY[walk.parent_kind])
                        AND i.value = walk.parent_value
                      ORDER BY i.kind
                      LIMIT 1)
                     UNION ALL
                    (SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value, {SIZE} AS size
                       FROM cohorts_identity i
                      WHERE i.site_id = asked.site_id AND i.parent_kind = walk.kind AND i.parent_value = walk.value
                      ORDER BY i.id
                      LIMIT %(most)b)
              ) AS next ON true
        )
        SELECT * FROM walk LIMIT %(in_all)b
     ) AS its
)
"""
STATEMENT: Final = f"""
{PERSON}
SELECT person.place, CASE WHEN sum(person.size) OVER (PARTITION BY person.place) <= {ORDINARY_BYTES} THEN
       (SELECT identity.registers::text FROM cohorts_identity identity WHERE identity.id = person.id) END
  FROM person  -- a subquery, because the planner would hash the whole table for a join with so many rows as it expects
 UNION ALL
SELECT asked.place, (
    SELECT coalesce(json_agg(name), '[]')::text FROM (
        SELECT name, sum(octet_length(name)) OVER (ORDER BY created_at, id) AS so_far FROM (
            SELECT name, created_at, id FROM cohorts_persona
             WHERE site_id = asked.site_id ORDER BY created_at, id LIMIT {MOST_LISTED}
        ) AS first
    ) AS listed WHERE so_far <= {COMMON_BYTES}
)
  FROM asked WHERE asked.id IS NULL
"""
# The identities of a person, and which of them are read: the nearest to its id, as many as there is room for. The walk
# returns its own first, then its owner and those that point at it, and so on.
NEAREST: Final = f"""
{PERSON}, near AS (
    SELECT id, sum(size) OVER (ORDER BY nearness) <= {LARGE_BYTES} AS is_read
      FROM (SELECT id, size, row_number() OVER () AS nearness FROM person) AS walked
)
"""
# The identities of one large person. Only the parts that are asked for leave the database.
LARGE: Final = f"""
{NEAREST}
SELECT (
    SELECT CASE WHEN %(traits)b::text[] IS NULL THEN i.registers::text ELSE (
        jsonb_build_object(
            'traits', (
                SELECT coalesce(jsonb_object_agg(name, i.registers -> 'traits' -> name), '{{}}')
                  FROM unnest(%(traits)b::text[]) AS asked (name) WHERE i.registers -> 'traits' ? name
            ),
            'personas', CASE WHEN %(personas)b THEN coalesce(i.registers -> 'personas', '{{}}') ELSE '{{}}' END
        ) || CASE WHEN i.registers ? 'group' THEN jsonb_build_object('group', i.registers -> 'group') ELSE '{{}}' END
    )::text END
      FROM cohorts_identity i WHERE i.id = near.id
)
  FROM near WHERE near.is_read
"""


@dataclass(frozen=True, slots=True)
class LargePerson:
    """A person for LARGE, and the parts of it that the keys need."""

    wanted: Wanted
    traits: tuple[str, ...] | None  # None: everything
    has_personas: bool

    def parameters(self) -> dict[str, Any]:
        traits = None if self.traits is None else list(self.traits)
        return {**parameters([self.wanted]), "traits": traits, "personas": self.has_personas}


def large_persons(
    site_id: int, keys: Sequence[str], found: Found, *, public_traits: Collection[str] | None, company_is_group: bool
) -> list[LargePerson]:
    """Return the persons whom STATEMENT found too large, each once, with the parts that these keys need."""
    large = {wanted: list[str]() for wanted, texts in found.items() if texts is None}
    for key in keys if large else ():
        wanted = need(site_id, key)
        if wanted in large:
            large[wanted].append(key.strip())
    visible = _visible_traits(public_traits, company_is_group=company_is_group)
    return [
        LargePerson(
            wanted,
            (None if visible is None else tuple(sorted(visible))) if any(map(_is_profile, its)) else (),
            not all(map(_is_profile, its)),
        )
        for wanted, its in large.items()
    ]


def _is_profile(key: str) -> bool:
    return key.startswith(IDENTIFY)


def _visible_traits(public_traits: Collection[str] | None, *, company_is_group: bool) -> frozenset[str] | None:
    """Return the traits from which the answer to a reader is made; None for all."""
    if public_traits is None:
        return None
    return frozenset(
        (*public_traits, *(NAME_PARTS if "name" in public_traits else ()), *(("company",) if company_is_group else ()))
    )


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
    return {
        "sites": [site for site, _ in asked],
        "ids": [id_ for _, id_ in asked],
        "most": MOST_POINTING,
        "in_all": MOST_OF_PERSON,
    }


def find(asked: Sequence[Wanted], rows: Sequence[tuple[int, str | None]]) -> Found:
    """The rows of STATEMENT, by what was asked for."""
    found: dict[Wanted, list[str] | None] = {each: [] for each in asked}
    for place, text in rows:
        texts = found[asked[place - 1]]
        if text is None:
            found[asked[place - 1]] = None
        elif texts is not None:
            texts.append(text)
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
    visible = _visible_traits(public_traits, company_is_group=company_is_group)
    for key in keys:
        wanted = need(site_id, key)
        said = [msgspec.json.decode(text) for text in found[wanted] or ()] if wanted else []
        if wanted is None:
            answers[key] = {}
        elif wanted[1] is None:
            answers[key] = {"cohorts": sorted(said[0])}
        elif _is_profile(key.strip()):
            person = merge.join(_without_hidden(each, visible) for each in said)
            answers[key] = profile(person, public_traits=public_traits, company_is_group=company_is_group)
        else:
            answers[key] = memberships(merge.join(said))
    return answers


def _without_hidden(registers: merge.Registers, visible: Collection[str] | None) -> merge.Registers:
    """Leave out traits that a reader does not see: later ones could push visible ones beyond the limit of a join."""
    traits = registers.get("traits")
    if visible is None or traits is None:
        return registers
    return {**registers, "traits": {name: traits[name] for name in visible if name in traits}}


def profile(
    person: Mapping[str, Any], *, public_traits: Collection[str] | None, company_is_group: bool
) -> dict[str, Any]:
    """Return `{"traits": {…}, "groupId": "…"}` of a joined person; `{}` if neither was ever said.

    A reader without a token also gets `{}` if nothing that it may see is known. Otherwise the answer would show
    whether somebody has this id, which may be an e-mail address.

    Derived values are made here, so that they change with their traits: a missing name from first and last name
    (promises I-14, I-15), and the group from the company (I-12).
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
