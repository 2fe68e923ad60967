"""A person for pages: linked identifiers, facts with their events, conversions and remote data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any, Final

import msgspec
from django.db import connection
from django.db.models.expressions import RawSQL

import times
from api.events.types import ALL_TYPES
from api.http.wording import shorten
from api.models import Message, Site
from api.models.message_rows import find_by_keys
from cohorts import merge, remote_data
from cohorts.models import Group, Identity, Username
from cohorts.queries import find_person
from goals.models import Conversion

LAST_CONVERSIONS: Final = 20
MOST_CODES: Final = 200  # visitor codes whose conversions a page looks up
MOST_FACTS: Final = 2_000  # in which a page looks for changes
MOST_SHOWN: Final = 200  # identifiers, traits and personas that a page shows
SHOWN_LENGTH: Final = 500  # characters of a value

Documents = dict[str, dict[str, Any]]  # by key


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact from an event: a trait, a persona, a group or a link."""

    name: str
    value: Any
    at: datetime
    message_id: str
    said_of: str  # the identity that holds it

    @property
    def text(self) -> str:
        """Return a text as it is, any other value as JSON."""
        return self.value if isinstance(self.value, str) else msgspec.json.encode(self.value).decode()

    @property
    def short_text(self) -> str:
        """Return the beginning of the value if it is long."""
        return shorten(self.text, SHOWN_LENGTH)


@dataclass(frozen=True, slots=True)
class PersonaChange:
    """A change of a persona: a person entered or left it."""

    persona: str
    has_entered: bool
    at: datetime
    message_id: str
    said_of: str
    message: Message | None  # as long as it is kept


@dataclass(frozen=True, slots=True)
class Identifier:
    """An id of a person, the ids that it points at, and the visitor code for its conversions without one."""

    identity: Identity
    owners: list[Fact]
    first_visitor: Fact | None  # of the id itself, otherwise of a device of the user


@dataclass(frozen=True, slots=True)
class Person:
    """A person found under an id."""

    asked: str
    identities: list[Identity]  # users first
    identifiers: list[Identifier]
    usernames: list[str]
    traits: list[Fact]  # by name
    group: Fact | None
    personas: list[Fact]  # by name; the value is the membership
    left_out: dict[str, datetime]  # by map (cohorts.merge): the time of the newest register that limits left out

    @property
    def values(self) -> list[str]:
        """Return every id once."""
        return list(dict.fromkeys(identity.value for identity in self.identities))

    @property
    def is_cut_off(self) -> bool:
        """Return True if more identities point at one of them than are read."""
        return len(self.identities) > remote_data.MOST_POINTING

    @property
    def unread(self) -> int:
        """Return how many identities remote data leaves out because all together are too large."""
        return sum(getattr(identity, "is_unread", False) for identity in self.identities)


def look_up(site: Site, id_: str) -> Person | None:
    """Return the person that remote data finds under an id, or None. Two queries."""
    identities = find_person(site.pk, [id_])
    if not identities:
        return None
    users = [identity.value for identity in identities if _may_have_username(identity)]
    names = Username.objects.filter(site=site, user_value__in=users).order_by("name") if users else []
    joined = merge.join(identity.registers for identity in identities)
    groups = [
        _fact("group", identity.registers["group"], identity)
        for identity in identities
        if "group" in identity.registers
    ]
    return Person(
        asked=id_,
        identities=identities,
        identifiers=[_identifier(identity) for identity in identities],
        usernames=[username.name for username in names],
        traits=[fact for fact in _facts_of(joined, "traits", identities) if fact.value is not None],
        group=max(groups, key=lambda fact: fact.at, default=None),
        personas=_facts_of(joined, "personas", identities),
        left_out=left_out(joined),
    )


def _may_have_username(identity: Identity) -> bool:
    """Return False if no event said a username of a user. An event that did is read only with its registers."""
    is_said = "username" in identity.registers.get("traits", {}) or getattr(identity, "is_unread", False)
    return identity.kind == Identity.Kind.USER and is_said


def conversions_of(site: Site, codes: Sequence[str], *, limit: int = LAST_CONVERSIONS) -> list[Conversion]:
    """Return the latest conversions of visitor codes, newest first, with their goals, without properties.

    One query, by the visitors' index; of more than MOST_CODES visitor codes only the first are looked at.
    """
    parameters = _newest_parameters(site.pk, codes[:MOST_CODES], limit, None)
    newest = RawSQL(NEWEST_IDS, parameters)  # noqa: S611 - the text is constant
    conversions = Conversion.objects.filter(site=site, pk__in=newest).defer("properties").select_related("goal")
    return sorted(conversions, key=lambda conversion: (conversion.occurred_at, conversion.pk), reverse=True)


# The newest conversions by visitor codes, of live goals, before a place.
NEWEST: Final = """
    SELECT last.id, last.occurred_at FROM unnest(%s::text[]) AS code (code)
      JOIN LATERAL (
        SELECT c.id, c.occurred_at FROM goals_conversion c
          JOIN goals_goal g ON g.site_id = %s AND g.id = c.goal_id AND g.deleted_at IS NULL
         WHERE c.site_id = %s AND c.visitor_code = code.code
           AND (c.occurred_at, c.id) < (coalesce(%s, 'infinity'::timestamptz), %s)
         ORDER BY c.occurred_at DESC, c.id DESC LIMIT %s
      ) AS last ON true
     ORDER BY last.occurred_at DESC, last.id DESC LIMIT %s
"""
NEWEST_IDS: Final = f"SELECT id FROM ({NEWEST}) AS newest"


def newest_conversions(
    site_id: int, codes: Sequence[str], *, limit: int, after: tuple[int, datetime] | None = None
) -> list[tuple[int, datetime]]:
    """Return (id, time) of the newest conversions by these visitor codes, of live goals, before `after`. One query."""
    with connection.cursor() as cursor:
        cursor.execute(NEWEST, _newest_parameters(site_id, codes, limit, after))
        return list(cursor.fetchall())


def _newest_parameters(
    site_id: int, codes: Sequence[str], limit: int, after: tuple[int, datetime] | None
) -> tuple[Any, ...]:
    id_, at = after or (0, None)
    return list(codes), site_id, site_id, at, id_, limit, limit


# Changes of personas of identities, newest first. Facts that repeat the one before are left out. The rows of identities
# are not selected, because their registers are large and each row would repeat them.
CHANGES: Final = """
    SELECT p.name, f.is_member, f.occurred_at, f.message_id, i.kind, i.value
      FROM (
        SELECT f.*, lag(f.is_member) OVER (
                   PARTITION BY f.persona_id
                   -- By bytes, as registers are compared, whatever order the database has.
                   ORDER BY f.occurred_at, f.position, f.message_id COLLATE "C", f.is_member) AS was_member
          FROM cohorts_personafact f
         WHERE f.site_id = %(site)s AND f.identity_id = ANY(%(identities)s::bigint[])
      ) AS f
      JOIN cohorts_persona p ON p.site_id = %(site)s AND p.id = f.persona_id
      JOIN cohorts_identity i ON i.site_id = %(site)s AND i.id = f.identity_id
     WHERE f.was_member IS DISTINCT FROM f.is_member
     ORDER BY f.occurred_at DESC, f.position DESC, f.message_id COLLATE "C" DESC, f.is_member DESC
"""


def with_messages(site: Site, rows: Sequence[tuple[Any, ...]]) -> list[PersonaChange]:
    """Return rows of CHANGES with their messages. Two queries."""
    names = {message_id for _, _, _, message_id, _, _ in rows if message_id}
    ids = find_by_keys(site.pk, product(ALL_TYPES, names)).values() if names else ()
    kept = Message.objects.filter(site=site, pk__in=ids).defer("detail").select_related("source") if ids else []
    messages = {(message.message_id, message.occurred_at): message for message in kept}
    return [
        PersonaChange(
            name, is_member, at, message_id, f"{Identity.Kind(kind).label} {value}", messages.get((message_id, at))
        )
        for name, is_member, at, message_id, kind, value in rows
    ]


def remote_documents(site: Site, id_: str) -> tuple[Documents, Documents]:
    """Return what an SDK gets of a person without a token, and with one. One query, two for a large person."""
    rows = _read_rows(site, [id_, remote_data.SegmentsOf(id_)])
    lookup = site.pk, id_
    if rows[lookup] is None:
        person = remote_data.LargePerson(lookup, traits=None, has_personas=True)
        with connection.cursor() as cursor:
            cursor.execute(remote_data.READ_LARGE_PERSON, person.parameters())
            rows[lookup] = [text for (text,) in cursor.fetchall()]
    return _render(site, id_, rows, remote_data.FAMILIES)


def documents_of(site: Site, person: Person) -> tuple[Documents, Documents]:
    """Return the same as `remote_documents` of a person that is loaded already, without its segments."""
    read = [identity.registers for identity in person.identities if not getattr(identity, "is_unread", False)]
    texts = [msgspec.json.encode(registers).decode() for registers in read]
    families = [family for family in remote_data.FAMILIES if family.registers]
    return _render(site, person.asked, {(site.pk, person.asked): texts}, families)


def _read_rows(site: Site, sought: Sequence[remote_data.Sought]) -> dict[remote_data.Lookup, Sequence[str] | None]:
    with connection.cursor() as cursor:
        cursor.execute(remote_data.statement_for(sought), remote_data.parameters(site.pk, sought))
        return dict(remote_data.rows_by_lookup(site.pk, sought, cursor.fetchall()))


def _render(
    site: Site, id_: str, rows: remote_data.Rows, families: Sequence[remote_data.KeyFamily]
) -> tuple[Documents, Documents]:
    """Return the documents of a person for a reader without a token, and for one with a token."""
    keys = [f"{family.prefix}{id_}" for family in families]
    without, with_token = (
        remote_data.documents(site.pk, keys, rows, remote_data.Reader(traits, company_is_group=site.company_is_group))
        for traits in (site.public_traits, None)
    )
    return without, with_token


def message_ids_of(site_id: int, message_keys: Sequence[str]) -> list[int]:
    """Return the ids of the messages that made these conversions, as far as they are still kept. Two queries."""
    named = find_by_keys(site_id, (key.partition(":")[::2] for key in message_keys if not key.startswith("#")))
    numbers = [int(key[1:]) for key in message_keys if key.startswith("#")]
    nameless = Message.objects.filter(site_id=site_id, pk__in=numbers).values_list("pk", flat=True) if numbers else ()
    return sorted({*named.values(), *nameless})


def traits_of_group(group: Group) -> list[Fact]:
    """Return the traits of a group by name. Pure."""
    traits = sorted(group.registers.get("traits", {}).items())
    return [_fact(name, register, group) for name, register in traits if register[3] is not None]


def _identifier(identity: Identity) -> Identifier:
    registers = identity.registers
    visitors = [_fact(name, registers[name], identity) for name in merge.EARLIEST if name in registers]
    return Identifier(
        identity,
        [_fact(name, registers[name], identity) for name in ("user", "anonymous") if name in registers],
        visitors[0] if visitors else None,
    )


def _facts_of(joined: merge.Registers, of: str, identities: Sequence[Identity]) -> list[Fact]:
    """Return a map's facts of a person's joined identities, by name, each with the first identity that holds it."""
    return [
        _fact(
            name,
            register,
            next(identity for identity in identities if identity.registers.get(of, {}).get(name) == register),
        )
        for name, register in sorted(joined.get(of, {}).items())
    ]


def left_out(registers: merge.Registers) -> dict[str, datetime]:
    """Return the time of the newest register that limits left out, by map. Pure."""
    return {name: times.of_stamp(at) for name, at in registers.get(merge.LEFT_OUT, {}).items()}


def _fact(name: str, register: Sequence[Any], holder: Identity | Group) -> Fact:
    return Fact(name, register[3], times.of_stamp(register[0]), register[2], str(holder))
