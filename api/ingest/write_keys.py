"""Whose request it is: write keys in the forms that senders give them (wire-segment a2)."""

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from api.access import SourceAccess, find_source, find_sources, unauthorized
from api.ingest.intake import too_large
from api.ingest.splitting import split_array, split_object
from api.ingest.wire import NOTHING, is_present, scalar


class Keyed(msgspec.Struct, rename="camel"):
    """A body as far as it may say whose it is."""

    write_key: msgspec.Raw = NOTHING
    batch: msgspec.Raw = NOTHING


KEYED: Final = msgspec.json.Decoder(Keyed)
MOST_KEYS: Final = 100  # in the events of one batch; a stranger has them looked up


@dataclass(frozen=True, slots=True)
class Authorization:
    """What an Authorization header shows: a write key, an access token, or what is wrong with it."""

    write_key: str = ""
    token: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Keys:
    """The write keys in a body: at its top, and in the events of a batch."""

    top: str = ""
    items: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Senders:
    """Whose the events of a request are: all of one source, or each of the source whose write key it bears."""

    only: SourceAccess | None
    by_key: Mapping[str, SourceAccess] = field(default_factory=dict)

    @property
    def all(self) -> Collection[SourceAccess]:
        """Each source once."""
        if self.only is not None:
            return (self.only,)
        return {source.id: source for source in self.by_key.values()}.values()

    def sender_of(self, event: bytes) -> SourceAccess:
        """Return the source of an event. Raises Refusal (401) if neither the request nor the event has a valid key."""
        source = self.only or self.by_key.get(key := read_keys(event).top)
        if source is not None:
            return source
        if key:
            raise unauthorized("The `writeKey` of this event is unknown, or was revoked. The event was not stored.")
        raise unauthorized("This event has no `writeKey`, and others of its batch have several. It was not stored.")


def read_authorization(header: str) -> Authorization:
    """Return what the header shows. Whatever is no write key is no error yet: the query or the body may hold one.

    A proxy in front may want a name and a password of its own here.
    """
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if not scheme:
        return Authorization()
    if scheme.lower() == "bearer":
        return Authorization(token=token)
    if scheme.lower() != "basic":
        return Authorization(trouble="Send `Authorization: Basic base64(write_key:)`; the admin shows the write key.")
    try:
        decoded = base64.b64decode(token + "=" * (-len(token) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return Authorization(trouble="The Authorization header is not base64 of a write key and a colon.")
    # Some HTTP clients send an empty user where the key stands in the body.
    return Authorization(write_key=decoded.partition(":")[0])


def find_first(*write_keys: str) -> SourceAccess | None:
    """Return the source of the first of these keys that is valid."""
    return next(filter(None, map(find_source, filter(None, write_keys))), None)


def find_senders(keys: Keys) -> Senders:
    """Return whose the events of a body are, by the keys in it. Raises Refusal (413) for more keys than are looked up.

    A key that stands alone in the events of a batch is valid for those without one too.
    """
    top = find_first(keys.top)
    if top is not None or not keys.items:
        return Senders(top)
    if len(keys.items) == 1:
        return Senders(find_first(*keys.items))
    if len(keys.items) > MOST_KEYS:
        raise too_large(f"The events of the batch have more than {MOST_KEYS} write keys.")
    return Senders(None, find_sources(keys.items))


def read_keys(body: bytes) -> Keys:
    """Return the write keys in a body; none of what is no JSON, of which its reader says what is wrong."""
    if b'"writeKey"' not in body:
        return Keys()
    try:
        keyed = KEYED.decode(body)
        items = msgspec.json.decode(keyed.batch, type=list[Keyed]) if is_present(keyed.batch) else []
        return Keys(read_key(keyed.write_key), frozenset(filter(None, (read_key(item.write_key) for item in items))))
    except (msgspec.DecodeError, ValueError, RecursionError):
        return read_keys_leniently(body)


def read_key(raw: msgspec.Raw) -> str:
    """A write key, empty where there is none."""
    return str(scalar(raw) or "")


def read_keys_leniently(body: bytes) -> Keys:
    """Return the same of a body that msgspec refuses: a part of it may be no JSON, its key is read all the same."""
    fields = split_fields(body)
    try:
        items = split_array(fields["batch"]) if fields.get("batch", b"").startswith(b"[") else []
    except ValueError:
        items = []
    keys = [read_key(msgspec.Raw(each.get("writeKey", b""))) for each in (fields, *map(split_fields, items))]
    return Keys(keys[0], frozenset(filter(None, keys[1:])))


def split_fields(body: bytes) -> dict[str, bytes]:
    """Return the fields of an object, of which each may be no JSON; none of what is no object."""
    try:
        return split_object(body) if b'"writeKey"' in body else {}
    except (ValueError, RecursionError):
        return {}
