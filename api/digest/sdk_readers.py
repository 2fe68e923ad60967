"""Readers of the lines of Kameleoon's SDKs, from an event to its derivation. Pure."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard

import msgspec

from api.digest.derivation import Derivation, RejectedError
from api.digest.identified_event import IdentifiedEvent
from cohorts.custom_values import CustomValues
from goals.cancelling import NewCancellation
from goals.experiments.catalogue import SaidVariation
from goals.matching import BY_ID, EventName
from goals.visit_facts import NewExposure, NewFact, VisitHolder
from goals.visit_models import VisitFact

Type = VisitFact.Type


def _read_conversion(event: IdentifiedEvent) -> Derivation:
    goal_id = event.properties.get("goalId")
    if not _is_whole(goal_id) or goal_id < 0:
        raise RejectedError("unknown_goal")
    if event.properties.get("revenue") == 0:  # the SDK for Python sends 0.0 if its caller gives none
        event.properties = {**event.properties, "revenue": None}
    hit = event.hit(EventName(BY_ID, str(goal_id)))
    if event.properties.get("negative") is not True:
        return Derivation(event.change(), hit, idle_reason="already_known")
    cancellation = NewCancellation(
        hit.event, _find_holder(event), hit.message_key, hit.occurred_at, hit.revenue, hit.currency, hit.properties
    )
    return Derivation(event.change(), idle_reason="already_known", cancellation=cancellation)


def _read_custom_data(event: IdentifiedEvent) -> Derivation:
    index, counts = event.properties.get("index"), event.properties.get("valuesCountMap")
    if not _is_whole(index) or not isinstance(counts, dict):
        raise RejectedError("invalid_line")
    values = CustomValues(
        index,
        {value: count if _is_whole(count) else 1 for value, count in counts.items()},
        overwrites=event.properties.get("overwrite") is not False,
    )
    if values.is_too_long:
        event.warnings.add("long_custom_data")
    change = event.change(custom_data=None if values.is_too_long else values)
    return Derivation(change, idle_reason="already_known", visit_fact=_make_fact(event, Type.CUSTOM_DATA))


def _read_exposure(event: IdentifiedEvent) -> Derivation:
    experiment, variation = event.properties.get("id"), event.properties.get("variationId")
    if not _is_whole(experiment) or not _is_whole(variation):
        raise RejectedError("invalid_line")
    said = SaidVariation(
        experiment, variation, str(experiment), str(variation), at=event.message.occurred_at, tag="kameleoon"
    )
    exposure = NewExposure(_find_holder(event), said)
    return Derivation(event.change(), idle_reason="already_known", exposure=exposure)


def _reader_of(type_: Type) -> Callable[[IdentifiedEvent], Derivation]:
    """Return the reader of events that say nothing but a fact of a visit."""

    def read(event: IdentifiedEvent) -> Derivation:
        return Derivation(event.change(), idle_reason="already_known", visit_fact=_make_fact(event, type_))

    return read


def _make_fact(event: IdentifiedEvent, type_: Type) -> NewFact:
    message = event.message
    return NewFact(
        _find_holder(event),
        type_,
        message.occurred_at,
        message.position,
        message.message_id or "",
        msgspec.json.encode(event.properties).decode(),
    )


def _find_holder(event: IdentifiedEvent) -> VisitHolder:
    """Return the visitor code of an event, or its user if the sender knew no code."""
    return VisitHolder(event.visitor, is_user=False) if event.visitor else VisitHolder(event.user or "", is_user=True)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


SDK_READERS: Final[Mapping[str, Callable[[IdentifiedEvent], Derivation]]] = {
    "conversion": _read_conversion,
    "custom_data": _read_custom_data,
    "page_view": _reader_of(Type.PAGE_VIEW),
    "static_data": _reader_of(Type.STATIC_DATA),
    "geolocation": _reader_of(Type.GEOLOCATION),
    "exposure": _read_exposure,
}
