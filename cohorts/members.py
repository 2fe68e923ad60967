"""Members of personas and groups, and people with a trait: each once, whatever identifier an event named.

A person is a member if the joined facts of all identities say so, as in remote data. One identity alone decides
nothing: a visitor may enter as a device and leave as a user, or enter as both.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from django.db import connection

from cohorts import merge, remote_data
from cohorts.models import SIZE, Identity
from cohorts.reserved_traits import company_id
from cohorts.segments.facts import as_texts, group_of

MOST_SCANNED: Final = 20_000  # identities that a page of members examines
MOST_JOINED: Final = 200  # of these, joined with the rest of their person
MOST_COUNTED: Final = 5_000  # identities in personas from which their sizes are counted
MOST_COUNTED_IN_GROUPS: Final = 2_000  # identities in groups, of which most people have one: some 0.2 s
MOST_WALKED: Final = 20_000  # identities of all persons together: some 0.3 s; of fewer persons if it is more
MOST_BYTES: Final = 33_554_432  # of the registers of these and of the rest of their persons
PAGE: Final = 50

Of = Literal["personas", "group", "traits"]
Key = tuple[int, str]  # (kind, value) of an identity
Path = tuple[str, ...]  # of what is read of an identity's registers

# All identities of the persons to whom the identities of `seed` belong, each once. Walked from all of them at once,
# which costs some 10 µs an identity; PERSON of remote data walks from each id by itself.
PERSONS: Final = f"""
person AS (
    SELECT id, kind, value, parent_kind, parent_value, size FROM seed
    UNION
    SELECT next.*
      FROM person
      JOIN LATERAL (
            SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value, {SIZE} AS size
              FROM cohorts_identity i
             WHERE i.site_id = %(site)s AND i.kind = person.parent_kind AND i.value = person.parent_value
             UNION ALL
            (SELECT i.id, i.kind, i.value, i.parent_kind, i.parent_value, {SIZE} AS size
               FROM cohorts_identity i
              WHERE i.site_id = %(site)s AND i.parent_kind = person.kind AND i.parent_value = person.value
              ORDER BY i.id
              LIMIT %(most_pointing)s)
      ) AS next ON true
)
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A person who is in a persona or a group."""

    kind: Identity.Kind
    value: str  # the identifier that all others of the person lead to
    since: int  # time of the event that entered, in microseconds since 1970
    ids: list[int]  # the rows of all identities


@dataclass(frozen=True, slots=True)
class MemberPage:
    """Members in the order of their first identities, and the place where the next page begins."""

    members: list[Member]
    next: Key | None  # more may follow after it


@dataclass(frozen=True, slots=True)
class _MemberIdentity:
    """The registers of an identity under the paths asked for, and its parent."""

    id: int
    parent: Key | None
    registers: merge.Registers
    is_unread: bool = False  # because those read before it already reach the limit


_Person = dict[Key, _MemberIdentity]


def sizes(
    site_id: int, of: Literal["personas", "group"] = "personas", *, company_is_group: bool = False
) -> tuple[dict[str, int], bool]:
    """Return how many persons are in each persona or group by its name, and True if all identities were read.

    It reads the first 20,000 identities by kind and value, of which 5,000 say a persona or 2,000 a group. Of these and
    the rest of their persons it reads 32 MiB. Beyond that the figures are lower bounds. An index instead would be
    written with every change of an identity. Two queries.
    """
    seed = f"""
        SELECT * FROM (
            SELECT id, kind, value, parent_kind, parent_value, {SIZE} AS size, {_SAID[of]} AS said
              FROM cohorts_identity i WHERE site_id = %(site)s AND kind IN (1, 2, 3) ORDER BY kind, value LIMIT %(most)s
        ) AS seen WHERE said IS NOT NULL ORDER BY kind, value LIMIT %(joined)s
    """
    counts: Counter[str] = Counter()
    scanned, has_read_all = 0, True
    most = MOST_COUNTED if of == "personas" else MOST_COUNTED_IN_GROUPS
    asked = {"site": site_id, "most": MOST_SCANNED, "joined": most, "company": company_is_group}
    paths = _paths_of(of, company_is_group=company_is_group)
    persons, joined = _persons(seed, asked, paths, most_bytes=MOST_BYTES)
    for seeds, person in persons:
        scanned += len(seeds)
        if any(said.is_unread for said in person.values()):  # an unread identity may have left
            has_read_all = False
            continue
        counts.update(_names_in(_join(person), of, company_is_group=company_is_group))
    is_complete = has_read_all and scanned < joined and _place_after(site_id, None, MOST_SCANNED) is None
    return dict(counts), is_complete


def _paths_of(of: Literal["personas", "group"], *, company_is_group: bool) -> list[Path]:
    """Return what to read of registers for all personas, or for the group."""
    if of == "personas":
        return [("personas",)]
    return [("group",), *([("traits", "company")] if company_is_group else [])]


def _names_in(joined: merge.Registers, of: Literal["personas", "group"], *, company_is_group: bool) -> list[str]:
    """Return the personas or the group that a joined person is in. Pure."""
    if of == "personas":
        return [name for name, is_in in remote_data.memberships(joined).items() if is_in]
    group = group_of(joined, company_is_group=company_is_group)
    return [] if group is None else [group]


def find_members(
    site_id: int,
    of: Of,
    name: str,
    *,
    after: Key | None,
    limit: int = PAGE,
    company_is_group: bool = False,
    value: str = "",
) -> MemberPage:
    """Return a page of the persons in a persona or a group, or with a value of a trait, as their remote data says.

    A page orders persons by their first identity, by kind and value, whose own registers make it a member. At most
    20,000 identities are read and 200 of them joined with their persons. So a page may be short or empty although more
    follow. With `company_is_group` a company is the group of a person without a group call. Three queries.
    """
    paths: list[Path] = [(of, name)]
    if of == "group":
        paths = _paths_of(of, company_is_group=company_is_group)
    asked = {"site": site_id, "name": name, "kind": after[0] if after else 0, "value": after[1] if after else ""}
    asked |= {"sought": value, "sought_json": _as_scalar(value)}
    seed = f"""
        SELECT * FROM (
            SELECT id, kind, value, parent_kind, parent_value, {SIZE} AS size,
                   {_CANDIDATE[of]} AS is_candidate
              FROM cohorts_identity i
             WHERE site_id = %(site)s AND (kind, value) > (%(kind)s, %(value)s)
             ORDER BY kind, value LIMIT %(most)s
        ) AS seen WHERE is_candidate ORDER BY kind, value LIMIT %(joined)s
    """
    bounds = {"most": MOST_SCANNED, "joined": MOST_JOINED, "company": company_is_group}
    firsts: dict[Key, Member] = {}
    candidates: list[Key] = []
    persons, joined = _persons(seed, asked | bounds, paths)
    for seeds, person in persons:
        candidates += seeds
        since = _since(_join(person), of, name, value, company_is_group=company_is_group)
        saying = [key for key, said in person.items() if _says_so(said.registers, of, name, value)]
        # A person whose first identity is on an earlier page was listed there.
        if since is not None and (first := min(saying, key=_order)) in seeds:
            root = _root(person)
            firsts[first] = Member(Identity.Kind(root[0]), root[1], since, [said.id for said in person.values()])
    ordered = sorted(firsts, key=_order)
    members = [firsts[key] for key in ordered[:limit]]
    if len(ordered) > limit:
        return MemberPage(members, ordered[limit - 1])
    if len(candidates) == joined:
        return MemberPage(members, max(candidates, key=_order))
    return MemberPage(members, _place_after(site_id, after, MOST_SCANNED))


# Facts of an identity about personas or its group, NULL without any.
_SAID: Final = {
    "personas": "registers -> 'personas'",
    "group": """
        CASE WHEN registers ? 'group' THEN registers -> 'group'
             WHEN %(company)s THEN registers #> '{traits,company}' END
    """,
}
# True for an identity that is in by itself. A person who is in has at least one such identity.
_CANDIDATE: Final = {
    "personas": "registers #> ARRAY['personas', %(name)s, '3'] = 'true'",
    # A text, also in a list; a number or a boolean, also in a list. Of an object, more than those that say so.
    "traits": """
        (registers #> ARRAY['traits', %(name)s, '3'] ? %(sought)s
         OR registers #> ARRAY['traits', %(name)s, '3'] @> %(sought_json)s::jsonb)
    """,
    "group": """
        CASE WHEN registers ? 'group' THEN registers #>> '{group,3}' = %(name)s
             ELSE %(company)s AND position(trim('"' FROM to_jsonb(%(name)s::text)::text)
                                           IN registers #>> '{traits,company,3}') > 0 END
    """,
}


def _says_so(registers: merge.Registers, of: Of, name: str, value: str) -> bool:
    """Return True if these registers of one identity alone make it a member. Pure."""
    if of == "personas":
        return remote_data.memberships(registers).get(name, False)
    if of == "traits":
        return value in as_texts(registers.get("traits", {}).get(name, _NO_VALUE)[3])
    if "group" in registers:
        return bool(registers["group"][3] == name)
    return company_id({trait: register[3] for trait, register in registers.get("traits", {}).items()}) == name


def _as_scalar(value: str) -> str | None:
    """Return a text as JSON if it is a number or a boolean, otherwise None. Pure."""
    try:
        return msgspec.json.encode(msgspec.json.decode(value, type=bool | int | float)).decode()
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


_NO_VALUE: Final[merge.Register] = [0, 0, "", None]


def _since(joined: merge.Registers, of: Of, name: str, value: str, *, company_is_group: bool) -> int | None:
    """Return the time in microseconds since which a joined person is a member, otherwise None. Pure."""
    register: merge.Register
    if of == "group":
        profile = remote_data.profile(joined, remote_data.Reader(None, company_is_group=company_is_group))
        is_in = profile.get("groupId") == name
        register = joined.get("group") or joined.get("traits", {}).get("company", [])
    else:
        is_in = _says_so(joined, of, name, value)
        register = joined.get(of, {}).get(name, _NO_VALUE)
    return register[0] if is_in else None


def _join(person: _Person) -> merge.Registers:
    if len(person) == 1:  # most persons
        return next(iter(person.values())).registers
    return merge.join(said.registers for said in person.values())


def _order(key: Key) -> tuple[int, bytes]:
    """Return a key in the order of the database."""
    return key[0], key[1].encode()


def list_roots(site_id: int, *, after: Key | None, limit: int) -> tuple[list[Key], Key | None]:
    """Return identities that no other one owns, by kind and value, and the place of the next page. Two queries at most.

    The page may be short although more follow, because MOST_SCANNED identities are read.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT kind, value FROM (
                SELECT kind, value, parent_kind FROM cohorts_identity
                 WHERE site_id = %(site)s AND (kind, value) > (%(kind)s, %(value)s)
                 ORDER BY kind, value LIMIT %(most)s
            ) AS seen WHERE parent_kind IS NULL ORDER BY kind, value LIMIT %(limit)s
            """,
            {
                "site": site_id,
                "kind": after[0] if after else 0,
                "value": after[1] if after else "",
                "most": MOST_SCANNED,
                "limit": limit + 1,
            },
        )
        keys = cursor.fetchall()
    if len(keys) > limit:
        return keys[:limit], keys[limit - 1]
    return keys, _place_after(site_id, after, MOST_SCANNED)


def _place_after(site_id: int, after: Key | None, most: int) -> Key | None:
    """Return the last of the next `most` identities; None if there are no more behind it. One query, of the index."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT kind, value FROM cohorts_identity
             WHERE site_id = %s AND (kind, value) > (%s, %s) ORDER BY kind, value OFFSET %s LIMIT 2
            """,
            [site_id, *(after or (0, "")), most - 1],
        )
        rows = cursor.fetchall()
    return (rows[0][0], rows[0][1]) if len(rows) == 2 else None  # noqa: PLR2004 - it, and one more


def _persons(
    seed: str,
    parameters: Mapping[str, Any],
    paths: Sequence[Path],
    *,
    most_bytes: int | None = None,
    most_walked: int = MOST_WALKED,
) -> tuple[list[tuple[set[Key], _Person]], int]:
    """Return every person with an identity among the rows of `seed`, with those of their identities.

    Also return the limit of rows of `seed` that was used: `joined`, or less if all persons together had more than
    `most_walked` identities. Only the registers under `paths` are read, up to `most_bytes` in all. One query, one more
    for each smaller limit.
    """
    joined: int = parameters["joined"]
    while True:
        rows = _walk(seed, {**parameters, "joined": joined}, paths, most_bytes=most_bytes, limit=most_walked + 1)
        if len(rows) <= most_walked or joined == 1:
            break
        joined = max(1, joined // 10)
    said = {
        (kind, value): _MemberIdentity(
            id_,
            None if parent_kind is None else (parent_kind, parent_value),
            _registers(paths, texts),
            is_unread,
        )
        for id_, kind, value, parent_kind, parent_value, _, is_unread, _, *texts in rows
    }
    persons: dict[Key, _Person] = {}
    seeds: dict[Key, set[Key]] = {}
    roots: dict[Key, Key] = {}
    for key, identity in said.items():
        persons.setdefault(_find_root(key, said, roots), {})[key] = identity
    for _, kind, value, _, _, is_seed, *_ in rows:
        if is_seed:
            seeds.setdefault(roots[kind, value], set()).add((kind, value))
    return [(seeds.get(root, set()), person) for root, person in persons.items()], joined


def _walk(
    seed: str, parameters: Mapping[str, Any], paths: Sequence[Path], *, most_bytes: int | None, limit: int
) -> list[tuple[Any, ...]]:
    """Return the identities of the persons of `seed`, no more than the limit. One query."""
    columns = ", ".join(f"(i.registers #> %(path_{number})s)::text" for number in range(len(paths)))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE seed AS MATERIALIZED ({seed}), {PERSONS}
            SELECT person.id, person.kind, person.value, person.parent_kind, person.parent_value,
                   EXISTS (SELECT 1 FROM seed WHERE seed.id = person.id), facts.id IS NULL, facts.*
              FROM (SELECT *, sum(size) OVER (ROWS UNBOUNDED PRECEDING) AS so_far
                      FROM (SELECT * FROM person LIMIT %(limit)s) AS walked) AS person
              LEFT JOIN LATERAL (
                SELECT i.id, {columns} FROM cohorts_identity i
                 WHERE i.site_id = %(site)s AND i.id = person.id
                   AND (%(most_bytes)s::bigint IS NULL OR person.so_far <= %(most_bytes)s) OFFSET 0
              ) AS facts ON true
            """,
            {
                **parameters,
                "limit": limit,
                "most_pointing": remote_data.MOST_POINTING,
                "most_bytes": most_bytes,
                **{f"path_{number}": list(path) for number, path in enumerate(paths)},
            },
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _registers(paths: Sequence[Path], texts: Sequence[str | None]) -> merge.Registers:
    registers: merge.Registers = {}
    for path, text in zip(paths, texts, strict=True):
        if text is not None:
            register = msgspec.json.decode(text)
            registers[path[0]] = {path[1]: register} if len(path) > 1 else register
    return registers


def _root(person: _Person) -> Key:
    return _find_root(next(iter(person)), person, {})


def _find_root(key: Key, said: Mapping[Key, _MemberIdentity], roots: dict[Key, Key]) -> Key:
    """Return the identity at the end of the parents, of a ring the smallest. Add it to `roots`."""
    if said[key].parent is None:
        roots[key] = key
        return key
    path: dict[Key, None] = {}  # in order; a chain of aliases may be long
    at = key
    while at not in roots and at not in path:
        path[at] = None
        parent = said[at].parent
        if parent is None or parent not in said:  # the parent was erased
            break
        at = parent
    ordered = list(path)
    root = roots.get(at) or (at if ordered[-1] == at else min(ordered[ordered.index(at) :], key=_order))
    roots |= dict.fromkeys(path, root)
    return root
