"""What a set of stored messages comes to, found by searching through all of them: a second opinion on the product.

Written from design.md ("Goals", "Cohorts") and the decisions of promises.md and from nothing of the product, so that
the two can disagree; slow, without bookkeeping, and blind to order. It reads of an event what the tests put into one.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

Who = tuple[str, str]  # ("user" | "anonymous" | "visitor" | "group", id)
Field = tuple[str, str]  # ("trait" | "persona", its name), ("owner", its kind), ("group", ""), ("visitor", "")

# What clients send when they have no id, as far as the tests do: it names nobody, and tells no message apart.
PLACEHOLDERS = {"(null)", "{{userId}}", "00000000-0000-0000-0000-000000000000"}
VISITOR_FIELDS = ("kameleoonVisitorCode", "k_visitorCode")
AUDIENCE_EVENTS = {"Audience Entered": True, "Audience Exited": False}


@dataclass(frozen=True)
class Stored:
    """A message of the inbox: an event as it was sent, and its place in the request that brought it first."""

    event: dict[str, Any]
    position: int

    @property
    def at(self) -> datetime:
        return datetime.fromisoformat(self.event["timestamp"]).astimezone(UTC)

    @property
    def visitor(self) -> str | None:
        """K-45: the places in their order; then the classic destination's name in the same places."""
        places = [*(self.event.get(place, {}) for place in ("properties", "traits", "context")), self.context_traits]
        codes = [place.get(name) for name in VISITOR_FIELDS for place in places]
        return next((code for code in map(read_id, codes) if code is not None), None)

    @property
    def ids(self) -> dict[str, str]:
        """Whom it is about, the highest identity first."""
        user, anonymous = (read_id(self.event.get(name)) for name in ("userId", "anonymousId"))
        ids = {"user": user, "anonymous": anonymous, "visitor": self.visitor}
        return {kind: id_ for kind, id_ in ids.items() if id_ is not None}

    @property
    def previous(self) -> set[Who]:
        """Whom an alias makes its user; it does not say of which kind the id before was."""
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
        """Its sender does not want it here: one of our names has false, or `All` has and none of ours is wanted."""
        wishes = {name.lower(): wish for name, wish in (self.event.get("integrations") or {}).items()}
        ours = [wishes.get("goalpost"), wishes.get("kameleoon")]
        is_wanted = any(wish is True or isinstance(wish, dict) for wish in ours)
        return False in ours or (wishes.get("all") is False and not is_wanted and not self.personas)

    @property
    def personas(self) -> dict[str, Any]:
        """What Segment's Engage says that it computed."""
        personas: dict[str, Any] = self.event.get("context", {}).get("personas", {})
        return personas

    @property
    def message_id(self) -> str | None:
        return read_id(self.event.get("messageId"))

    @property
    def context_traits(self) -> dict[str, Any]:
        """What an event of any type says of its person besides what it is about."""
        traits: dict[str, Any] = self.event.get("context", {}).get("traits", {})
        return traits

    @property
    def says(self) -> dict[str, Any]:
        """Properties and traits: the destination sends the latter as the former (W4)."""
        return without_codes({**self.event.get("traits", {}), **self.event.get("properties", {})})

    @property
    def traits(self) -> dict[str, Any]:
        """Of its person: what it is about wins over its context."""
        says = self.says
        if self.event.get("event") == "Trait Computed":
            says = {says["trait_key"]: says[says["trait_key"]]}
        elif self.event["type"] != "identify":
            says = {}
        return without_codes({**self.context_traits, **says})


@dataclass(frozen=True)
class Fact:
    """A message said that a field of somebody is `value`."""

    by: Stored
    who: Who
    field: Field
    value: Any

    @property
    def order(self) -> tuple[datetime, int, str, bytes]:
        """K-71: occurred_at, position, messageId, canonical JSON of the value."""
        return self.by.at, self.by.position, self.by.message_id or "", canonical(self.value).encode()


@dataclass(frozen=True)
class Truth:
    """What must be seen in the end, in whatever order the messages came."""

    goals: dict[str, tuple[set[str], int]]  # tags, and how many conversions
    conversions: Counter[tuple[Any, ...]]
    owners: dict[Who, Who | None]
    groups: dict[str, Any]  # the traits of each, None for one that was removed
    documents: dict[str, Any]  # remote data by key
    persona_facts: set[tuple[Any, ...]]  # who was said to be in which persona, or out, when and by which message


def find_truth(stored: Sequence[Stored], *, ids: Sequence[str]) -> Truth:
    """All that follows from these messages, with the documents of these ids."""
    messages = [message for message in stored if not message.is_rejected and not message.is_excluded]
    facts = [fact for message in messages for fact in (*read_facts(message), *read_links(message))]
    facts.sort(key=lambda fact: fact.order)
    known = {who for message in messages for who in {*message.ids.items()} | message.previous}

    def latest(*people: Who) -> dict[Field, Any]:
        """Each field as the last fact about any of these people has it."""
        return {fact.field: fact.value for fact in facts if fact.who in people}

    def owner(who: Who) -> Who | None:
        """Its latest user, else its latest anonymous id."""
        fields = latest(who)
        return next(
            ((kind, fields["owner", kind]) for kind in ("user", "anonymous") if ("owner", kind) in fields), None
        )

    owners = {who: owner(who) for who in known}

    def end(who: Who) -> Who:
        """Where owners and aliases lead; of a ring the smallest."""
        way = [who]
        while (next_ := owners[way[-1]]) is not None:
            if next_ in way:
                return min(way[way.index(next_) :])
            way.append(next_)
        return way[-1]

    def person(id_: str) -> dict[Field, Any]:
        """What is known of all who end where an id does, which is looked up as user, then visitor, then anonymous."""
        found = [(kind, id_) for kind in ("user", "visitor", "anonymous") if (kind, id_) in known]
        return latest(*(who for who in known if end(who) == end(found[0]))) if found else {}

    def convert(message: Stored, goal: str) -> tuple[Any, ...]:
        """A conversion and whose it is: the event's own code, else by a link, else by the id itself (K-51)."""
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
        return goal, key, message.at, code, rule, user, anonymous, *read_money(message.says), canonical(message.says)

    conversions = [convert(message, goal) for message in messages if (goal := read_goal(message))]
    goals = Counter(conversion[0] for conversion in conversions)
    groups = {message.event["groupId"] for message in messages if message.event["type"] == "group"}
    return Truth(
        goals={goal: ({"segment.io"}, count) for goal, count in goals.items()},
        conversions=Counter(conversions),
        owners=owners,
        groups={id_: exact(pick("trait", latest(("group", id_)))) for id_ in groups},
        documents={
            **{f"IDENTIFY_{id_}": exact(read_profile(person(id_))) for id_ in ids},
            **{f"COHORTS_{id_}": exact(pick("persona", person(id_))) for id_ in ids},
            "common": {"cohorts": sorted({fact.field[1] for fact in facts if fact.field[0] == "persona"})},
        },
        persona_facts={
            (*fact.who, fact.field[1], fact.value, fact.by.at, fact.order[2])
            for fact in facts
            if fact.field[0] == "persona"
        },
    )


def first_visitor(people: set[Who], facts: Sequence[Fact]) -> str | None:
    """The visitor code of the earliest link of any of these people, ties by bytes."""
    links = [
        (fact.by.at, fact.value.encode()) for fact in facts if fact.field == ("visitor", "") and fact.who in people
    ]
    return min(links)[1].decode() if links else None


def find_devices(user: Who, facts: Sequence[Fact]) -> set[Who]:
    """Every anonymous id that was ever linked to a user, and every id that an alias made this user, with theirs."""
    reached, to_do = {user}, [user]
    while to_do:
        linked = (("owner", "user"), to_do.pop()[1])
        found = {fact.who for fact in facts if (fact.field, fact.value) == linked and fact.who[0] != "visitor"}
        to_do += [who for who in found - reached if who[0] == "user"]
        reached |= found
    return reached - {user}


def read_id(id_: str | None) -> str | None:
    """An identifier, None for a placeholder."""
    return None if id_ in PLACEHOLDERS else id_


def read_facts(message: Stored) -> Iterator[Fact]:
    """What an event says of the highest identity that it names (design "Cohorts"), and of a group."""
    event = message.event
    if event["type"] == "group":
        for name, value in message.says.items():
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
    """Each lower identity of an event gets a link to the higher ones (design "Cohorts")."""
    ids = message.ids
    for kind, owner in (("anonymous", "user"), ("visitor", "user"), ("visitor", "anonymous")):
        if kind in ids and owner in ids:
            yield Fact(message, (kind, ids[kind]), ("owner", owner), ids[owner])
    for who in message.previous:
        yield Fact(message, who, ("owner", "user"), ids["user"])
    for kind in ("user", "anonymous"):
        if kind in ids and "visitor" in ids:
            yield Fact(message, (kind, ids[kind]), ("visitor", ""), ids["visitor"])


def read_persona(message: Stored) -> tuple[str, bool] | None:
    """The audience that somebody is in from now on, or no longer (K-56, K-65)."""
    says, name = message.traits if message.event["type"] == "identify" else message.says, message.event.get("event", "")
    computed = message.personas
    if name not in AUDIENCE_EVENTS and computed.get("computation_class") != "audience":
        return None
    booleans = [key for key, value in says.items() if isinstance(value, bool)]
    key = says.get("audience_key") or computed.get("computation_key") or booleans[0]
    return key, says[key] if key in booleans else AUDIENCE_EVENTS[name]


def read_goal(message: Stored) -> str | None:
    """The goal that an event converts: tracks, pages and screens but audiences, computed traits and links (K-63)."""
    type_ = message.event["type"]
    event, properties = message.event, message.event.get("properties") or {}
    names = (event.get("event"), event.get("name"), properties.get("name"), event.get("category"))
    name = next((name for name in names if name), f"Unnamed {type_}")
    is_other = read_persona(message) is not None or name in ("Trait Computed", "Kameleoon identifier")
    return f"SegmentIO {type_} – {name}" if type_ in ("track", "page", "screen") and not is_other else None


def read_money(says: dict[str, Any]) -> tuple[Decimal | None, str | None]:
    """Revenue, if it is a plain number, and its currency, dollars unless said otherwise."""
    try:
        return Decimal(str(says["revenue"])), says.get("currency", "USD").upper()
    except (KeyError, InvalidOperation):
        return None, None


def read_profile(fields: dict[Field, Any]) -> dict[str, Any]:
    """The document of a person, `{}` when neither trait nor group was ever said; a removed trait is absent (K-72).

    A site of the tests takes the company for the group of whom no group call tells (I-12).
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
    """First or last name of somebody, also in a list of one as Altis sends it."""
    match value:
        case (str() as name) | [str() as name] if name.strip():
            return name.strip()
    return None


def without_codes(says: dict[str, Any]) -> dict[str, Any]:
    """What is said besides the visitor code, which travels among it."""
    return {name: value for name, value in says.items() if name not in VISITOR_FIELDS}


def pick(kind: str, fields: dict[Field, Any]) -> dict[str, Any]:
    """The fields of one kind, by name."""
    return {name: value for (each, name), value in fields.items() if each == kind}


def canonical(value: Any) -> str:
    """JSON with its keys sorted and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def exact(value: Any) -> Any:
    """JSON as it compares: 1, 1.0 and true are three values, 1e22 and its digits are one."""

    def number(text: str) -> tuple[str, Decimal, bool]:
        return "number", Decimal(text), "." in text

    return json.loads(json.dumps(value), parse_int=number, parse_float=number)
