"""Validation of an event's envelope by its type: an event that could mean nothing is refused at ingest. Pure."""

from http import HTTPStatus
from typing import Final

from api.events.body import explain_bad_id, read_group_id, read_id, read_name
from api.events.envelope import Envelope, read_scalar
from api.events.refusal import Refusal
from api.events.types import EVENT_TYPES, Need

SENT_NAMES: Final = dict(zip(Envelope.__struct_fields__, Envelope.__struct_encode_fields__, strict=True))


def require_fields(type_: str, envelope: Envelope) -> None:
    """Raise Refusal (400) for an event that lacks a person or what its type needs (promises I-05, I-18, I-28)."""
    event_type = EVENT_TYPES[type_]
    need = event_type.need
    is_met = need is None or _is_met(need, envelope)
    if event_type.is_of_person or not is_met:
        _require_person(envelope)
    if need is not None and not is_met:
        wrong = "" if need.is_name else _explain_bad_ids(envelope, *need.fields)
        raise Refusal(HTTPStatus.BAD_REQUEST, need.code, wrong + need.message)


def _require_person(envelope: Envelope) -> None:
    if not any(_read_field(envelope, name) for name in ("user_id", "anonymous_id")):
        wrong = _explain_bad_ids(envelope, "user_id", "anonymous_id")
        message = f"{wrong}Send `userId` or `anonymousId`, and no placeholder such as `null`."
        raise Refusal(HTTPStatus.BAD_REQUEST, "no_identity", message)


def _is_met(need: Need, envelope: Envelope) -> bool:
    values = [_read_field(envelope, name, is_name=need.is_name) for name in need.fields]
    return any(values) if need.is_name else all(values)


def _read_field(envelope: Envelope, name: str, *, is_name: bool = False) -> str | None:
    """Return the id or the name in a field of the envelope, if there is one."""
    value = read_scalar(getattr(envelope, name))
    if is_name:
        return read_name(value, set())
    return (read_group_id if name == "group_id" else read_id)(value, set())


def _explain_bad_ids(envelope: Envelope, *names: str) -> str:
    """Return a sentence for each of these fields that is given and holds no id, each with a space after it."""
    wrong = ((SENT_NAMES[name], explain_bad_id(read_scalar(getattr(envelope, name)))) for name in names)
    return "".join(f"`{name}` {why}. " for name, why in wrong if why)
