"""An independent model of Goalpost: the state that a set of stored messages must lead to.

It is written from the promises and shares no code with the product, because otherwise both could make the same mistake.
It searches through all messages for every answer: slow, without bookkeeping, and blind to their order.
It reads only the fields that the tests put into events.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

Identity = tuple[str, str]  # ("user" | "anonymous" | "visitor" | "group", id)
Field = tuple[str, str]  # ("trait" | "persona", its name), ("owner", its kind), ("group", ""), ("visitor", "")

# Values that clients send when they have no id: they identify no person and no message. Only those that the tests send.
PLACEHOLDERS = {"(null)", "{{userId}}", "00000000-0000-0000-0000-000000000000"}
VISITOR_FIELDS = ("kameleoonVisitorCode", "k_visitorCode")
AUDIENCE_EVENTS = {"Audience Entered": True, "Audience Exited": False}


@dataclass(frozen=True)
class Stored:
    """A message of the inbox: an event as it was sent, and its position in the first request that contained it."""

    event: dict[str, Any]
    position: int

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.event["timestamp"]).astimezone(UTC)

    @property
    def visitor(self) -> str | None:
        """The visitor code: the first field in the order of K-45, under each of the two names that clients use."""
        places = [*(self.event.get(place, {}) for place in ("properties", "traits", "context")), self.context_traits]
        codes = [place.get(name) for name in VISITOR_FIELDS for place in places]
        return next((code for code in map(read_id, codes) if code is not None), None)

    @property
    def ids(self) -> dict[str, str]:
        """The identifiers of the event by kind, the highest identity first."""
        user, anonymous = (read_id(self.event.get(name)) for name in ("userId", "anonymousId"))
        ids = {"user": user, "anonymous": anonymous, "visitor": self.visitor}
        return {kind: id_ for kind, id_ in ids.items() if id_ is not None}

    @property
    def previous(self) -> set[Identity]:
        """The identities that an alias gives to its user. An alias does not name the kind of its previous id."""
        previous = read_id(self.event.get("previousId"))
        return {("user", previous), ("anonymous", previous)} - {*self.ids.items()} if previous else set()

    @property
    def is_rejected(self) -> bool:
        lacks_previous = self.event["type"] == "alias" and (
            "user" not in self.ids or not read_id(self.event["previousId"])
        )
        lacks_group = self.event["type"] == "group" and not read_id(self.event["groupId"])
        return (not self.ids and self.event["type"] != "group") or lacks_previous or lacks_group

    @property
    def is_excluded(self) -> bool:
        """True if `integrations` has false for Goalpost or Kameleoon, or for `All` and includes neither of them."""
        flags = {name.lower(): flag for name, flag in (self.event.get("integrations") or {}).items()}
        own_flags = [flags.get("goalpost"), flags.get("kameleoon")]
        is_included = any(flag is True or isinstance(flag, dict) for flag in own_flags)
        return False in own_flags or (flags.get("all") is False and not is_included and not self.personas)

    @property
    def personas(self) -> dict[str, Any]:
        """The audience or trait that Segment's Engage computed."""
        personas: dict[str, Any] = self.event.get("context", {}).get("personas", {})
        return personas

    @property
    def message_id(self) -> str | None:
        return read_id(self.event.get("messageId"))

    @property
    def context_traits(self) -> dict[str, Any]:
        """Traits that an event of any type carries in its context."""
        traits: dict[str, Any] = self.event.get("context", {}).get("traits", {})
        return traits

    @property
    def properties(self) -> dict[str, Any]:
        """Properties and traits together, because the destination sends traits as properties (W4)."""
        return without_visitor_codes({**self.event.get("traits", {}), **self.event.get("properties", {})})

    @property
    def traits(self) -> dict[str, Any]:
        """Traits of the event's person. Those of an identify override those of the context."""
        values = self.properties
        if self.event.get("event") == "Trait Computed":
            values = {values["trait_key"]: values[values["trait_key"]]}
        elif self.event["type"] != "identify":
            values = {}
        return without_visitor_codes({**self.context_traits, **values})


@dataclass(frozen=True)
class Fact:
    """The value that a message gives to a field of an identity or group."""

    message: Stored
    identity: Identity
    field: Field
    value: Any

    @property
    def order(self) -> tuple[datetime, int, str, bytes]:
        """K-71: occurred_at, position, messageId, canonical JSON of the value."""
        return self.message.at, self.message.position, self.message.message_id or "", canonical(self.value).encode()


@dataclass(frozen=True)
class Truth:
    """The state after all messages, in whatever order they arrived."""

    goals: dict[str, tuple[set[str], int]]  # tags and number of conversions
    conversions: Counter[tuple[Any, ...]]
    owners: dict[Identity, Identity | None]
    groups: dict[str, Any]  # traits by group id, None for a removed trait
    documents: dict[str, Any]  # remote data by key
    persona_facts: set[tuple[Any, ...]]  # identity, persona, in or out, time, message id


def find_truth(stored: Sequence[Stored], *, ids: Sequence[str]) -> Truth:
    """Return the state that follows from these messages, with the documents of these ids."""
    messages = [message for message in stored if not message.is_rejected and not message.is_excluded]
    facts = [fact for message in messages for fact in (*read_facts(message), *read_links(message))]
    facts.sort(key=lambda fact: fact.order)
    known = {identity for message in messages for identity in {*message.ids.items()} | message.previous}
    owners = {identity: find_owner(identity, facts) for identity in known}
    people = {id_: find_person(id_, owners, facts) for id_ in ids}
    conversions = [convert(message, goal, facts) for message in messages if (goal := read_goal(message))]
    goals = Counter(conversion[0] for conversion in conversions)
    groups = {message.event["groupId"] for message in messages if message.event["type"] == "group"}
    persona_facts = [fact for fact in facts if fact.field[0] == "persona"]
    return Truth(
        goals={goal: ({"segment.io"}, count) for goal, count in goals.items()},
        conversions=Counter(conversions),
        owners=owners,
        groups={id_: exact(pick("trait", latest(facts, ("group", id_)))) for id_ in groups},
        documents={
            **{f"IDENTIFY_{id_}": exact(read_profile(fields)) for id_, fields in people.items()},
            **{f"COHORTS_{id_}": exact(pick("persona", fields)) for id_, fields in people.items()},
            "common": {"cohorts": sorted({fact.field[1] for fact in persona_facts})},
        },
        persona_facts={
            (*fact.identity, fact.field[1], fact.value, fact.message.at, fact.order[2]) for fact in persona_facts
        },
    )


def latest(facts: Sequence[Fact], *identities: Identity) -> dict[Field, Any]:
    """Return each field with the value of the last fact about any of these identities."""
    return {fact.field: fact.value for fact in facts if fact.identity in identities}


def find_owner(identity: Identity, facts: Sequence[Fact]) -> Identity | None:
    """Return the latest user of an identity, otherwise its latest anonymous id."""
    fields = latest(facts, identity)
    return next(((kind, fields["owner", kind]) for kind in ("user", "anonymous") if ("owner", kind) in fields), None)


def find_root(identity: Identity, owners: Mapping[Identity, Identity | None]) -> Identity:
    """Follow owners and aliases to the end, or to the smallest identity of a cycle."""
    way = [identity]
    while (owner := owners[way[-1]]) is not None:
        if owner in way:
            return min(way[way.index(owner) :])
        way.append(owner)
    return way[-1]


def find_person(id_: str, owners: Mapping[Identity, Identity | None], facts: Sequence[Fact]) -> dict[Field, Any]:
    """Return the fields of all identities with an id's root. The id is tried as user, visitor, anonymous."""
    roots = [find_root((kind, id_), owners) for kind in ("user", "visitor", "anonymous") if (kind, id_) in owners]
    return latest(facts, *(identity for identity in owners if roots and find_root(identity, owners) == roots[0]))


def convert(message: Stored, goal: str, facts: Sequence[Fact]) -> tuple[Any, ...]:
    """Return a conversion. Its visitor is the event's own code, otherwise a linked one, otherwise the id (K-51)."""
    user, anonymous = message.ids.get("user"), message.ids.get("anonymous")
    rules = {
        "EVENT": message.visitor,
        "ANONYMOUS_LINK": first_visitor({("anonymous", anonymous)}, facts) if anonymous else None,
        "USER_LINK": first_visitor({("user", user)}, facts) if user else None,
        "DEVICE_LINK": first_visitor(find_devices(("user", user), facts), facts) if user else None,
        "USER": user,
        "ANONYMOUS": anonymous,
    }
    rule, code = next((rule, code) for rule, code in rules.items() if code is not None)
    key = f"{message.event['type']}:{message.message_id}" if message.message_id else None
    values = message.properties
    return goal, key, message.at, code, rule, user, anonymous, *read_money(values), canonical(values)


def first_visitor(people: set[Identity], facts: Sequence[Fact]) -> str | None:
    """Return the visitor code of the earliest link of these identities, the smallest by bytes if two links tie."""
    links = [
        (fact.message.at, fact.value.encode())
        for fact in facts
        if fact.field == ("visitor", "") and fact.identity in people
    ]
    return min(links)[1].decode() if links else None


def find_devices(user: Identity, facts: Sequence[Fact]) -> set[Identity]:
    """Return every anonymous id ever linked to a user or to one of its aliases, and the aliases."""
    reached, to_do = {user}, [user]
    while to_do:
        linked = (("owner", "user"), to_do.pop()[1])
        devices = {
            fact.identity for fact in facts if (fact.field, fact.value) == linked and fact.identity[0] != "visitor"
        }
        to_do += [identity for identity in devices - reached if identity[0] == "user"]
        reached |= devices
    return reached - {user}


def read_id(id_: str | None) -> str | None:
    """Return an identifier, or None for a placeholder."""
    return None if id_ in PLACEHOLDERS else id_


def read_facts(message: Stored) -> Iterator[Fact]:
    """Yield the facts about the highest identity of an event, and about its group."""
    event = message.event
    if event["type"] == "group":
        for name, value in message.properties.items():
            yield Fact(message, ("group", event["groupId"]), ("trait", name), value)
    if not message.ids:  # a group alone
        return
    highest = next(iter(message.ids.items()))
    persona = read_persona(message)
    if persona is not None:
        yield Fact(message, highest, ("persona", persona[0]), persona[1])
    for name, value in message.traits.items():
        yield Fact(message, highest, ("trait", name), value)
    if event["type"] == "group":
        yield Fact(message, highest, ("group", ""), event["groupId"])


def read_links(message: Stored) -> Iterator[Fact]:
    """Yield a link from each lower identity of an event to each higher one."""
    ids = message.ids
    for kind, owner in (("anonymous", "user"), ("visitor", "user"), ("visitor", "anonymous")):
        if kind in ids and owner in ids:
            yield Fact(message, (kind, ids[kind]), ("owner", owner), ids[owner])
    for identity in message.previous:
        yield Fact(message, identity, ("owner", "user"), ids["user"])
    for kind in ("user", "anonymous"):
        if kind in ids and "visitor" in ids:
            yield Fact(message, (kind, ids[kind]), ("visitor", ""), ids["visitor"])


def read_persona(message: Stored) -> tuple[str, bool] | None:
    """Return the audience that a person enters (true) or leaves (false) by this event (K-56, K-65)."""
    values = message.traits if message.event["type"] == "identify" else message.properties
    name = message.event.get("event", "")
    computed = message.personas
    if name not in AUDIENCE_EVENTS and computed.get("computation_class") != "audience":
        return None
    booleans = [key for key, value in values.items() if isinstance(value, bool)]
    key = values.get("audience_key") or computed.get("computation_key") or booleans[0]
    return key, values[key] if key in booleans else AUDIENCE_EVENTS[name]


def read_goal(message: Stored) -> str | None:
    """Return the goal of a track, page or screen; None for audiences, computed traits and links (K-63)."""
    type_ = message.event["type"]
    event, properties = message.event, message.event.get("properties") or {}
    names = (event.get("event"), event.get("name"), properties.get("name"), event.get("category"))
    name = next((name for name in names if name), f"Unnamed {type_}")
    is_other = read_persona(message) is not None or name in ("Trait Computed", "Kameleoon identifier")
    return f"SegmentIO {type_} – {name}" if type_ in ("track", "page", "screen") and not is_other else None


def read_money(values: dict[str, Any]) -> tuple[Decimal | None, str | None]:
    """Return revenue and currency if the revenue is a plain number. The default currency is the dollar."""
    try:
        return Decimal(str(values["revenue"])), values.get("currency", "USD").upper()
    except (KeyError, InvalidOperation):
        return None, None


def read_profile(fields: dict[Field, Any]) -> dict[str, Any]:
    """Return the document of a person, `{}` without any trait and group. A removed trait is absent (K-72).

    Without a group call the company is the group, because the sites of the tests have that setting (I-12).
    """
    traits = {name: value for name, value in pick("trait", fields).items() if value is not None}
    names = [
        next((name for name in map(read_name, (traits.get(camel), traits.get(snake))) if name), None)
        for camel, snake in (("firstName", "first_name"), ("lastName", "last_name"))
    ]
    filled = {"name": " ".join(name for name in names if name)} if None not in names else {}  # I-14
    company = traits.get("company")
    id_ = company.get("id") if isinstance(company, dict) else None
    group = fields.get(("group", ""), None if id_ is None else f"{id_:g}" if isinstance(id_, float) else str(id_))
    document = {"traits": {**filled, **traits}, **({} if group is None else {"groupId": group})}
    return document if pick("trait", fields) or group else {}


def read_name(value: Any) -> str | None:
    """Return a first or last name. Altis sends it as a list with one item."""
    match value:
        case (str() as name) | [str() as name] if name.strip():
            return name.strip()
    return None


def without_visitor_codes(values: dict[str, Any]) -> dict[str, Any]:
    """Remove the visitor code, which clients send among properties and traits."""
    return {name: value for name, value in values.items() if name not in VISITOR_FIELDS}


def pick(kind: str, fields: dict[Field, Any]) -> dict[str, Any]:
    """Return the fields of one kind by name."""
    return {name: value for (field_kind, name), value in fields.items() if field_kind == kind}


def canonical(value: Any) -> str:
    """Return JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def exact(value: Any) -> Any:
    """Return JSON that compares exactly: 1, 1.0 and true are three values, 1e22 and its digits are one."""

    def number(text: str) -> tuple[str, Decimal, bool]:
        return "number", Decimal(text), "." in text

    return json.loads(json.dumps(value), parse_int=number, parse_float=number)
