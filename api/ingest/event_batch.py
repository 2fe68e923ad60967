"""Batches of events as `/v1/batch` takes them: the events, and the objects of the batch that hold for all of them."""

from collections.abc import Mapping
from typing import Final

import msgspec

from api.events.envelope import MISSING, invalid_json, is_present, read_fields
from api.events.splitting import split_array, split_object
from api.ingest import accept

BATCH_BYTES: Final = 4 * 1_048_576
MERGED_BYTES: Final = 4 * BATCH_BYTES  # of the events with the context of their batch


class EventBatch(msgspec.Struct, rename="camel"):
    """A batch: its events unread, and what holds for all of them."""

    batch: list[msgspec.Raw]
    context: msgspec.Raw = MISSING
    integrations: msgspec.Raw = MISSING
    sent_at: msgspec.Raw = MISSING
    write_key: msgspec.Raw = MISSING


BATCH_DECODER: Final = msgspec.json.Decoder(EventBatch)


def read_batch(body: bytes) -> EventBatch:
    """Return a batch with its events unread. Raises Refusal (400, `invalid_json`).

    An event that is not JSON does not affect the others: `parse_event` refuses it alone.
    """
    try:
        if not body.isascii():
            body.decode()  # msgspec does not look inside the values it skips
        return BATCH_DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_json('it is no object whose `batch` is an array, {"batch": [{"type": "track", …}]}') from error
    except (ValueError, RecursionError):
        try:
            return _split_batch(body)
        except (ValueError, RecursionError) as error:
            raise invalid_json(str(error)) from error


class BatchMerger:
    """Puts the `context` and `integrations` of a batch below those of its events."""

    def __init__(self, batch: EventBatch) -> None:
        self._size = 0
        self._shared = {
            name: fields
            for name, value in (("context", batch.context), ("integrations", batch.integrations))
            if (fields := _read_object(value))
        }

    def merge(self, event: bytes) -> bytes:
        """Return an event with the objects of its batch.

        Raises Refusal (413) if the events so far are larger than several requests: a context may be large.
        """
        merged = _merge(event, self._shared) if self._shared else event
        self._size += len(merged)
        if self._size > MERGED_BYTES:
            raise accept.too_large("The batch's context is too large to be given to each of its events.")
        return merged


def merge_all(batch: EventBatch) -> list[bytes]:
    """Return the events of a batch with its objects. Raises Refusal (413)."""
    merger = BatchMerger(batch)
    return [merger.merge(event) for event in map(bytes, batch.batch)]


def _split_batch(body: bytes) -> EventBatch:
    """Return a batch that msgspec cannot read. Raises ValueError if an object that holds for all events is not JSON."""
    fields = split_object(body)
    if "batch" not in fields:
        raise ValueError("it has no `batch`")
    batch = EventBatch([msgspec.Raw(item) for item in split_array(fields.pop("batch"))])
    for name, attribute in (("context", "context"), ("integrations", "integrations"), ("sentAt", "sent_at")):
        raw = fields.get(name, b"")
        if raw.startswith(b"{"):  # no other value can hold what the events would lack
            raw.decode()
            read_fields(raw)
        setattr(batch, attribute, msgspec.Raw(raw))
    return batch


def _merge(raw: bytes, shared: Mapping[str, Mapping[str, msgspec.Raw]]) -> bytes:
    try:
        event = read_fields(raw)
    except (ValueError, RecursionError):
        return raw  # its reader says what is wrong
    for name, fields in shared.items():
        own = event.get(name, MISSING)
        merged = {**fields, **_read_object(own)} if is_present(own) else fields
        event[name] = msgspec.Raw(msgspec.json.encode(merged))
    return msgspec.json.encode(event)


def _read_object(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the fields of an object, none of any other value."""
    if bytes(raw)[:1] != b"{":
        return {}
    try:
        return read_fields(bytes(raw))
    except (ValueError, RecursionError):
        return {}
