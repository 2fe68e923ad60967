"""Write keys of a request, in the forms that senders give them, and their sources."""

import base64
import binascii
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from api.events.envelope import MISSING, is_present, read_scalar
from api.events.splitting import split_array, split_object
from api.http.credentials import SourceAccess, check_token, find_source, find_sources, unauthorized
from api.http.endpoint import Request
from api.http.refused_keys import KeyProblem, record_refused_key
from api.ingest.accept import too_large


class KeyedBody(msgspec.Struct, rename="camel"):
    """A body as far as it may say whose it is."""

    write_key: msgspec.Raw = MISSING
    batch: msgspec.Raw = MISSING


KEYED_BODY_DECODER: Final = msgspec.json.Decoder(KeyedBody)
MAX_KEYS: Final = 100  # in the events of one batch; a stranger has them looked up


@dataclass(frozen=True, slots=True)
class RequestKeys:
    """What a request shows before its body: write keys, an access token, and what is wrong with its header."""

    write_keys: tuple[str, ...] = ()
    token: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class BodyKeys:
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
            record_refused_key(KeyProblem.WRITE_KEY, key)
            raise unauthorized("The `writeKey` of this event is unknown, or was revoked. The event was not stored.")
        record_refused_key(KeyProblem.NO_KEY)
        raise unauthorized("This event has no `writeKey`, and others of its batch have several. It was not stored.")


def read_request_keys(request: Request) -> RequestKeys:
    """Return what the Authorization header and the query show; a key of the header comes first."""
    shown = read_authorization(request.header("HTTP_AUTHORIZATION"))
    asked = request.query().get("writeKey")
    return replace(shown, write_keys=(*shown.write_keys, asked)) if asked else shown


def read_authorization(header: str) -> RequestKeys:
    """Return what the header shows. Whatever is no write key is no error yet: the query or the body may hold one.

    A proxy in front may want a name and a password of its own here.
    """
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if not scheme:
        return RequestKeys()
    if scheme.lower() == "bearer":
        return RequestKeys(token=token)
    if scheme.lower() != "basic":
        return RequestKeys(trouble="Send `Authorization: Basic base64(write_key:)`; the admin shows the write key.")
    try:
        decoded = base64.b64decode(token + "=" * (-len(token) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return RequestKeys(trouble="The Authorization header is not base64 of a write key and a colon.")
    key = decoded.partition(":")[0]
    return RequestKeys((key,) if key else ())  # some HTTP clients send an empty user where the key stands in the body


def find_first(*write_keys: str) -> SourceAccess | None:
    """Return the source of the first of these keys that is valid."""
    return next(filter(None, map(find_source, filter(None, write_keys))), None)


def find_senders_of_request(shown: RequestKeys) -> Senders:
    """Return whose the request is by what it shows before its body, nobody's if that is not enough.

    Raises Refusal (401) for a token that does not open the site of the key.
    """
    return limit_to_token(Senders(find_first(*shown.write_keys)), shown)


def find_senders_in_body(body: bytes, shown: RequestKeys) -> Senders:
    """Return whose the events of a body are, by the keys in it.

    Raises Refusal: 401 if none of them is valid, 413 for more keys than are looked up.
    """
    keys = read_keys(body)
    senders = limit_to_token(find_senders_of_keys(keys), shown)
    if senders.all:
        return senders
    if unknown := [*shown.write_keys, *filter(None, [keys.top]), *sorted(keys.items)]:
        record_refused_key(KeyProblem.WRITE_KEY, unknown[0])
        raise unauthorized("Unknown write key, or one that was revoked. The admin shows the keys of each source.")
    lacking = "Send the source's write key: `Authorization: Basic base64(write_key:)`, or `writeKey`."
    record_refused_key(KeyProblem.NO_KEY)
    raise unauthorized(shown.trouble or lacking)


def find_senders_of_keys(keys: BodyKeys) -> Senders:
    """Return whose the events of a body with these keys are, nobody's if none is valid. Raises Refusal (413).

    A key that stands alone in the events of a batch is valid for those without one too.
    """
    top = find_first(keys.top)
    if top is not None or not keys.items:
        return Senders(top)
    if len(keys.items) == 1:
        return Senders(find_first(*keys.items))
    if len(keys.items) > MAX_KEYS:
        raise too_large(f"The events of the batch have more than {MAX_KEYS} write keys.")
    return Senders(None, find_sources(keys.items))


def limit_to_token(senders: Senders, shown: RequestKeys) -> Senders:
    """Return those of the senders whose sites the access token opens; all of them without a token.

    Raises Refusal (401) if it opens none of them.
    """
    if not shown.token or not senders.all:
        return senders
    site_ids = check_token(shown.token).site_ids
    if not any(source.site_id in site_ids for source in senders.all):
        raise unauthorized("The access token does not open the site of this write key.")
    return replace(
        senders, by_key={key: source for key, source in senders.by_key.items() if source.site_id in site_ids}
    )


def read_keys(body: bytes) -> BodyKeys:
    """Return the write keys in a body; none of what is no JSON, of which its reader says what is wrong."""
    if b'"writeKey"' not in body:
        return BodyKeys()
    try:
        keyed = KEYED_BODY_DECODER.decode(body)
        items = msgspec.json.decode(keyed.batch, type=list[KeyedBody]) if is_present(keyed.batch) else []
        return BodyKeys(
            read_key(keyed.write_key), frozenset(filter(None, (read_key(item.write_key) for item in items)))
        )
    except (msgspec.DecodeError, ValueError, RecursionError):
        return read_keys_leniently(body)


def read_key(raw: msgspec.Raw) -> str:
    """A write key, empty where there is none."""
    return str(read_scalar(raw) or "")


def read_keys_leniently(body: bytes) -> BodyKeys:
    """Return the same of a body that msgspec refuses: a part of it may be no JSON, its key is read all the same."""
    fields = split_fields(body)
    try:
        items = split_array(fields["batch"]) if fields.get("batch", b"").startswith(b"[") else []
    except ValueError:
        items = []
    keys = [read_key(msgspec.Raw(each.get("writeKey", b""))) for each in (fields, *map(split_fields, items))]
    return BodyKeys(keys[0], frozenset(filter(None, keys[1:])))


def split_fields(body: bytes) -> dict[str, bytes]:
    """Return the fields of an object, of which each may be no JSON; none of what is no object."""
    try:
        return split_object(body) if b'"writeKey"' in body else {}
    except (ValueError, RecursionError):
        return {}
