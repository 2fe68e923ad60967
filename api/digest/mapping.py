"""From a stored message to what it means for goals and for people: the only place that knows both worlds. Pure.

Live digest, replay, what-if and trace all call `derive`; nothing else reads an event's fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from api.digest import hooks
from api.digest.readings import NEWEST, READING, READINGS, reading_of
from api.events.body import UnreadableBodyError, read_body, read_group_id, read_id, read_object
from api.ingest.erased import VISITOR_FIELDS
from api.rules.actions import NO_VALUE, apply_rules
from api.rules.rule import EventRule, RuledEvent, name_event
from cohorts.changes import Change, Visitors
from cohorts.merge import is_too_long
from cohorts.models import Identity
from cohorts.reserved_traits import find_type_mismatches
from goals.matching import EventName
from goals.money import NotMoneyError, parse_amount, parse_currency
from goals.recording import Hit, KeyedBy

if TYPE_CHECKING:
    from api.models import Message

NAME_LENGTH: Final = 500
PERSONA_LENGTH: Final = 255
PERSONA_BYTES: Final = 500  # of its name: `common` names up to 2,000 of them to everybody
OUR_NAMES: Final = ("goalpost", "kameleoon", "kameleoon (actions)")  # in `integrations`, in lower case
# What SQL selects of `api_message` for `StoredMessage.of_row`.
MESSAGE_COLUMNS: Final = f"id, type, message_id, position, occurred_at, body, source_id, {READING}"
PLACES: Final = ("properties.", "traits.", "context.", "context.traits.", "")  # where a visitor code may stand
LONG_NAMES: Final = 5  # of traits that are left out, which the detail of a warning names
LONG_NAME: Final = 100  # characters of each
AUDIENCE_CLASSES: Final = ("audience", "journey_step")  # no set: what a sender puts there may not be hashable


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """How a site wants the events of a source read."""

    default_currency: str = "USD"
    user_id_is_visitor_code: bool = False
    audience_events_make_goals: bool = False
    entered_event_names: frozenset[str] = frozenset({"Audience Entered"})
    exited_event_names: frozenset[str] = frozenset({"Audience Exited"})
    link_event_names: frozenset[str] = frozenset({"Kameleoon identifier"})
    trait_event_names: frozenset[str] = frozenset({"Trait Computed"})
    takes_track: bool = True
    heeds_integrations: bool = True
    names_pages_by_title: bool = False
    rules: tuple[EventRule, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """What the derivation needs of a message."""

    id: int
    type: str
    message_id: str | None
    position: int
    occurred_at: datetime
    body: bytes
    source_id: int | None = None
    reading: int = NEWEST  # the version of what events mean under which it is derived

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Self:
        """Return the message of a row that begins with the columns MESSAGE_COLUMNS."""
        id_, type_, message_id, position, occurred_at, body, source_id, reading = row[:8]
        return cls(id_, type_, message_id, position, occurred_at, bytes(body), source_id, reading)

    @classmethod
    def of_message(cls, message: "Message") -> Self:
        """Return the message of a row that Django read."""
        is_digested = message.status != "pending" and message.digested_at is not None
        return cls(
            message.pk or 0,
            message.type,
            message.message_id,
            message.position,
            message.occurred_at,
            bytes(message.body),
            message.source_id,
            reading_of(message.reading, is_digested=is_digested),
        )

    @property
    def key(self) -> str:
        """What makes its conversion unique, also when the message itself was pruned."""
        return f"{self.type}:{self.message_id}" if self.message_id is not None else f"#{self.id}"


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a message means. The hit lacks its visitor until the links are known."""

    change: Change | None = None
    goal: "GoalHit | None" = None
    rejected: str = ""  # a reason code; then there is neither change nor hit
    failed: str = ""  # a reason code if the transform hook failed
    idle_reason: str = ""  # why it does nothing, if it turns out to do nothing
    detail: str = ""  # what the reason or a warning cannot say
    warnings: tuple[str, ...] = ()
    fired: tuple[int, ...] = ()  # the rules that acted, in their order
    visitor_field: str = ""  # where the visitor code stood


@dataclass(frozen=True, slots=True)
class GoalHit:
    """A hit before it is known whose it is."""

    event: EventName
    message_key: str
    occurred_at: datetime
    user_id: str | None
    anonymous_id: str | None
    visitor_code: str | None
    revenue: Any
    currency: str | None
    value: Any
    properties: str
    arrival: int
    source_id: int | None = None

    def keyed(self, visitors: Visitors) -> Hit:
        """Return the hit of the visitor that it counts for (promises K-51).

        The event's own visitor code; otherwise the code first linked to its anonymous id, because a device is nearer
        than a person; otherwise the code first linked to its user; otherwise the first code of any device that was
        ever linked to that user; otherwise the id itself.
        """
        user, anonymous = self.user_id or "", self.anonymous_id or ""
        codes = {
            KeyedBy.EVENT: self.visitor_code,
            KeyedBy.ANONYMOUS_LINK: visitors.first.get((int(Identity.Kind.ANONYMOUS), anonymous)),
            KeyedBy.USER_LINK: visitors.first.get((int(Identity.Kind.USER), user)),
            KeyedBy.DEVICE_LINK: visitors.device.get(user),
            KeyedBy.USER: self.user_id,
            KeyedBy.ANONYMOUS: self.anonymous_id,
        }
        keyed_by, code = next((rule, code) for rule in KeyedBy if (code := codes[rule]) is not None)
        return Hit(
            event=self.event,
            message_key=self.message_key,
            occurred_at=self.occurred_at,
            visitor_code=code,
            keyed_by=keyed_by,
            user_id=self.user_id,
            anonymous_id=self.anonymous_id,
            revenue=self.revenue,
            currency=self.currency,
            value=self.value,
            properties=self.properties,
            arrival=self.arrival,
            source_id=self.source_id,
        )


class RejectedError(Exception):
    """The sender must change something; the argument is a reason code."""


def derive(message: StoredMessage, rules: SourceConfig) -> Derivation:
    """Return what one message means under its reading and the rules of its source. Pure, as long as the transform hook
    is: the same message and rules give the same effects.
    """
    warnings: set[str] = set()
    try:
        keeps_long_numbers = READINGS[message.reading].keeps_long_numbers
        body = read_body(message.body, warnings, keeps_long_numbers=keeps_long_numbers)
        fields = hooks.transform({**body, "type": message.type})
    except UnreadableBodyError:
        return Derivation(rejected="unreadable_body")
    except hooks.TransformError as error:
        return Derivation(failed="transform_failed", detail=str(error))
    if fields is None:
        return Derivation(idle_reason="dropped_by_transform")
    if READINGS[message.reading].heeds_integrations and rules.heeds_integrations and is_excluded(fields):
        return Derivation(idle_reason="excluded_by_sender", warnings=tuple(sorted(warnings)))
    ruled = apply_rules(fields["type"], fields, rules.rules, by_title=rules.names_pages_by_title)
    if ruled.is_dropped or (ruled.type == "track" and not rules.takes_track):
        reason = "dropped_by_rule" if ruled.is_dropped else "track_not_taken"
        return Derivation(idle_reason=reason, detail=ruled.reason, fired=tuple(ruled.fired))
    return _read(message, rules, fields, ruled, warnings | ruled.warnings)


def is_excluded(fields: Mapping[str, Any]) -> bool:
    """Return whether an event's `integrations` say that its sender does not want it here.

    One of our names with false excludes it; so does `All` with false, unless one of our names has true or an object,
    which Segment takes for true. Names are compared without case. An event that Segment's Engage computed is excluded
    by name only: it bears `All: false` and the names of the destinations that it was routed to, and it did arrive.
    """
    integrations = read_object(fields.get("integrations"), set())
    if not integrations:
        return False
    wishes = {name.strip().casefold(): wish for name, wish in integrations.items()}
    ours = [wishes.get(name) for name in OUR_NAMES]
    if any(wish is False for wish in ours):
        return True
    is_wanted = any(wish is True or isinstance(wish, dict | list) for wish in ours)
    return wishes.get("all") is False and not is_wanted and not _is_computed(fields)


def _is_computed(fields: Mapping[str, Any]) -> bool:
    context = read_object(fields.get("context"), set())
    return "computation_class" in read_object(context.get("personas"), set())


def _read(
    message: StoredMessage, rules: SourceConfig, fields: Mapping[str, Any], ruled: RuledEvent, warnings: set[str]
) -> Derivation:
    """What an event means that the rules let pass."""
    try:
        event = _Event(message, rules, fields, ruled, warnings)
        effects = READERS[ruled.type](event)
    except RejectedError as rejection:
        return Derivation(rejected=str(rejection), warnings=tuple(sorted(warnings)), fired=tuple(ruled.fired))
    has_lost_goal = effects.goal is not None and not ruled.makes_goal
    return Derivation(
        effects.change,
        None if has_lost_goal else effects.goal,
        idle_reason="no_goal_by_rule" if has_lost_goal else effects.idle_reason,
        detail="\n".join(event.oddities),
        warnings=tuple(sorted(warnings)),
        fired=tuple(ruled.fired),
        visitor_field=event.visitor_field,
    )


@dataclass(frozen=True, slots=True)
class Glance:
    """What a list shows of a message."""

    name: str = ""
    id: str = ""
    id_field: str = ""  # where the id stood


def glance(message: StoredMessage, rules: SourceConfig) -> Glance:
    """What a message is called, and its best id, as it was sent: before the transform hook and the rules. Pure."""
    warnings: set[str] = set()
    try:
        fields = read_body(message.body, warnings)
    except UnreadableBodyError:
        return Glance()
    name = name_event(message.type, fields, warnings, by_title=rules.names_pages_by_title)
    try:
        event = _Event(message, rules, fields, RuledEvent(message.type, name), warnings)
    except RejectedError:
        return Glance(name or "")
    ids = (
        (event.visitor, event.visitor_field),
        (event.user, "userId"),
        (event.anonymous, "anonymousId"),
        (event.read_group_id(fields.get("groupId")), "groupId"),  # a group event may name nobody
    )
    return Glance(name or "", *next((id_, field) for id_, field in ids if id_ is not None))


class _Event:
    """One event in hand: its objects, and the ids of whom it is about."""

    def __init__(
        self,
        message: StoredMessage,
        rules: SourceConfig,
        fields: Mapping[str, Any],
        ruled: RuledEvent,
        warnings: set[str],
    ) -> None:
        self.message = message
        self.rules = rules
        self.fields = fields
        self.ruled = ruled
        self.warnings = warnings
        self.reading = READINGS[message.reading]
        self.oddities: list[str] = []  # warnings in words, where a code is not enough
        self.properties = read_object(fields.get("properties"), warnings)
        self.traits = read_object(fields.get("traits"), warnings)
        self.context = read_object(fields.get("context"), warnings)
        self.context_traits = read_object(self.context.get("traits"), warnings)
        self.user = self.read_id(fields.get("userId"))
        self.anonymous = self.read_id(fields.get("anonymousId"))
        self.visitor, self.visitor_field = self._find_visitor_code()
        if (self.user, self.anonymous, self.visitor) == (None, None, None) and not self._is_of_a_group_alone():
            raise RejectedError("no_identity")

    def read_id(self, value: Any) -> str | None:
        """Return an identifier as the event's reading takes it, or None with a warning."""
        return read_id(value, self.warnings, is_placeholder=self.reading.is_placeholder)

    def read_group_id(self, value: Any) -> str | None:
        """Return a group's id likewise."""
        return read_group_id(value, self.warnings, is_placeholder=self.reading.is_placeholder)

    def _is_of_a_group_alone(self) -> bool:
        is_group = self.ruled.type == "group" and self.reading.takes_groups_alone
        return is_group and self.read_group_id(self.fields.get("groupId")) is not None

    def _find_visitor_code(self) -> tuple[str | None, str]:
        """The visitor code, wherever a sender puts it, and where that was (promises K-45, K-49; the classic name is
        K-86).
        """
        places = (self.properties, self.traits, self.context, self.context_traits, self.fields)
        for name in VISITOR_FIELDS:
            for prefix, place in zip(PLACES, places, strict=True):
                code = self.read_id(place.get(name))
                if code is not None:
                    return code, prefix + name
        return (self.user, "userId") if self.rules.user_id_is_visitor_code else (None, "")

    @property
    def name(self) -> str:
        """What the event is called, as the rules left it. Raises RejectedError without one, or when it is too long."""
        name = self.ruled.name
        if name is None or not name.strip():
            raise RejectedError("missing_name")
        if len(name) > NAME_LENGTH:
            raise RejectedError("name_too_long")
        return name

    def change(self, *, traits: Mapping[str, Any] | None = None, **facts: Any) -> Change:
        """What the event says of its person: its own traits, those of its context, and the group that a rule found."""
        if self.ruled.group is not None:
            group = self.read_group_id(self.ruled.group)
            if group is not None:
                facts = {"group": group, "group_traits": self.ruled.group_traits, **facts}
        if facts.get("group_traits"):
            facts["group_traits"] = self._without_long(facts["group_traits"])
        return Change(
            occurred_at=self.message.occurred_at,
            position=self.message.position,
            message_id=self.message.message_id or "",
            user=self.user,
            anonymous=self.anonymous,
            visitor=self.visitor,
            traits=self._without_long(without_visitor_code({**self.context_traits, **(traits or {})})),
            **facts,
        )

    def _without_long(self, traits: Mapping[str, Any]) -> dict[str, Any]:
        """Return the traits without those whose name or value is too long, with a warning that names the first."""
        long = {name: None for name, value in traits.items() if is_too_long(name, value)}
        if not long:
            return dict(traits)
        self.warnings.add("long_trait")
        names = ", ".join(name[:LONG_NAME] for name in islice(long, LONG_NAMES))
        more = f" and {len(long) - LONG_NAMES:,} more" if len(long) > LONG_NAMES else ""
        self.oddities.append(f"Left out because they are too long: {names}{more}.")
        return {name: value for name, value in traits.items() if name not in long}

    def hit(self) -> GoalHit:
        """The event as a hit of the goal that its name leads to."""
        given = self.properties.get("revenue")
        revenue = self._amount(given if given not in NO_VALUE else self.ruled.revenue, "invalid_revenue")
        currency = None
        if revenue is not None:
            currency, is_known = parse_currency(self.properties.get("currency"), default=self.rules.default_currency)
            if not is_known:
                self.warnings.add("unknown_currency")
        return GoalHit(
            event=EventName(self.ruled.type, self.name),
            message_key=self.message.key,
            occurred_at=self.message.occurred_at,
            user_id=self.user,
            anonymous_id=self.anonymous,
            visitor_code=self.visitor,
            revenue=revenue,
            currency=currency,
            value=self._amount(self.properties.get("value"), "invalid_value"),
            properties=msgspec.json.encode(without_visitor_code(self.properties)).decode(),
            arrival=self.message.id,
            source_id=self.message.source_id,
        )

    def _amount(self, given: Any, warning: str) -> Any:
        try:
            return parse_amount(given)
        except NotMoneyError:
            self.warnings.add(warning)
            return None


def _read_track(event: _Event) -> Derivation:
    name, rules = event.name, event.rules
    if name in rules.link_event_names:
        return Derivation(event.change(), idle_reason="already_known")
    if name in rules.trait_event_names:
        trait = _find_trait(event)
        return Derivation(event.change(traits=trait), idle_reason="already_known" if trait else "no_trait")
    personas = read_object(event.context.get("personas"), event.warnings)
    if (
        name in rules.entered_event_names
        or name in rules.exited_event_names
        or _is_audience(personas, event.properties)
    ):
        persona = _find_persona(event, name, personas)
        return Derivation(
            event.change(persona=persona),
            event.hit() if rules.audience_events_make_goals else None,
            idle_reason="already_known" if persona else "no_persona",
        )
    return Derivation(event.change(), event.hit(), idle_reason="already_known")


def _read_page(event: _Event) -> Derivation:
    return Derivation(event.change(), event.hit(), idle_reason="already_known")


def _read_identify(event: _Event) -> Derivation:
    # The destination sends traits as `properties` (W4), others as `traits`, RudderStack's Python SDK in the context.
    traits = without_visitor_code({**event.context_traits, **event.traits, **event.properties})
    oddities = find_type_mismatches(traits)
    if oddities:
        event.warnings.add("odd_trait")
        event.oddities += oddities
    personas = read_object(event.context.get("personas"), event.warnings)
    persona = None
    if _is_audience(personas, traits):  # promises K-65: persona and trait
        persona = _check_persona(event, str(personas["computation_key"]), is_member=traits[personas["computation_key"]])
    return Derivation(event.change(traits=traits, persona=persona), idle_reason="already_known")


def _read_group(event: _Event) -> Derivation:
    group = event.read_group_id(event.fields.get("groupId"))
    if group is None:
        raise RejectedError("missing_group_id")
    group_traits = without_visitor_code({**event.traits, **event.properties})
    return Derivation(event.change(group=group, group_traits=group_traits), idle_reason="already_known")


def _read_alias(event: _Event) -> Derivation:
    previous = event.read_id(event.fields.get("previousId"))
    if previous is None or event.user is None:
        raise RejectedError("missing_previous_id")
    return Derivation(event.change(previous_user=previous), idle_reason="already_known")


READERS: Final = {
    "track": _read_track,
    "page": _read_page,
    "screen": _read_page,
    "identify": _read_identify,
    "group": _read_group,
    "alias": _read_alias,
}


def without_visitor_code(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Properties or traits without the visitor code that travelled among them (promises W5)."""
    return {name: value for name, value in properties.items() if name not in VISITOR_FIELDS}


def _is_audience(personas: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether Segment says of these facts that they are an audience's, whatever the event is called."""
    key = personas.get("computation_key")
    return (
        personas.get("computation_class") in AUDIENCE_CLASSES
        and isinstance(key, str)
        and isinstance(facts.get(key), bool)
    )


def _find_persona(event: _Event, name: str, personas: Mapping[str, Any]) -> tuple[str, bool] | None:
    """(persona, membership) of an audience event (promises K-56, K-62): the key it names, else the only boolean."""
    properties = without_visitor_code(event.properties)
    named = (properties.get("audience_key"), personas.get("computation_key"))
    key = next((each for each in named if isinstance(each, str) and each.strip()), None)
    if key is None:
        booleans = [each for each, value in properties.items() if isinstance(value, bool)]
        if len(booleans) != 1:
            return None
        key = booleans[0]
    membership = properties.get(key)
    if not isinstance(membership, bool):
        membership = name not in event.rules.exited_event_names
    return _check_persona(event, key, is_member=membership)


def _check_persona(event: _Event, name: str, *, is_member: bool) -> tuple[str, bool] | None:
    if len(name) > PERSONA_LENGTH or len(name.encode()) > PERSONA_BYTES:
        event.warnings.add("long_persona")
        return None
    return name, is_member


def _find_trait(event: _Event) -> dict[str, Any]:
    """The trait of a computed-trait event, by the name that it gives."""
    personas = read_object(event.context.get("personas"), event.warnings)
    for key in (event.properties.get("trait_key"), personas.get("computation_key")):
        if isinstance(key, str) and key in event.properties:
            return {key: event.properties[key]}
    return {}
