"""The envelope of an event: the fields that ingest reads. All other fields stay in the stored bytes. Pure."""

import hashlib
import json
import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

import msgspec

from api.events.clock import find_event_time
from api.events.refusal import Refusal
from api.events.splitting import split_array
from api.events.types import TYPES, infer_type
from cohorts import ids

MESSAGE_ID_LENGTH: Final = 255
MISSING: Final = msgspec.Raw(b"")
MAX_NUMBER_LENGTH: Final = 40  # characters: jsonb writes 1e308 with 309 of them, and 1e-300 with 302
# The growth of all numbers of an event when jsonb writes them out: the 4 bytes of 1e39 become 40.
MAX_GROWTH_BYTES: Final = 262_144


class Envelope(msgspec.Struct, rename="camel"):
    """The fields that tell what an event is, raw, because one odd value must not hide the others."""

    type: msgspec.Raw = MISSING
    event: msgspec.Raw = MISSING
    name: msgspec.Raw = MISSING
    group_id: msgspec.Raw = MISSING
    previous_id: msgspec.Raw = MISSING
    user_id: msgspec.Raw = MISSING
    anonymous_id: msgspec.Raw = MISSING
    properties: msgspec.Raw = MISSING
    traits: msgspec.Raw = MISSING
    message_id: msgspec.Raw = MISSING
    timestamp: msgspec.Raw = MISSING
    original_timestamp: msgspec.Raw = MISSING
    sent_at: msgspec.Raw = MISSING


class IncomingEvent(msgspec.Struct, frozen=True):
    """One event as the inbox stores it."""

    type: str
    message_id: str | None
    position: int
    received_at: datetime
    occurred_at: datetime
    body: bytes
    warnings: tuple[str, ...] = ()
    reason: str = ""  # a code if the event is refused
    detail: str = ""  # the message to the sender if the event is refused
    content_encoding: str = ""  # of a body that could not be decoded
    refusal_key: UUID | None = None  # shared by identical refused events (api.ingest.refusals)


ENVELOPE_DECODER: Final = msgspec.json.Decoder(Envelope)
OBJECT_DECODER: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
LIST_DECODER: Final = msgspec.json.Decoder(list[msgspec.Raw])


def read_events(body: bytes) -> tuple[list[bytes], bool]:
    """Return the events of a request, each as unread bytes, and True if they came as an array.

    An item that is not JSON does not affect the others, because its reader refuses it alone. Raises Refusal (400,
    `invalid_json`) for an empty body, or an array whose items cannot be separated.
    """
    stripped = body.lstrip(b" \t\r\n")
    if not stripped:
        raise invalid_json("it is empty")
    if not stripped.startswith(b"["):
        return [body], False  # read_event reports what is wrong with it
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look inside the values it skips
        events = [bytes(raw) for raw in LIST_DECODER.decode(stripped)]
    except (ValueError, RecursionError):
        try:
            events = split_array(stripped)
        except ValueError as error:
            raise invalid_json(str(error)) from error
    if not events:
        raise invalid_json("the array is empty")
    return events, True


def invalid_json(what: str) -> Refusal:
    """Return 400 with the message of the parser."""
    return Refusal(
        HTTPStatus.BAD_REQUEST, "invalid_json", f"The body must be one JSON event or an array of events: {what}."
    )


def read_event(raw: bytes, *, position: int, received_at: datetime) -> IncomingEvent:
    """Return one event as the inbox stores it. Raises Refusal (400): `invalid_json` or `invalid_event`."""
    envelope = parse_envelope(raw, position=position)
    sent_at = read_scalar(envelope.sent_at)
    return make_incoming_event(
        envelope, raw, type_=read_type(envelope), sent_at=sent_at, position=position, received_at=received_at
    )


def parse_envelope(raw: bytes, *, position: int) -> Envelope:
    """Return the envelope of an event. Raises Refusal (400, `invalid_json`)."""
    try:
        if not raw.isascii():
            raw.decode()  # msgspec does not look inside the values it skips
        return read_envelope(raw)
    except msgspec.ValidationError as error:
        raise invalid_json(f"event {position} is not an object, or holds a number that no reader takes") from error
    except (ValueError, RecursionError) as error:
        raise invalid_json(str(error)) from error


def make_incoming_event(
    envelope: Envelope, raw: bytes, *, type_: str, sent_at: object, position: int, received_at: datetime
) -> IncomingEvent:
    """Return an event as the inbox stores it. `sent_at` corrects its time (api.events.clock)."""
    message_id, id_warnings = read_message_id(read_scalar(envelope.message_id))
    stamped = find_event_time(
        timestamp=read_scalar(envelope.timestamp),
        original=read_scalar(envelope.original_timestamp),
        sent_at=sent_at,
        received_at=received_at,
    )
    return IncomingEvent(type_, message_id, position, received_at, stamped.at, raw, (*id_warnings, *stamped.warnings))


def read_fields(raw: bytes) -> dict[str, msgspec.Raw]:
    """Return the fields of an object, unread. Raises ValueError for any other value."""
    try:
        return OBJECT_DECODER.decode(raw)
    except msgspec.DecodeError:
        # JSON may hold lone surrogates, which msgspec refuses even in values that it skips.
        fields = lenient_decoder(set(), NumberReader().read).decode(raw.decode())
        if not isinstance(fields, dict):
            raise ValueError("it is not an object") from None  # noqa: TRY004 - it is about JSON
        return {clean_text(name): msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()}


def read_envelope(raw: bytes) -> Envelope:
    """Return the envelope of one event. Raises msgspec.ValidationError if it is no object, ValueError if no JSON."""
    try:
        return ENVELOPE_DECODER.decode(raw)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return msgspec.convert(read_fields(raw), Envelope)


def read_float(text: str) -> float | int:
    """Return a JSON number with a point or an exponent as jsonb gives it back. Raises ValueError if no float holds it.

    jsonb keeps no exponent and no negative zero: 1e22 comes back as an integer. A value must be equal to itself before
    and after it was stored (promise K-71).
    """
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is out of range")
    if "e+" in repr(number):
        return int(Decimal(repr(number)))
    return number or 0.0


def read_number(text: str) -> float | int:
    """Return a JSON number as `read_body` does. Raises ValueError for more digits than Python converts."""
    return read_float(text) if set(text) & set(".eE") else int(text)


def written_length(number: float) -> int:
    """Return the number of characters with which jsonb writes a number, without an exponent."""
    mantissa, _, exponent = repr(number).partition("e")
    if not exponent:
        return len(mantissa)
    digits, power = len(mantissa.lstrip("-").replace(".", "")), int(exponent)
    return mantissa.startswith("-") + (power + 1 if power > 0 else 1 - power + digits)


class NumberReader:
    """Reads the numbers of one event that have a point or an exponent, and bounds their growth in jsonb."""

    def __init__(self) -> None:
        self._growth = 0

    @property
    def grow_too_much(self) -> bool:
        """Return True if the numbers read so far grow by too many bytes."""
        return self._growth > MAX_GROWTH_BYTES

    def read(self, text: str) -> float | int:
        """Return a number as `read_float` does. Raises ValueError if it is too long when it is written out."""
        number = read_float(text)
        length = written_length(float(text))
        if length > MAX_NUMBER_LENGTH:
            raise ValueError(f"{text[:20]} has {length} characters when it is written out")
        self._growth += max(0, length - len(text))
        return number


def keep_exponents_as_text(text: str) -> float | int:
    """Return a number without an exponent; raise ValueError for one with an exponent, so that its text is kept."""
    if "e" in text or "E" in text:
        raise ValueError(f"{text[:20]} is one of too many that are long when they are written out")
    return read_float(text)


def lenient_decoder(warnings: set[str], read_number: Callable[[str], float | int] = read_float) -> json.JSONDecoder:
    """Return a decoder of all that JSON allows and msgspec refuses: lone surrogates, numbers that fit no float or int.

    A number for which `read_number` raises ValueError is kept as its text, with a warning. `NaN` and `Infinity` are
    not JSON: ValueError.
    """

    def keep_integer(text: str) -> int | str:
        try:
            return int(text)
        except ValueError:  # more digits than Python converts
            warnings.add("number_out_of_range")
            return text

    def keep_float(text: str) -> float | int | str:
        try:
            return read_number(text)
        except ValueError:
            warnings.add("number_out_of_range")
            return text

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    return json.JSONDecoder(parse_int=keep_integer, parse_float=keep_float, parse_constant=refuse)


def read_type(envelope: Envelope) -> str:
    """Return the event's type in lower case: given, or inferred for old destinations (promise W6)."""
    given = read_scalar(envelope.type)
    if given is not None:
        if given in TYPES:
            return str(given)
        folded = given.strip().lower() if isinstance(given, str) else ""
        if folded in TYPES:  # some senders write `Track`, and RudderStack accepts it
            return folded
        shown = str(given)[:40].encode("ascii", "replace").decode()
        raise invalid_event(f"`type` is {shown!r}")
    inferred = infer_type(lambda name: is_present(getattr(envelope, name)))
    if inferred is not None:
        return inferred
    if is_present(envelope.name):
        raise invalid_event("`type` is missing, and `name` alone fits a page as well as a screen")
    raise invalid_event("`type` is missing and no field tells what it is")


def invalid_event(what: str) -> Refusal:
    """Return 400 for an event of an unknown type."""
    return Refusal(
        HTTPStatus.BAD_REQUEST, "invalid_event", f"The event cannot be taken: {what}. Send one of {', '.join(TYPES)}."
    )


def read_message_id(given: Any) -> tuple[str | None, tuple[str, ...]]:
    """Return (the messageId that deduplicates, warnings): a number as its text, a very long text as its hash.

    A placeholder (cohorts.ids) is no messageId, because different events would share it.
    """
    if given is None:
        return None, ()
    spelled = None if isinstance(given, bool) else ids.spell(given)
    if spelled is None:
        return None, ("unreadable_message_id",)
    text = clean_text(spelled)
    if not text.strip():
        return None, ()
    if len(text) <= MESSAGE_ID_LENGTH and ids.names_nothing(text):
        return None, ("placeholder_message_id",)
    if len(text) > MESSAGE_ID_LENGTH:
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest(), ("long_message_id",)
    return text, ()


def find_message_id(raw: bytes) -> str | None:
    """Return the messageId of a refused event, so that its message can be found by it."""
    try:
        envelope = parse_envelope(raw, position=0)
    except Refusal:
        return None
    return read_message_id(read_scalar(envelope.message_id))[0]


def is_present(raw: msgspec.Raw) -> bool:
    """Return True if a field is given and not null."""
    return bytes(raw) not in {b"", b"null"}


def read_scalar(raw: msgspec.Raw) -> Any:
    """Return a field's value, None if absent. Lone surrogates, which msgspec refuses, are kept for `clean_text`."""
    if not is_present(raw):
        return None
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        try:
            return json.loads(bytes(raw))
        except (ValueError, RecursionError):
            return ()  # a value that no field accepts


def clean_text(text: str) -> str:
    """Return a text that PostgreSQL can hold: U+FFFD replaces NUL characters and lone surrogates."""
    text = text.replace("\0", "\ufffd")
    if text.isascii():  # nearly always, and ten times faster
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
