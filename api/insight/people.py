"""What is known of a person: identifiers and how they are linked, facts with who said them, what they converted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Collate

import times
from api.models import Message, Site
from cohorts import merge, remote_data
from cohorts.finding import find_person, visitor_codes
from cohorts.models import Group, Identity, Link, PersonaFact, Username
from goals.models import Conversion

LAST_CONVERSIONS: Final = 20
MOST_CODES: Final = 200  # visitor codes whose conversions a page looks up
MOST_EXPORTED: Final = 100_000  # conversions, and times that somebody entered or left a persona
LAST_CHANGES: Final = 100  # times that somebody entered or left a persona
MOST_FACTS: Final = 2_000  # of which a page looks for them

Documents = dict[str, dict[str, Any]]  # by key


@dataclass(frozen=True, slots=True)
class Fact:
    """What an event said of somebody: a trait, a persona, a group or a link."""

    name: str
    value: Any
    at: datetime
    message_id: str
    said_of: str  # the identity that holds it

    @property
    def text(self) -> str:
        """The value as people read it: a text as it is, anything else as JSON."""
        return self.value if isinstance(self.value, str) else msgspec.json.encode(self.value).decode()


@dataclass(frozen=True, slots=True)
class PersonaChange:
    """Somebody entered a persona or left it."""

    persona: str
    has_entered: bool
    at: datetime
    message_id: str
    said_of: str
    message: Message | None  # as long as it is kept


@dataclass(frozen=True, slots=True)
class Identifier:
    """One of a person's ids, what it points at, and the visitor code that its conversions without one count for."""

    identity: Identity
    owners: list[Fact]
    first_visitor: Fact | None  # of the id itself, otherwise of a device of the user


@dataclass(frozen=True, slots=True)
class Person:
    """Whom an id names."""

    asked: str
    identities: list[Identity]  # users first
    identifiers: list[Identifier]
    usernames: list[str]
    traits: list[Fact]  # by name
    group: Fact | None
    personas: list[Fact]  # by name; the value is whether they are in
    left_out: dict[str, datetime]  # by map (cohorts.merge), when events said the latest that limits left out

    @property
    def values(self) -> list[str]:
        """Every id, once."""
        return list(dict.fromkeys(identity.value for identity in self.identities))

    @property
    def is_cut_off(self) -> bool:
        """Whether more identities point at one of them than are read."""
        return len(self.identities) > remote_data.MOST_POINTING

    @property
    def unread(self) -> int:
        """How many identities remote data leaves out, because all together they are too large."""
        return sum(getattr(identity, "is_unread", False) for identity in self.identities)


def look_up(site: Site, id_: str) -> Person | None:
    """The person that remote data finds under an id; None for nobody. Two queries."""
    identities = find_person(site.pk, [id_])
    if not identities:
        return None
    users = [identity.value for identity in identities if identity.kind == Identity.Kind.USER]
    names = Username.objects.filter(site=site, user_value__in=users).order_by("name") if users else []
    joined = merge.join(identity.registers for identity in identities)
    groups = [_fact("group", each.registers["group"], each) for each in identities if "group" in each.registers]
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


def last_conversions(site: Site, person: Sequence[Identity], *, limit: int = LAST_CONVERSIONS) -> list[Conversion]:
    """What a person converted last, newest first, with the goals. Two queries, by the visitors' index."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT last.id FROM unnest(%s::bigint[], %s::text[]) AS code (site_id, code)
              JOIN LATERAL (
                SELECT c.id, c.occurred_at FROM goals_conversion c
                  JOIN goals_goal g ON g.id = c.goal_id AND g.deleted_at IS NULL
                 WHERE c.site_id = code.site_id AND c.visitor_code = code.code
                 ORDER BY c.occurred_at DESC, c.id DESC LIMIT %s
              ) AS last ON true
             ORDER BY last.occurred_at DESC, last.id DESC LIMIT %s
            """,
            [*_codes(site, person), limit, limit],
        )
        ids = [row[0] for row in cursor.fetchall()]
    found = Conversion.objects.filter(pk__in=ids).select_related("goal")
    return sorted(found, key=lambda each: (each.occurred_at, each.pk), reverse=True)


def persona_changes(
    site: Site, person: Sequence[Identity], *, limit: int = LAST_CHANGES, most: int = MOST_FACTS
) -> list[PersonaChange]:
    """When a person entered and left personas, over all identities, newest first, with the messages that said so.

    `most` facts are looked at, the newest: of them, what says again what is known is left out. Two queries.
    """
    facts = PersonaFact.objects.filter(identity__in=[identity.pk for identity in person])
    by_bytes = Collate("message_id", "C")  # as registers are compared, whatever order the database has
    stamps = ("-occurred_at", "-position", by_bytes.desc(), "-is_member")
    newest = list(facts.select_related("persona", "identity").order_by(*stamps)[:most])
    states: dict[int, bool] = {}
    changes = []
    for fact in reversed(newest):
        if states.get(fact.persona_id) != fact.is_member:
            changes.append(fact)
        states[fact.persona_id] = fact.is_member
    changes = changes[::-1][:limit]
    named = Message.objects.filter(
        site=site, type__in=("identify", "track", "group", "page", "screen", "alias"), message_id__isnull=False
    ).exclude(status=Message.Status.REJECTED)
    ids = {fact.message_id for fact in changes if fact.message_id}
    kept = named.filter(message_id__in=ids).defer("body").select_related("source") if ids else []
    messages = {(message.message_id, message.occurred_at): message for message in kept}
    return [
        PersonaChange(
            fact.persona.name,
            fact.is_member,
            fact.occurred_at,
            fact.message_id,
            str(fact.identity),
            messages.get((fact.message_id, fact.occurred_at)),
        )
        for fact in changes
    ]


def remote_documents(site: Site, id_: str) -> tuple[Documents, Documents]:
    """What an SDK gets of a person without a token, and with one. One query."""
    keys = [f"{remote_data.IDENTIFY}{id_}", f"{remote_data.COHORTS}{id_}"]
    wanted = remote_data.wanted(site.pk, keys)
    person = remote_data.LargePerson(wanted[0], traits=None, has_personas=True)  # it may be
    with connection.cursor() as cursor:
        cursor.execute(remote_data.LARGE, person.parameters())
        found = {person.wanted: [text for (text,) in cursor.fetchall()]}
    without, with_token = (
        remote_data.documents(site.pk, keys, found, public_traits=traits, company_is_group=site.company_is_group)
        for traits in (site.public_traits, None)
    )
    return without, with_token


def export(site: Site, person: Person, *, now: datetime) -> dict[str, Any]:
    """All that is held of a person, as JSON can say it: registers, conversions and the messages that made these.

    Nine queries, one more for each identity that is too large for the page; 100,000 conversions at most. Messages that
    made no conversion are found by no index: those that name the person elsewhere are not in it.
    """
    conversions = last_conversions(site, person.identities, limit=MOST_EXPORTED)
    return {
        "site": site.sitecode,
        "exportedAt": now,
        "askedFor": person.asked,
        "identities": [
            {
                "kind": identity.get_kind_display(),
                "id": identity.value,
                "registers": _registers(identity),
                "createdAt": identity.created_at,
                "updatedAt": identity.updated_at,
            }
            for identity in person.identities
        ],
        "usernames": person.usernames,
        "devices": [
            {"kind": link.get_kind_display(), "id": link.value, "user": link.user_value}
            for link in _links(site, person.identities)
        ],
        "remoteData": remote_documents(site, person.asked)[1],
        "personaHistory": [
            {
                "persona": change.persona,
                "change": "entered" if change.has_entered else "left",
                "occurredAt": change.at,
                "messageId": change.message_id,
                "source": change.message.source.name if change.message and change.message.source else None,
            }
            for change in persona_changes(site, person.identities, limit=MOST_EXPORTED, most=MOST_EXPORTED)
        ],
        "conversions": [
            {
                "goal": each.goal.name,
                "visitorCode": each.visitor_code,
                "userId": each.user_id,
                "anonymousId": each.anonymous_id,
                "occurredAt": each.occurred_at,
                "revenue": each.revenue,
                "currency": each.currency,
                "value": each.value,
                "properties": each.properties,
                "message": each.message_key,
            }
            for each in conversions
        ],
        "messages": [
            {
                "type": message.type,
                "messageId": message.message_id,
                "receivedAt": message.received_at,
                "occurredAt": message.occurred_at,
                "status": message.status,
                "body": bytes(message.body).decode(errors="replace"),
            }
            for message in messages_of(site.pk, [each.message_key for each in conversions])
        ],
    }


def _registers(identity: Identity) -> Any:
    """The registers of an identity, also where the page leaves them out. One query for such a one."""
    if not getattr(identity, "is_unread", False):
        return identity.registers
    return Identity.objects.values_list("registers", flat=True).get(pk=identity.pk)


def _links(site: Site, person: Sequence[Identity]) -> QuerySet[Link]:
    """Return the devices and former ids that were ever linked to the users of a person."""
    users = [identity.value for identity in person if identity.kind == Identity.Kind.USER]
    links = Link.objects.filter(site=site, user_value__in=users)
    return links.order_by("kind", "value", "user_value")[:MOST_EXPORTED]


def messages_of(site_id: int, message_keys: Sequence[str]) -> list[Message]:
    """The messages that made these conversions, those of them that are still there, as received. Two queries."""
    named = [key.split(":", 1) for key in message_keys if not key.startswith("#")]
    numbers = [int(key[1:]) for key in message_keys if key.startswith("#")]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT m.id FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS k (site_id, type, message_id)
              JOIN api_message m ON m.site_id = k.site_id AND m.type = k.type AND m.message_id = k.message_id
             WHERE m.status <> 'rejected'
            """,
            [[site_id] * len(named), [each[0] for each in named], [each[1] for each in named]],
        )
        numbers += [row[0] for row in cursor.fetchall()]
    return list(Message.objects.filter(site_id=site_id, pk__in=numbers).order_by("pk"))


def traits_of_group(group: Group) -> list[Fact]:
    """What events said of a group, by name. Pure."""
    traits = sorted(group.registers.get("traits", {}).items())
    return [_fact(name, register, group) for name, register in traits if register[3] is not None]


def _codes(site: Site, person: Sequence[Identity]) -> tuple[list[int], list[str]]:
    codes = visitor_codes(person)[:MOST_CODES]
    return [site.pk] * len(codes), codes


def _identifier(identity: Identity) -> Identifier:
    registers = identity.registers
    visitors = [_fact(name, registers[name], identity) for name in merge.EARLIEST if name in registers]
    return Identifier(
        identity,
        [_fact(name, registers[name], identity) for name in ("user", "anonymous") if name in registers],
        visitors[0] if visitors else None,
    )


def _facts_of(joined: merge.Registers, of: str, identities: Sequence[Identity]) -> list[Fact]:
    """The facts of a map of a person's joined identities, by name, each with the first identity that holds it."""
    return [
        _fact(name, register, next(each for each in identities if each.registers.get(of, {}).get(name) == register))
        for name, register in sorted(joined.get(of, {}).items())
    ]


def left_out(registers: merge.Registers) -> dict[str, datetime]:
    """When events said the latest that the limits of registers left out, by map. Pure."""
    return {name: times.of_stamp(at) for name, at in registers.get(merge.LEFT_OUT, {}).items()}


def _fact(name: str, register: Sequence[Any], holder: Identity | Group) -> Fact:
    return Fact(name, register[3], times.of_stamp(register[0]), register[2], str(holder))
