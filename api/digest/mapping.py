"""From a stored message to what it means for goals and for people: the only place that knows both worlds. Pure.

Live digest, replay, what-if and trace all call `derive`; nothing else reads an event's fields.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from api.digest.reading import UnreadableBodyError, read_body, read_id, read_name, read_object
from cohorts.people import Change
from goals.matching import EventName
from goals.money import NotMoneyError, parse_amount, parse_currency
from goals.recording import Hit, KeyedBy

NAME_LENGTH: Final = 500
PERSONA_LENGTH: Final = 255
VISITOR_FIELDS: Final = ("kameleoonVisitorCode", "k_visitorCode")
AUDIENCE_CLASSES: Final = frozenset({"audience", "journey_step"})
UNNAMED: Final = {"page": "Unnamed page", "screen": "Unnamed screen"}


@dataclass(frozen=True, slots=True)
class Rules:
    """How a site wants its events read."""

    default_currency: str = "USD"
    user_id_is_visitor_code: bool = False
    audience_events_make_goals: bool = False
    entered_event_names: frozenset[str] = frozenset({"Audience Entered"})
    exited_event_names: frozenset[str] = frozenset({"Audience Exited"})
    link_event_names: frozenset[str] = frozenset({"Kameleoon identifier"})
    trait_event_names: frozenset[str] = frozenset({"Trait Computed"})


@dataclass(frozen=True, slots=True)
class Stored:
    """What the derivation needs of a message."""

    id: int
    type: str
    message_id: str | None
    position: int
    occurred_at: datetime
    body: bytes

    @property
    def key(self) -> str:
        """What makes its conversion unique, also when the message itself was pruned."""
        return f"{self.type}:{self.message_id}" if self.message_id is not None else f"#{self.id}"


@dataclass(frozen=True, slots=True)
class Effects:
    """What a message means. The hit lacks its visitor until the links are known."""

    change: Change | None = None
    goal: "GoalHit | None" = None
    rejected: str = ""  # a reason code; then there is neither change nor hit
    idle_reason: str = ""  # why it does nothing, if it turns out to do nothing
    warnings: tuple[str, ...] = ()


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

    def keyed(self, *, user_visitor: str | None, anonymous_visitor: str | None) -> Hit:
        """The hit of whoever it counts for (design "Whose conversion"): the event's own visitor code, else the code
        first linked to its user, else to its anonymous id, else the id itself.
        """
        code, keyed_by = next(
            (code, keyed_by)
            for code, keyed_by in (
                (self.visitor_code, KeyedBy.EVENT),
                (user_visitor, KeyedBy.USER_LINK),
                (anonymous_visitor, KeyedBy.ANONYMOUS_LINK),
                (self.user_id, KeyedBy.USER),
                (self.anonymous_id, KeyedBy.ANONYMOUS),
            )
            if code is not None
        )
        return Hit(
            event=self.event,
            message_key=self.message_key,
            occurred_at=self.occurred_at,
            visitor_code=code,
            keyed_by=int(keyed_by),
            user_id=self.user_id,
            anonymous_id=self.anonymous_id,
            revenue=self.revenue,
            currency=self.currency,
            value=self.value,
            properties=self.properties,
        )


class RejectedError(Exception):
    """The sender must change something; the argument is a reason code."""


def derive(message: Stored, rules: Rules) -> Effects:
    """What one message means under a site's rules. Pure: the same message and rules give the same effects."""
    warnings: set[str] = set()
    try:
        event = _Event(message, rules, read_body(message.body, warnings), warnings)
        effects = READERS[message.type](event)
    except UnreadableBodyError:
        return Effects(rejected="unreadable_body")
    except RejectedError as rejection:
        return Effects(rejected=str(rejection), warnings=tuple(sorted(warnings)))
    return Effects(effects.change, effects.goal, "", effects.idle_reason, tuple(sorted(warnings)))


class _Event:
    """One event in hand: its objects, and the ids of whom it is about."""

    def __init__(self, message: Stored, rules: Rules, fields: Mapping[str, Any], warnings: set[str]) -> None:
        self.message = message
        self.rules = rules
        self.fields = fields
        self.warnings = warnings
        self.properties = read_object(fields.get("properties"), warnings)
        self.traits = read_object(fields.get("traits"), warnings)
        self.context = read_object(fields.get("context"), warnings)
        self.context_traits = read_object(self.context.get("traits"), warnings)
        self.user = read_id(fields.get("userId"), warnings)
        self.anonymous = read_id(fields.get("anonymousId"), warnings)
        self.visitor = self._find_visitor_code()
        if (self.user, self.anonymous, self.visitor) == (None, None, None):
            raise RejectedError("no_identity")

    def _find_visitor_code(self) -> str | None:
        """The visitor code, wherever a sender puts it (promises K-45, K-49; the classic name is K-86)."""
        for name in VISITOR_FIELDS:
            for place in (self.properties, self.traits, self.context, self.context_traits, self.fields):
                code = read_id(place.get(name), self.warnings)
                if code is not None:
                    return code
        return self.user if self.rules.user_id_is_visitor_code else None

    def name(self, *candidates: Any) -> str | None:
        """The first candidate that is a name. Raises RejectedError when it is too long."""
        for candidate in candidates:
            name = read_name(candidate, self.warnings)
            if name is not None:
                if len(name) > NAME_LENGTH:
                    raise RejectedError("name_too_long")
                return name
        return None

    def change(self, **facts: Any) -> Change:
        """What the event says of its person."""
        return Change(
            occurred_at=self.message.occurred_at,
            position=self.message.position,
            message_id=self.message.message_id or "",
            user=self.user,
            anonymous=self.anonymous,
            visitor=self.visitor,
            **facts,
        )

    def hit(self, name: str) -> GoalHit:
        """The event as a hit of the goal that its name leads to."""
        revenue = self._amount("revenue", "invalid_revenue")
        currency = None
        if revenue is not None:
            currency, is_known = parse_currency(self.properties.get("currency"), default=self.rules.default_currency)
            if not is_known:
                self.warnings.add("unknown_currency")
        return GoalHit(
            event=EventName(self.message.type, name),
            message_key=self.message.key,
            occurred_at=self.message.occurred_at,
            user_id=self.user,
            anonymous_id=self.anonymous,
            visitor_code=self.visitor,
            revenue=revenue,
            currency=currency,
            value=self._amount("value", "invalid_value"),
            properties=msgspec.json.encode(without_visitor_code(self.properties)).decode(),
        )

    def _amount(self, name: str, warning: str) -> Any:
        try:
            return parse_amount(self.properties.get(name))
        except NotMoneyError:
            self.warnings.add(warning)
            return None


def _read_track(event: _Event) -> Effects:
    name = event.name(event.fields.get("event"), event.fields.get("name"))
    rules = event.rules
    if name is None:
        raise RejectedError("missing_name")
    if name in rules.link_event_names:
        return Effects(event.change(), idle_reason="already_known")
    if name in rules.trait_event_names:
        trait = _find_trait(event)
        return Effects(event.change(traits=trait), idle_reason="already_known" if trait else "no_trait")
    personas = read_object(event.context.get("personas"), event.warnings)
    if (
        name in rules.entered_event_names
        or name in rules.exited_event_names
        or _is_audience(personas, event.properties)
    ):
        persona = _find_persona(event, name, personas)
        return Effects(
            event.change(persona=persona),
            event.hit(name) if rules.audience_events_make_goals else None,
            idle_reason="already_known" if persona else "no_persona",
        )
    return Effects(event.change(), event.hit(name))


def _read_page(event: _Event) -> Effects:
    fields, properties = event.fields, event.properties
    # Never the URL or the path: each would make a goal of its own (promises K-13).
    name = event.name(
        fields.get("name"), fields.get("event"), properties.get("name"), properties.get("title"), fields.get("category")
    )
    return Effects(event.change(), event.hit(name or UNNAMED[event.message.type]))


def _read_identify(event: _Event) -> Effects:
    # The destination sends traits as `properties` (W4), others as `traits`, RudderStack's Python SDK in the context.
    traits = without_visitor_code({**event.traits, **event.properties}) or without_visitor_code(event.context_traits)
    personas = read_object(event.context.get("personas"), event.warnings)
    persona = None
    if _is_audience(personas, traits):  # promises K-65: persona and trait
        persona = _check_persona(event, str(personas["computation_key"]), is_member=traits[personas["computation_key"]])
    return Effects(event.change(traits=traits, persona=persona), idle_reason="already_known")


def _read_group(event: _Event) -> Effects:
    given = event.fields.get("groupId")
    if isinstance(given, list) and len(given) == 1:  # Altis sends its groups so
        given = given[0]
    group = read_id(given, event.warnings)
    if group is None:
        raise RejectedError("missing_group_id")
    group_traits = without_visitor_code({**event.traits, **event.properties})
    return Effects(event.change(group=group, group_traits=group_traits), idle_reason="already_known")


def _read_alias(event: _Event) -> Effects:
    previous = read_id(event.fields.get("previousId"), event.warnings)
    if previous is None or event.user is None:
        raise RejectedError("missing_previous_id")
    return Effects(event.change(previous_user=previous), idle_reason="already_known")


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
    if len(name) > PERSONA_LENGTH:
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
