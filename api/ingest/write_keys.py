"""Whose request it is: write keys in the forms that senders give them (wire-segment a2)."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Final

import msgspec

from api.access import SourceAccess, find_source, unauthorized
from api.ingest.wire import NOTHING, is_present, scalar


class Keyed(msgspec.Struct, rename="camel"):
    """A body as far as it may say whose it is."""

    write_key: msgspec.Raw = NOTHING
    batch: msgspec.Raw = NOTHING


KEYED: Final = msgspec.json.Decoder(Keyed)


@dataclass(frozen=True, slots=True)
class BearerToken:
    """An access token, shown in place of a write key, which then stands in the body."""

    token: str


def read_header(authorization: str) -> str | BearerToken | None:
    """The write key of an Authorization header, or its token. Raises Refusal (401)."""
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if not scheme:
        return None
    if scheme.lower() == "bearer":
        return BearerToken(token)
    if scheme.lower() != "basic":
        raise unauthorized("Send `Authorization: Basic base64(write_key:)`; the admin shows the write key.")
    try:
        decoded = base64.b64decode(token + "=" * (-len(token) % 4), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise unauthorized("The Authorization header is not base64 of a write key and a colon.") from error
    key = decoded.partition(":")[0]
    # Some HTTP clients send an empty user where the key stands in the body.
    return key or None


def known_source(write_key: str) -> SourceAccess:
    """The source of a write key. Raises Refusal (401)."""
    source = find_source(write_key)
    if source is None:
        raise unauthorized("Unknown write key, or one that was revoked. The admin shows the keys of each source.")
    return source


def find_keys(body: bytes) -> set[str]:
    """The write keys in a body: at its top, and where none is there, in the events of a batch (analytics-next)."""
    if b'"writeKey"' not in body:
        return set()
    try:
        keyed = KEYED.decode(body)
        top = read_key(keyed.write_key)
        items = msgspec.json.decode(keyed.batch, type=list[Keyed]) if not top and is_present(keyed.batch) else []
    except (msgspec.DecodeError, ValueError, RecursionError):
        return find_keys_leniently(body)
    return {top} if top else {key for item in items if (key := read_key(item.write_key))}


def read_key(raw: msgspec.Raw) -> str:
    """A write key, empty where there is none."""
    return str(scalar(raw) or "")


def find_keys_leniently(body: bytes) -> set[str]:
    """The same of JSON that msgspec refuses; none of what is no JSON, of which whoever reads it says what is wrong."""
    try:
        fields = json.loads(body, parse_float=str, parse_int=str)  # not the numbers: anybody may send millions
    except (ValueError, RecursionError):
        return set()
    items = [fields]
    if isinstance(fields, dict) and not fields.get("writeKey") and isinstance(fields.get("batch"), list):
        items = fields["batch"]
    return {str(item["writeKey"]) for item in items if isinstance(item, dict) and item.get("writeKey")}
