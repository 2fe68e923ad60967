"""Write keys of a request, in the forms that senders give them, and their sources."""

import base64
import binascii
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from api.events.envelope import MISSING, is_present, read_scalar
from api.events.splitting import split_array, split_object
from api.http.access import AccessCheck
from api.http.credentials import SourceAccess, check_token, find_source, find_sources, unauthorized
from api.http.endpoint import Request
from api.http.refused_keys import KeyProblem, record_refused_key
from api.http.threads import LIGHT_BYTES, compute_for
from api.ingest.accept import too_large


class KeyedBody(msgspec.Struct, rename="camel"):
    """The fields of a body that may hold write keys."""

    write_key: msgspec.Raw = MISSING
    batch: msgspec.Raw = MISSING


KEYED_BODY_DECODER: Final = msgspec.json.Decoder(KeyedBody)
MAX_KEYS: Final = 100  # in the events of one batch, because each is looked up


@dataclass(frozen=True, slots=True)
class RequestKeys:
    """Write keys and access token of a request before its body, and the problem of its header."""

    write_keys: tuple[str, ...] = ()
    token: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class BodyKeys:
    """Write keys of a body: at its top, and in the events of a batch."""

    top: str = ""
    items: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Senders:
    """The sources of a request's events: one for all, or one for each write key."""

    only: SourceAccess | None
    by_key: Mapping[str, SourceAccess] = field(default_factory=dict)

    @property
    def all(self) -> Collection[SourceAccess]:
        """Return each source once."""
        if self.only is not None:
            return (self.only,)
        return {source.id: source for source in self.by_key.values()}.values()

    @property
    def share(self) -> Hashable:
        """Return whose share of memory and threads they take: that of one of the sources."""
        return "source", next(iter(self.all)).id

    def find_source_of(self, event: bytes) -> SourceAccess:
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
    """Return the keys of the Authorization header and of the query, in this order."""
    shown = read_authorization(request.header("authorization"))
    asked = request.query().get("writeKey")
    return replace(shown, write_keys=(*shown.write_keys, asked)) if asked else shown


def read_authorization(header: str) -> RequestKeys:
    """Return the keys of the header. A header without a write key is no error, because the query or body may hold one.

    A proxy in front may need a name and a password of its own in this header.
    """
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if not scheme:
        return RequestKeys()
    if scheme.lower() == "bearer":
        return RequestKeys(token=token)
    if scheme.lower() != "basic":
        return RequestKeys(problem="Send `Authorization: Basic base64(write_key:)`; Settings, Sources, shows the key.")
    try:
        decoded = base64.b64decode(token + "=" * (-len(token) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return RequestKeys(problem="The Authorization header is not base64 of a write key and a colon.")
    key = decoded.partition(":")[0]
    return RequestKeys((key,) if key else ())  # some HTTP clients send an empty user if the key is in the body


def find_first(*write_keys: str) -> SourceAccess | None:
    """Return the source of the first valid key."""
    return next(filter(None, map(find_source, filter(None, write_keys))), None)


def find_senders_of_request(shown: RequestKeys) -> Senders:
    """Return the senders of a request by its keys before the body; none if there is no valid one.

    Raises Refusal (401) for a token that does not open the site of the key.
    """
    return limit_to_token(Senders(find_first(*shown.write_keys)), shown)


SENDERS: Final = AccessCheck(find_senders_of_request)


async def find_senders_in_body(body: bytes, shown: RequestKeys, *, address: str) -> Senders:
    """Return the senders of a body by its keys.

    Raises Refusal: 401 if no key is valid, 413 for too many keys.
    """
    keys = read_keys(body) if len(body) <= LIGHT_BYTES else await compute_for(address, read_keys, body)
    return await SENDERS_BY_BODY.find((keys, shown))


def check_body_keys(asked: tuple[BodyKeys, RequestKeys]) -> Senders:
    """Return the senders of these keys of body and request. Raises Refusal as `find_senders_in_body` does."""
    keys, shown = asked
    senders = limit_to_token(find_senders_of_keys(keys), shown)
    if senders.all:
        return senders
    if unknown := [*shown.write_keys, *filter(None, [keys.top]), *sorted(keys.items)]:
        record_refused_key(KeyProblem.WRITE_KEY, unknown[0])
        raise unauthorized("Unknown write key, or one that was revoked. Settings, Sources, shows all keys.")
    lacking = "Send the source's write key: `Authorization: Basic base64(write_key:)`, or `writeKey`."
    record_refused_key(KeyProblem.NO_KEY)
    raise unauthorized(shown.problem or lacking)


SENDERS_BY_BODY: Final = AccessCheck(check_body_keys)


def find_senders_of_keys(keys: BodyKeys) -> Senders:
    """Return the senders of a body with these keys; none if no key is valid. Raises Refusal (413).

    A single key among the events of a batch counts for events without a key, too.
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
    """Return the senders of sites that the access token opens; all senders without a token.

    Raises Refusal (401) if it opens none of their sites.
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
    """Return the write keys in a body; none if it is not JSON, which its reader reports."""
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
    """Return a write key, empty if there is none."""
    return str(read_scalar(raw) or "")


def read_keys_leniently(body: bytes) -> BodyKeys:
    """Return the write keys in a body with a part that is not JSON."""
    fields = split_fields(body)
    try:
        items = split_array(fields["batch"]) if fields.get("batch", b"").startswith(b"[") else []
    except ValueError:
        items = []
    keys = [read_key(msgspec.Raw(item.get("writeKey", b""))) for item in (fields, *map(split_fields, items))]
    return BodyKeys(keys[0], frozenset(filter(None, keys[1:])))


def split_fields(body: bytes) -> dict[str, bytes]:
    """Return the fields of an object, each of which may not be JSON; none of any other value."""
    try:
        return split_object(body) if b'"writeKey"' in body else {}
    except (ValueError, RecursionError):
        return {}
