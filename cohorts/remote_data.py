"""Remote data: the JSON object under a key (`IDENTIFY_<id>`, …, `common`, own keys), as SDKs read it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from cohorts import merge
from cohorts.models import SIZE, Identity
from cohorts.reserved_traits import NAME_PARTS
from cohorts.segments.facts import group_of, traits_of

IDENTIFY: Final = "IDENTIFY_"
COHORTS: Final = "COHORTS_"
SEGMENTS: Final = "SEGMENTS_"
COMMON: Final = "common"
# Keys that Goalpost fills: `common`, and those that begin so.
RESERVED: Final = (IDENTIFY, COHORTS, SEGMENTS)
MOST_KEY: Final = 100  # characters of an operator's own key
MOST_POINTING: Final = 1_000  # identities that point at one and are read: an id like "test" may be on every device
MOST_OF_PERSON: Final = 1 + MOST_POINTING  # identities: each of a thousand devices may have a thousand visitors
MOST_LISTED: Final = 2_000  # personas of a site, many more than an experiment targets
COMMON_BYTES: Final = 262_144  # of their names in `common`, which needs no token
# Of the registers of a person whom READ_PEOPLE reads with many others: 200 of the largest are 6 MB, some 0.2 s.
ORDINARY_BYTES: Final = 32_768
# Of a larger person whom READ_LARGE_PERSON reads alone: one identity has 3.6 MB at the very worst (cohorts.merge), some
# 0.2 s.
LARGE_BYTES: Final = 4_194_304


@dataclass(frozen=True, slots=True)
class OwnName:
    """The name of an operator's own key, in place of the id of a person."""

    text: str


@dataclass(frozen=True, slots=True)
class SegmentsOf:
    """The id of a person whose segments are sought."""

    id: str


Sought = str | SegmentsOf | OwnName | None  # the id of a person, an own key, or None for the site's personas
Lookup = tuple[int, Sought]  # with the site
# As JSON: the registers of each identity of a person, one list of personas, or the object of an own key. None for what
# is too large to be read with others.
Rows = Mapping[Lookup, Sequence[str] | None]

# The identities of the persons of one site, in one statement. An id is looked up as user, then visitor, then anonymous
# (the order of Identity.Kind). Owners and aliases make a person's identities a tree; UNION ends also where aliases
# form a ring. Each person is walked by itself, the nearest identities first, and no further than the limit: PostgreSQL
# walks on only while rows are asked for. An unknown person gives no row; the personas of a site give one.
# A reader keeps the plan that it made when the table was empty. Every index with the site costs the same then, and the
# planner takes the one that returns the order asked for. Hence kinds are compared with ANY and are part of an ORDER BY.
# A found row is read again by its place (ctid), because no plan can take a wrong index for it.
# No identity points at a visitor code, so that `nullif` saves the look into the index for each.
WALK_PEOPLE: Final = f"""
WITH RECURSIVE asked AS (
    SELECT * FROM unnest(%(ids)b::text[]) WITH ORDINALITY AS asked (id, place)
), person AS (
    SELECT asked.place, its.*
      FROM asked
     CROSS JOIN LATERAL (
        WITH RECURSIVE walk AS (
            (SELECT i.ctid AS row, i.kind, i.value, i.parent_kind, i.parent_value, {SIZE} AS size
               FROM cohorts_identity i
              WHERE i.site_id = %(site)b AND i.kind IN (1, 2, 3) AND i.value = asked.id
              ORDER BY i.kind
              LIMIT 1)
            UNION
            SELECT next.*
              FROM walk
              JOIN LATERAL (
                    (SELECT i.ctid AS row, i.kind, i.value, i.parent_kind, i.parent_value, {SIZE} AS size
                       FROM cohorts_identity i
                      WHERE i.site_id = %(site)b AND i.kind = ANY (ARRAY[walk.parent_kind])
                        AND i.value = walk.parent_value
                      ORDER BY i.kind
                      LIMIT 1)
                     UNION ALL
                    (SELECT i.ctid AS row, i.kind, i.value, i.parent_kind, i.parent_value, {SIZE} AS size
                       FROM cohorts_identity i
                      WHERE i.site_id = %(site)b
                        AND i.parent_kind = ANY (ARRAY[nullif(walk.kind, {Identity.Kind.VISITOR})])
                        AND i.parent_value = walk.value
                      ORDER BY i.parent_kind, i.id
                      LIMIT %(most)b)
              ) AS next ON true
        )
        SELECT row, size, sum(size) OVER () AS bytes FROM (SELECT * FROM walk LIMIT %(in_all)b) AS walked
     ) AS its
)
"""
READ_PEOPLE: Final = f"""
{WALK_PEOPLE}
SELECT person.place, CASE WHEN person.bytes <= {ORDINARY_BYTES} THEN
       (SELECT i.registers::text FROM cohorts_identity i WHERE i.site_id = %(site)b AND i.ctid = person.row) END
  FROM person  -- a subquery: for a join the planner expects too many rows and would hash the whole table
 UNION ALL
SELECT asked.place, (
    SELECT coalesce(json_agg(name), '[]')::text FROM (
        SELECT name, sum(octet_length(name)) OVER (ORDER BY created_at, id) AS so_far FROM (
            SELECT name, created_at, id FROM cohorts_persona
             WHERE site_id = %(site)b ORDER BY created_at, id LIMIT {MOST_LISTED}
        ) AS first
    ) AS listed WHERE so_far <= {COMMON_BYTES}
)
  FROM asked WHERE asked.id IS NULL
 UNION ALL
SELECT asked.place, listed.names
  FROM asked CROSS JOIN LATERAL (
    SELECT json_agg(s.name)::text AS names FROM cohorts_segment s WHERE s.site_id = %(site)b
 ) AS listed
 WHERE asked.id IS NULL AND listed.names IS NOT NULL
"""
# Own keys, which come after the persons. The subquery keeps PostgreSQL from the index of expiry.
READ_OWN_KEYS: Final = f"""
 UNION ALL
SELECT cardinality(%(ids)b::text[]) + own.place,
       CASE WHEN octet_length(k.document) <= {ORDINARY_BYTES} THEN k.document END
  FROM unnest(%(own)b::text[]) WITH ORDINALITY AS own (key, place)
 CROSS JOIN LATERAL (
    SELECT document, expires_at FROM cohorts_ownkey k
     WHERE k.site_id = %(site)b AND k.key = own.key ORDER BY k.key LIMIT 1
 ) AS k
 WHERE k.expires_at > now()
"""
# The segments of known persons, after the own keys. Each id is among those of the persons, too, so that its person is
# walked once. Of a segment that is not filled yet, only the members found so far are known.
READ_SEGMENTS: Final = """
 UNION ALL
SELECT cardinality(%(ids)b::text[]) + cardinality(%(own)b::text[]) + sought.place, (
    SELECT coalesce(json_object_agg(s.name, coalesce(m.is_in, false)) FILTER (WHERE s.is_filled OR m.is_in),
                    '{}')::text
      FROM cohorts_segment s
      LEFT JOIN (
        SELECT m.segment_id, m.version, m.is_member <> coalesce(m.until <= now(), false) AS is_in
          FROM person
          JOIN cohorts_identity i ON i.site_id = %(site)b AND i.ctid = person.row
          JOIN cohorts_segmentmember m ON m.site_id = %(site)b AND m.identity_id = i.id
         WHERE person.place = known.place
      ) AS m ON m.segment_id = s.id AND m.version = s.version
     WHERE s.site_id = %(site)b
)
  FROM unnest(%(segments)b::text[]) WITH ORDINALITY AS sought (id, place)
 CROSS JOIN LATERAL (
    SELECT asked.place FROM asked WHERE asked.id = sought.id AND EXISTS (
        SELECT FROM person WHERE person.place = asked.place)
     LIMIT 1
 ) AS known
"""
READ_OWN_KEY: Final = """
SELECT document FROM (
    SELECT document, expires_at FROM cohorts_ownkey k
     WHERE k.site_id = %(site)b AND k.key = (%(own)b::text[])[1] ORDER BY k.key LIMIT 1
) AS k WHERE expires_at > now()
"""
# The identities of a person, and which of them are read: the nearest to its id, as many as there is room for. The walk
# returns its own first, then its owner and those that point at it, and so on.
WALK_NEAREST: Final = f"""
{WALK_PEOPLE}, near AS (
    SELECT row, sum(size) OVER (ORDER BY nearness) <= {LARGE_BYTES} AS is_read
      FROM (SELECT row, size, row_number() OVER () AS nearness FROM person) AS walked
)
"""
# The identities of one large person. Only the parts that are asked for leave the database.
READ_LARGE_PERSON: Final = f"""
{WALK_NEAREST}
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
      FROM cohorts_identity i WHERE i.site_id = %(site)b AND i.ctid = near.row
)
  FROM near WHERE near.is_read
"""


@dataclass(frozen=True, slots=True)
class Reader:
    """The rights of a reader at a site, and the site's choice of groups."""

    public_traits: Collection[str] | None  # that a reader without a token may see; None for all
    company_is_group: bool = False  # the company is the group of a person without a group call

    @property
    def source_traits(self) -> frozenset[str] | None:
        """Return the traits from which the answers are made, None for all."""
        if self.public_traits is None:
            return None
        parts = NAME_PARTS if "name" in self.public_traits else ()
        return frozenset((*self.public_traits, *parts, *(("company",) if self.company_is_group else ())))


@dataclass(frozen=True, slots=True)
class KeyFamily:
    """The keys with one prefix, and the object that a reader gets of the joined person whose id follows it."""

    prefix: str
    render: Callable[[merge.Registers, Reader], dict[str, Any]]
    registers: frozenset[str]  # of which the object is made


@dataclass(frozen=True, slots=True)
class LargePerson:
    """A person for READ_LARGE_PERSON, and the parts of it that the keys need."""

    statement: ClassVar[str] = READ_LARGE_PERSON
    lookup: Lookup
    traits: tuple[str, ...] | None  # None: all
    has_personas: bool

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of READ_LARGE_PERSON."""
        traits = None if self.traits is None else list(self.traits)
        site_id, id_ = self.lookup
        return {**parameters(site_id, [id_]), "traits": traits, "personas": self.has_personas}


@dataclass(frozen=True, slots=True)
class LargeOwnKey:
    """An own key for READ_OWN_KEY."""

    statement: ClassVar[str] = READ_OWN_KEY
    lookup: Lookup

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of READ_OWN_KEY."""
        site_id, name = self.lookup
        return parameters(site_id, [name])


def find_large(site_id: int, keys: Sequence[str], rows: Rows, reader: Reader) -> Sequence[LargePerson | LargeOwnKey]:
    """Return what is too large for READ_PEOPLE, each once, with the parts of persons that these keys need."""
    large = {lookup: list[KeyFamily]() for lookup, texts in rows.items() if texts is None}
    if not large:
        return []
    for key in keys:
        lookup, family = lookup_of(site_id, key), family_of(key)
        if lookup in large and family is not None:
            large[lookup].append(family)
    traits = None if reader.source_traits is None else tuple(sorted(reader.source_traits))
    return [
        LargeOwnKey(lookup)
        if isinstance(lookup[1], OwnName)
        else LargePerson(
            lookup,
            traits if any("traits" in family.registers for family in families) else (),
            any("personas" in family.registers for family in families),
        )
        for lookup, families in large.items()
        if families or isinstance(lookup[1], OwnName)
    ]


def is_reserved(key: str) -> bool:
    """Return True if Goalpost itself fills this key."""
    return key == COMMON or key.startswith(RESERVED)


def family_of(key: str) -> KeyFamily | None:
    """Return the family of a key; None for `common` and an own key."""
    return next((family for family in FAMILIES if key.lstrip().startswith(family.prefix)), None)


def lookups_of(site_id: int, keys: Sequence[str]) -> list[Lookup]:
    """Return the distinct lookups that these keys need."""
    lookups = (lookup_of(site_id, key) for key in keys)
    return list(dict.fromkeys(lookup for lookup in lookups if lookup is not None))


def lookup_of(site_id: int, key: str) -> Lookup | None:
    """Return the lookup that a key needs, None for one under which nothing can be.

    White space around the key is ignored, because printed snippets add a newline (promise K-74).
    """
    key = key.strip()
    if key == COMMON:
        return site_id, None
    family = family_of(key)
    if family is not None:
        # PostgreSQL holds no NUL; no identity has one either.
        id_ = key.removeprefix(family.prefix).replace("\0", "\ufffd")
        return site_id, SegmentsOf(id_) if family.prefix == SEGMENTS else id_
    if not key or len(key) > MOST_KEY or "\0" in key or is_reserved(key):
        return None
    return site_id, OwnName(key)


def statement_for(ids: Sequence[Sought]) -> str:
    """Return the statement that reads all of these. Without own keys and segments it costs less."""
    kinds = {type(id_) for id_ in ids}
    keys = READ_OWN_KEYS if OwnName in kinds else ""
    return READ_PEOPLE + keys + (READ_SEGMENTS if SegmentsOf in kinds else "")


def parameters(site_id: int, ids: Sequence[Sought]) -> dict[str, Any]:
    """Return the parameters of READ_PEOPLE for persons and own keys of a site. None asks for the site's personas."""
    return {
        "site": site_id,
        "ids": list_walked(ids),
        "own": [id_.text for id_ in ids if isinstance(id_, OwnName)],
        "segments": [id_.id for id_ in ids if isinstance(id_, SegmentsOf)],
        "most": MOST_POINTING,
        "in_all": MOST_OF_PERSON,
    }


def list_walked(ids: Sequence[Sought]) -> list[str | None]:
    """Return the ids of the persons that the statement walks, and None for the site's personas."""
    persons = [id_.id if isinstance(id_, SegmentsOf) else id_ for id_ in ids if not isinstance(id_, OwnName)]
    return list(dict.fromkeys(persons))


def rows_by_lookup(site_id: int, ids: Sequence[Sought], rows: Sequence[tuple[int, str | None]]) -> Rows:
    """Return the rows of READ_PEOPLE for these ids by lookup."""
    # The order of their places in the statement.
    places: list[Sought] = [
        *list_walked(ids),
        *(id_ for id_ in ids if isinstance(id_, OwnName)),
        *(id_ for id_ in ids if isinstance(id_, SegmentsOf)),
    ]
    by_id: dict[Sought, list[str] | None] = {id_: [] for id_ in places}
    for place, text in rows:
        texts = by_id[places[place - 1]]
        if text is None:
            by_id[places[place - 1]] = None
        elif texts is not None:
            texts.append(text)
    return {(site_id, id_): texts for id_, texts in by_id.items()}


def documents(site_id: int, keys: Sequence[str], rows: Rows, reader: Reader) -> dict[str, dict[str, Any]]:
    """Return the object under each key, `{}` for an unknown one (promises K-56, K-59, K-67, K-69, K-76)."""
    answers: dict[str, dict[str, Any]] = {}
    visible = reader.source_traits
    for key in keys:
        lookup, family = lookup_of(site_id, key), family_of(key)
        parts = [msgspec.json.decode(text) for text in rows[lookup] or ()] if lookup else []
        if lookup is None:
            answers[key] = {}
        elif isinstance(lookup[1], OwnName | SegmentsOf):
            answers[key] = parts[0] if parts else {}
        elif family is None:
            answers[key] = {name: sorted(part) for name, part in zip(("cohorts", "segments"), parts, strict=False)}
        else:
            hides = "traits" in family.registers and visible is not None
            person = merge.join(_without_hidden(part, visible or ()) if hides else part for part in parts)
            answers[key] = family.render(person, reader)
    return answers


def _without_hidden(registers: merge.Registers, visible: Collection[str]) -> merge.Registers:
    """Leave out hidden traits, because later ones could push visible ones beyond the limit of a join."""
    traits = registers.get("traits")
    if traits is None:
        return registers
    return {**registers, "traits": {name: traits[name] for name in visible if name in traits}}


def profile(person: merge.Registers, reader: Reader) -> dict[str, Any]:
    """Return `{"traits": {…}, "groupId": "…"}` of a joined person; `{}` if no event ever set either.

    A reader without a token also gets `{}` if no visible trait is known. Otherwise the answer would reveal that a
    person has this id, which may be an e-mail address.

    The derived name and group change with their traits.
    """
    if "traits" not in person and "group" not in person:
        return {}
    traits = traits_of(person)
    group = group_of(person, company_is_group=reader.company_is_group)
    public = reader.public_traits
    visible = {name: value for name, value in traits.items() if public is None or name in public}
    if public is not None and not visible and group is None:
        return {}
    return {"traits": visible, **({"groupId": group} if group is not None else {})}


def memberships(person: Mapping[str, Any]) -> dict[str, bool]:
    """Return `{"persona": true | false}` of a joined person: in, or out after having been in (promise K-56)."""
    return {name: register[3] for name, register in person.get("personas", {}).items()}


FAMILIES: Final = (
    KeyFamily(IDENTIFY, profile, frozenset({"traits", "group"})),
    KeyFamily(COHORTS, lambda person, _: memberships(person), frozenset({"personas"})),
    KeyFamily(SEGMENTS, lambda person, _: person, frozenset()),  # read as they are served
)
