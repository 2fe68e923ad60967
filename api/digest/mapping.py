"""Derivation from a stored message to its goal hit and its facts about people. Pure.

With `sdk_readers` the only module that knows both goals and cohorts. Live digest, replay, forecast and trace call the
same `derive`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.digest.derivation import Derivation, RejectedError, SourceConfig, StoredMessage, TransformError
from api.digest.exposure_events import read_exposure
from api.digest.identified_event import IdentifiedEvent, without_visitor_code
from api.digest.readings import READINGS
from api.digest.sdk_readers import SDK_READERS
from api.events.body import UnreadableBodyError, read_body, read_object
from api.rules.actions import apply_rules
from api.rules.rule import RuledEvent, name_event
from cohorts.reserved_traits import find_type_mismatches

PERSONA_LENGTH: Final = 255
PERSONA_BYTES: Final = 500  # of its name: the public `common` names up to 2,000 of them
OUR_NAMES: Final = ("goalpost", "kameleoon", "kameleoon (actions)")  # in `integrations`, in lower case
AUDIENCE_CLASSES: Final = ("audience", "journey_step")  # no set, because a sender's value may not be hashable


def derive(message: StoredMessage, config: SourceConfig) -> Derivation:
    """Return the meaning of one message under its reading and its source's configuration.

    Pure, if the transform hook is: the same message and configuration give the same derivation.
    """
    warnings: set[str] = set()
    try:
        keeps_long_numbers = READINGS[message.reading].keeps_long_numbers
        body = read_body(message.body, warnings, keeps_long_numbers=keeps_long_numbers)
        fields = config.transform({**body, "type": message.type})
    except UnreadableBodyError:
        return Derivation(rejected="unreadable_body")
    except TransformError as error:
        return Derivation(failed="transform_failed", detail=str(error))
    if fields is None:
        return Derivation(idle_reason="dropped_by_transform")
    if READINGS[message.reading].heeds_integrations and config.heeds_integrations and is_excluded(fields):
        return Derivation(idle_reason="excluded_by_sender", warnings=tuple(sorted(warnings)))
    ruled = apply_rules(fields["type"], fields, config.rules, by_title=config.names_pages_by_title)
    if ruled.is_dropped or (ruled.type == "track" and not config.takes_track):
        reason = "dropped_by_rule" if ruled.is_dropped else "track_not_taken"
        return Derivation(idle_reason=reason, detail=ruled.reason, fired=tuple(ruled.fired))
    return _derive_ruled(message, config, fields, ruled, warnings | ruled.warnings)


def is_excluded(fields: Mapping[str, Any]) -> bool:
    """Return True if the sender excludes Goalpost by the event's `integrations`.

    One of OUR_NAMES with false excludes it. So does `All` with false, unless one of OUR_NAMES has true or an object,
    which Segment takes for true. Case does not matter. An event that Segment's Engage computed is excluded by name
    only: it bears `All: false` and the names of the destinations that it was routed to.
    """
    integrations = read_object(fields.get("integrations"), set())
    if not integrations:
        return False
    flags = {name.strip().casefold(): flag for name, flag in integrations.items()}
    own_flags = [flags.get(name) for name in OUR_NAMES]
    if any(flag is False for flag in own_flags):
        return True
    is_included = any(flag is True or isinstance(flag, dict | list) for flag in own_flags)
    return flags.get("all") is False and not is_included and not _is_computed(fields)


def _is_computed(fields: Mapping[str, Any]) -> bool:
    context = read_object(fields.get("context"), set())
    return "computation_class" in read_object(context.get("personas"), set())


def _derive_ruled(
    message: StoredMessage, config: SourceConfig, fields: Mapping[str, Any], ruled: RuledEvent, warnings: set[str]
) -> Derivation:
    """Derive an event that the rules let pass."""
    try:
        event = IdentifiedEvent(message, config, fields, ruled, warnings)
        effects = READERS[ruled.type](event)
    except RejectedError as rejection:
        return Derivation(rejected=str(rejection), warnings=tuple(sorted(warnings)), fired=tuple(ruled.fired))
    has_lost_goal = effects.goal is not None and not ruled.makes_goal
    goal = None if has_lost_goal else effects.goal
    cancellation = effects.cancellation if ruled.makes_goal else None
    if effects.change is not None:
        kept = (goal, cancellation, effects.visit_fact)  # of an exposure, the first time alone
        effects.change.is_kept_elsewhere = any(each is not None for each in kept)
    return Derivation(
        effects.change,
        goal,
        idle_reason="no_goal_by_rule" if has_lost_goal else effects.idle_reason,
        detail="\n".join(event.oddities),
        warnings=tuple(sorted(warnings)),
        fired=tuple(ruled.fired),
        visitor_field=event.visitor_field,
        cancellation=cancellation,
        visit_fact=effects.visit_fact,
        exposure=effects.exposure,
    )


@dataclass(frozen=True, slots=True)
class Glance:
    """Name and best identifier of a message, for a list."""

    name: str = ""
    id: str = ""
    id_field: str = ""  # the path of the id


def glance(message: StoredMessage, config: SourceConfig) -> Glance:
    """Return the name and best id of a message as it was sent, before transform hook and rules. Pure."""
    warnings: set[str] = set()
    try:
        fields = read_body(message.body, warnings)
    except UnreadableBodyError:
        return Glance()
    name = name_event(message.type, fields, warnings, by_title=config.names_pages_by_title)
    try:
        event = IdentifiedEvent(message, config, fields, RuledEvent(message.type, name), warnings)
    except RejectedError:
        return Glance(name or "")
    ids = (
        (event.visitor, event.visitor_field),
        (event.user, "userId"),
        (event.anonymous, "anonymousId"),
        (event.read_group_id(fields.get("groupId")), "groupId"),  # a group event may have no other id
    )
    return Glance(name or "", *next((id_, field) for id_, field in ids if id_ is not None))


def _read_track(event: IdentifiedEvent) -> Derivation:
    name, config = event.name, event.config
    if name in config.link_event_names:
        return Derivation(event.change(), idle_reason="already_known")
    if name in config.trait_event_names:
        trait = _find_trait(event)
        return Derivation(event.change(traits=trait), idle_reason="already_known" if trait else "no_trait")
    personas = read_object(event.context.get("personas"), event.warnings)
    if (
        name in config.entered_event_names
        or name in config.exited_event_names
        or _is_audience(personas, event.properties)
    ):
        persona = _find_persona(event, name, personas)
        return Derivation(
            event.change(persona=persona),
            event.hit() if config.audience_events_make_goals else None,
            idle_reason="already_known" if persona else "no_persona",
        )
    exposure = read_exposure(event) if name in config.exposure_event_names else None
    return Derivation(event.change(), event.hit(), idle_reason="already_known", exposure=exposure)


def _read_page(event: IdentifiedEvent) -> Derivation:
    return Derivation(event.change(), event.hit(), idle_reason="already_known")


def _read_identify(event: IdentifiedEvent) -> Derivation:
    # The destination sends traits as `properties` (W4), others as `traits`, RudderStack's Python SDK in the context.
    traits = without_visitor_code({**event.context_traits, **event.traits, **event.properties})
    oddities = find_type_mismatches(traits)
    if oddities:
        event.warnings.add("odd_trait")
        event.oddities += oddities
    personas = read_object(event.context.get("personas"), event.warnings)
    persona = None
    if _is_audience(personas, traits):  # promise K-65: persona and trait
        persona = _check_persona(event, str(personas["computation_key"]), is_member=traits[personas["computation_key"]])
    return Derivation(event.change(traits=traits, persona=persona), idle_reason="already_known")


def _read_group(event: IdentifiedEvent) -> Derivation:
    group = event.read_group_id(event.fields.get("groupId"))
    if group is None:
        raise RejectedError("missing_group_id")
    group_traits = without_visitor_code({**event.traits, **event.properties})
    return Derivation(event.change(group=group, group_traits=group_traits), idle_reason="already_known")


def _read_alias(event: IdentifiedEvent) -> Derivation:
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
    **SDK_READERS,
}


def _is_audience(personas: Mapping[str, Any], facts: Mapping[str, Any]) -> bool:
    """Return True if Segment marks these facts as an audience's, whatever the name of the event."""
    key = personas.get("computation_key")
    return (
        personas.get("computation_class") in AUDIENCE_CLASSES
        and isinstance(key, str)
        and isinstance(facts.get(key), bool)
    )


def _find_persona(event: IdentifiedEvent, name: str, personas: Mapping[str, Any]) -> tuple[str, bool] | None:
    """Return persona and membership of an audience event: the named key, else the only boolean (K-56, K-62)."""
    properties = without_visitor_code(event.properties)
    named = (properties.get("audience_key"), personas.get("computation_key"))
    key = next((key for key in named if isinstance(key, str) and key.strip()), None)
    if key is None:
        booleans = [name for name, value in properties.items() if isinstance(value, bool)]
        if len(booleans) != 1:
            return None
        key = booleans[0]
    membership = properties.get(key)
    if not isinstance(membership, bool):
        membership = name not in event.config.exited_event_names
    return _check_persona(event, key, is_member=membership)


def _check_persona(event: IdentifiedEvent, name: str, *, is_member: bool) -> tuple[str, bool] | None:
    if len(name) > PERSONA_LENGTH or len(name.encode()) > PERSONA_BYTES:
        event.warnings.add("long_persona")
        return None
    return name, is_member


def _find_trait(event: IdentifiedEvent) -> dict[str, Any]:
    """Return the trait of a computed-trait event, by the name that the event gives."""
    personas = read_object(event.context.get("personas"), event.warnings)
    for key in (event.properties.get("trait_key"), personas.get("computation_key")):
        if isinstance(key, str) and key in event.properties:
            return {key: event.properties[key]}
    return {}
