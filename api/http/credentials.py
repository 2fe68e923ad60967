"""Lookups of credentials, access tokens, sites and sources, each cached for seconds."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Final

import msgspec
from cachetools.func import ttl_cache
from django.conf import settings
from django.core import signing

from api.events.refusal import Refusal
from api.http.database import fetch_all
from api.http.key_usage import UsedKey, record_use
from api.http.refused_keys import KeyProblem, hint_of, record_refused_key
from api.models import Scope
from api.models.budgets import Budget, resolve_budget
from api.rules.actions import DROPS, REDACTIONS
from api.rules.rule import EventRule

CACHE_SECONDS: Final = 2.0  # twice as long passes at most (api.http.access): a revoked credential ends within 5 s
CACHE_ENTRIES: Final = 2_000
CACHES: Final[list[Callable[[], None]]] = []  # functions that clear those of api.http.access
API_KEY: Final = msgspec.json.Decoder(dict[str, str])
URL_SAFE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
SITECODE: Final = re.compile(r"[a-z0-9]{10}\Z")
TOKEN_SECONDS: Final = 7_200  # as Kameleoon's own
RULES: Final = msgspec.json.Decoder(list[EventRule])
DROP_LIST: Final = ", ".join(f"'{action}'" for action in DROPS)
# Columns of a source `d`, with its rules.
SOURCE_COLUMNS: Final = f"""
    d.id, d.kind, d.is_enabled, d.takes_track,
    d.events_per_minute, d.bytes_per_minute, d.events_per_day, d.bytes_per_day,
    (SELECT n.names_pages_by_title FROM api_site n WHERE n.id = d.site_id),
    EXISTS (SELECT 1 FROM api_rule r WHERE r.site_id = d.site_id AND r.source_id = d.id AND r.is_enabled
               AND r.action IN ({DROP_LIST})), (
        SELECT json_agg(json_build_object(
                   'id', r.id, 'action', r.action, 'argument', r.argument, 'event_type', r.event_type,
                   'name_test', r.name_test, 'name_value', r.name_value,
                   'path', r.path, 'path_test', r.path_test, 'path_value', r.path_value
               ) ORDER BY r.position, r.id)::text
          FROM api_rule r
         WHERE r.site_id = d.site_id AND (r.source_id IS NULL OR r.source_id = d.id) AND r.is_enabled
    )
"""
# The same in a statement of one site, `%(site)s`.
SOURCE_COLUMNS_OF_SITE: Final = SOURCE_COLUMNS.replace("d.site_id", "%(site)s")
TOKEN_SALT: Final = "api.access.token"  # noqa: S105 - a name space that tokens depend on, not a secret
MANAGEMENT_TOKEN_PREFIX: Final = "gpm_"  # noqa: S105 - of a management token: whoever finds one knows what it is


@dataclass(frozen=True, slots=True)
class SiteAccess:
    """A site as ingest and remote data need it."""

    id: int
    sitecode: str
    public_traits: frozenset[str]
    requires_token: bool
    company_is_group: bool
    destination: "SourceAccess | None"
    visits_require_token: bool = False
    identified_visits_require_token: bool = True


@dataclass(frozen=True, slots=True)
class SourceAccess:
    """A source as ingest needs it."""

    id: int
    site_id: int
    kind: str
    is_enabled: bool
    takes_track: bool
    budget: Budget
    names_pages_by_title: bool  # of its site
    has_own_drops: bool  # a drop rule of this source: the copy that another source sends must count
    rules: tuple[EventRule, ...]
    redactions: tuple[EventRule, ...]  # the rules that act at ingest
    redaction_key: bytes

    @property
    def never_retries(self) -> bool:
        """Return True if a refused event is lost: Altis sends a batch once, whatever the answer."""
        return self.kind == "altis"

    @property
    def corrects_clocks(self) -> bool:
        """Return True if `sentAt` corrects the sender's clock. Imported events keep their times."""
        return self.kind != "import"


@dataclass(frozen=True, slots=True)
class CredentialAccess:
    """A credential or management token of a request, the sites that it opens, and its scopes."""

    credential_id: int
    client_id: str
    secret_hash: str  # of the secret in the request
    site_ids: frozenset[int]
    scopes: frozenset[str]
    old_secret_hash: str = ""  # of the previous secret, while both are valid


def generate_sitecode() -> str:
    """Return ten lower-case letters and digits: the destination refuses any other length (promise W3)."""
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(10))


def generate_secret() -> str:
    """Return 32 URL-safe characters: Segment puts a secret in a URL unencoded (promise W2)."""
    return secrets.token_urlsafe(24)


def hash_secret(secret: str) -> str:
    """Return the SHA-256 in hex. Secrets have 192 bits, so a slow hash would cost every request and protect nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


def encode_api_key(client_id: str, secret: str) -> str:
    """Return the API key for Segment: base64 of `{"id":…,"secret":…}` (promise K-36)."""
    return base64.b64encode(msgspec.json.encode({"id": client_id, "secret": secret})).decode()


def unauthorized(message: str) -> Refusal:
    """Return 401 with the expected scheme."""
    return Refusal(HTTPStatus.UNAUTHORIZED, "unauthorized", message, (("WWW-Authenticate", "Basic"),))


def require_scope(credential: CredentialAccess, *scopes: Scope) -> None:
    """Raise Refusal (403) unless the credential has one of these scopes."""
    if credential.scopes.isdisjoint(scopes):
        record_refused_key(KeyProblem.SCOPE, credential.client_id)
        lacking = " or ".join(f"`{scope}`" for scope in scopes)
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "insufficient_scope",
            f"This credential may not {' or '.join(scope.label for scope in scopes)}: it lacks the scope {lacking}. "
            "An owner of the site makes one that may, under Settings, Credentials.",
        )


def check_secret(client_id: str, secret: str) -> CredentialAccess:
    """Return the credential with this id and secret. Raises Refusal (401)."""
    credential = find_credential(client_id)
    credential = _match_secret(credential, hash_secret(secret))
    if credential is None:
        record_refused_key(KeyProblem.CREDENTIAL, client_id)
        raise unauthorized("Unknown client id, or the wrong secret. Check both, or ask an owner to rotate the secret.")
    record_use(UsedKey.CREDENTIAL, credential.credential_id)
    return credential


def _match_secret(credential: CredentialAccess | None, prefix: str) -> CredentialAccess | None:
    """Return the credential if its current or previous secret hash starts with this prefix, otherwise None."""
    if credential is None:
        return None
    for secret_hash in (credential.secret_hash, credential.old_secret_hash):
        if secret_hash and hmac.compare_digest(secret_hash[: len(prefix)], prefix):
            return replace(credential, secret_hash=secret_hash)
    return None


def check_authorization(authorization: str) -> CredentialAccess:
    """Return the credential of an Authorization header. Raises Refusal (401).

    It is `Basic <API key>`, `Basic base64(id:secret)` or `Bearer <token>`. The API key is the Basic token itself, not
    a user and a password (promise W1).
    """
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() == "bearer":
        return check_sender_token(token) if token.startswith(MANAGEMENT_TOKEN_PREFIX) else check_token(token)
    if scheme.lower() != "basic" or not token:
        record_refused_key(KeyProblem.NO_KEY)
        raise unauthorized("Send `Authorization: Basic <API key>`, in ASCII; /segmentio/getapikey gives the key.")
    try:
        decoded = base64.b64decode(token + "=" * (-len(token) % 4), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        record_refused_key(KeyProblem.NO_KEY)
        raise unauthorized("The Authorization header is not base64. Paste the API key as it was shown.") from error
    if decoded.startswith("{"):
        try:
            key = API_KEY.decode(decoded)
            return check_secret(key["id"], key["secret"])
        except (msgspec.DecodeError, KeyError) as error:
            record_refused_key(KeyProblem.NO_KEY)
            raise unauthorized('The API key does not hold {"id": …, "secret": …}. Paste it as it was shown.') from error
    client_id, colon, secret = decoded.partition(":")
    if not colon:
        record_refused_key(KeyProblem.NO_KEY)
        raise unauthorized("The Authorization header is neither an API key nor `id:secret`.")
    return check_secret(client_id, secret)


def issue_token(credential: CredentialAccess) -> str:
    """Return a signed access token for two hours. Rotating the secret or revoking the credential ends it."""
    return signing.dumps([credential.client_id, credential.secret_hash[:16]], salt=TOKEN_SALT)


def check_token(token: str) -> CredentialAccess:
    """Return the credential of an access token. Raises Refusal (401)."""
    try:
        client_id, fingerprint = signing.loads(token, salt=TOKEN_SALT, max_age=TOKEN_SECONDS)
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise unauthorized("The access token is unknown or older than two hours. Fetch one at /oauth/token.") from error
    credential = _match_secret(find_credential(client_id), fingerprint)
    if credential is None:
        record_refused_key(KeyProblem.CREDENTIAL, client_id)
        raise unauthorized(
            "The credential of this token was revoked, or its secret rotated. Fetch a token at /oauth/token."
        )
    record_use(UsedKey.CREDENTIAL, credential.credential_id)
    return credential


def check_sender_token(token: str) -> CredentialAccess:
    """Return the access of a management token with the scope `ingest`, which may send. Raises Refusal (401)."""
    access = _find_sender_token(hash_secret(token))
    if access is None:
        record_refused_key(KeyProblem.TOKEN, hash_secret(token), hint=hint_of_token(token))
        raise unauthorized("This management token lacks the scope `ingest`, or it is unknown, revoked or expired.")
    record_use(UsedKey.TOKEN, access.credential_id)
    return access


def hint_of_token(token: str) -> str:
    """Return the hint of a management token, with the prefix that all of them have."""
    return f"{MANAGEMENT_TOKEN_PREFIX}{hint_of(token.removeprefix(MANAGEMENT_TOKEN_PREFIX))}"


def find_credential(client_id: str) -> CredentialAccess | None:
    """Return the live credential with this id. One query, at most every few seconds."""
    # Look up well-formed ids only, otherwise a client could fill the cache with other texts.
    return _find_credential(client_id) if URL_SAFE_ID.match(client_id) else None


def find_site(sitecode: str) -> SiteAccess | None:
    """Return the site with this code. One query, at most every few seconds."""
    return _find_site(sitecode) if SITECODE.match(sitecode) else None


def find_source(write_key: str, *, is_use: bool = True) -> SourceAccess | None:
    """Return the source of a write key, also if it is switched off. One query, at most every few seconds.

    Records the use of the key. The event tester does not use it: it only finds the source.
    """
    source = _find_source(write_key) if URL_SAFE_ID.match(write_key) else None
    if source is not None and is_use:
        record_use(UsedKey.WRITE_KEY, write_key)
    return source


def find_sources(write_keys: Iterable[str]) -> dict[str, SourceAccess]:
    """Return the sources of these write keys, by key. One query, not cached: few requests have several keys."""
    rows = fetch_all(
        f"""
        SELECT k.key, d.site_id, {SOURCE_COLUMNS}
          FROM api_writekey k JOIN api_source d ON d.id = k.source_id
         WHERE k.key = ANY(%(keys)s) AND (k.ends_at IS NULL OR k.ends_at > now())
        """,
        {"keys": [key for key in write_keys if URL_SAFE_ID.match(key)]},
    )
    for key, *_ in rows:
        record_use(UsedKey.WRITE_KEY, key)
    return {key: source for key, *columns in rows if (source := read_source(*columns)) is not None}


def find_sources_of(site_id: int) -> dict[int, SourceAccess]:
    """Return all sources of a site, by id. One query, not cached."""
    statement = f"SELECT d.id, d.site_id, {SOURCE_COLUMNS_OF_SITE} FROM api_source d WHERE d.site_id = %(site)s"
    rows = fetch_all(statement, {"site": site_id})
    return {id_: source for id_, *columns in rows if (source := read_source(*columns)) is not None}


@ttl_cache(maxsize=CACHE_ENTRIES, ttl=CACHE_SECONDS)
def _find_credential(client_id: str) -> CredentialAccess | None:
    rows = fetch_all(
        """
        SELECT c.id, c.client_id, c.secret_hash, array_agg(s.site_id) FILTER (WHERE s.site_id IS NOT NULL),
               CASE WHEN c.old_secret_ends_at > now() THEN c.old_secret_hash ELSE '' END, c.scopes
          FROM api_credential c LEFT JOIN api_credential_sites s ON s.credential_id = c.id
         WHERE c.client_id = %(client_id)s AND c.revoked_at IS NULL
         GROUP BY c.id
        """,
        {"client_id": client_id},
    )
    if not rows:
        return None
    id_, client_id, secret_hash, site_ids, old_secret_hash, scopes = rows[0]
    return CredentialAccess(id_, client_id, secret_hash, frozenset(site_ids or ()), frozenset(scopes), old_secret_hash)


@ttl_cache(maxsize=CACHE_ENTRIES, ttl=CACHE_SECONDS)
def _find_sender_token(token_hash: str) -> CredentialAccess | None:
    """Return the access of a token to those of its sites that its user still owns (api.http.tokens)."""
    rows = fetch_all(
        """
        SELECT t.id, array_agg(s.site_id)
          FROM api_managementtoken t
          JOIN api_managementtoken_sites s ON s.managementtoken_id = t.id
          JOIN auth_user u ON u.id = t.user_id AND u.is_active
          LEFT JOIN api_membership m ON m.user_id = u.id AND m.site_id = s.site_id AND m.role = 'owner'
         WHERE t.token_hash = %(token_hash)s AND 'ingest' = ANY(t.scopes) AND t.revoked_at IS NULL
           AND (t.expires_at IS NULL OR t.expires_at > now()) AND (u.is_superuser OR m.id IS NOT NULL)
         GROUP BY t.id
        """,
        {"token_hash": token_hash},
    )
    if not rows:
        return None
    id_, site_ids = rows[0]
    return CredentialAccess(id_, f"token-{id_}", token_hash, frozenset(site_ids), frozenset([Scope.SEND]))


@ttl_cache(maxsize=CACHE_ENTRIES, ttl=CACHE_SECONDS)
def _find_site(sitecode: str) -> SiteAccess | None:
    rows = fetch_all(
        f"""
        SELECT s.id, s.sitecode, s.public_traits, s.requires_token, s.company_is_group, s.visits_require_token,
               s.identified_visits_require_token, {SOURCE_COLUMNS}
          FROM api_site s LEFT JOIN api_source d ON d.site_id = s.id AND d.kind = 'destination'
         WHERE s.sitecode = %(sitecode)s
        """,
        {"sitecode": sitecode},
    )
    if not rows:
        return None
    id_, code, public_traits, requires_token, company_is_group, visits, identified_visits, *source = rows[0]
    destination = read_source(id_, *source)
    traits = frozenset(public_traits)
    return SiteAccess(id_, code, traits, requires_token, company_is_group, destination, visits, identified_visits)


@ttl_cache(maxsize=CACHE_ENTRIES, ttl=CACHE_SECONDS)
def _find_source(write_key: str) -> SourceAccess | None:
    rows = fetch_all(
        f"""
        SELECT d.site_id, {SOURCE_COLUMNS}
          FROM api_writekey k JOIN api_source d ON d.id = k.source_id
         WHERE k.key = %(key)s AND (k.ends_at IS NULL OR k.ends_at > now())
        """,
        {"key": write_key},
    )
    return read_source(*rows[0]) if rows else None


def read_source(site_id: int, *columns: Any) -> SourceAccess | None:
    """Return a source and its rules from SOURCE_COLUMNS; None if the columns are empty."""
    id_, kind, is_enabled, takes_track, *budget, names_pages_by_title, has_own_drops, rules = columns
    if id_ is None:
        return None
    decoded = tuple(RULES.decode(rules)) if rules else ()
    return SourceAccess(
        id_,
        site_id,
        kind,
        is_enabled,
        takes_track,
        resolve_budget(kind, *budget),
        names_pages_by_title,
        has_own_drops,
        rules=decoded,
        redactions=tuple(rule for rule in decoded if rule.action in REDACTIONS),
        redaction_key=derive_redaction_key(site_id),
    )


def derive_redaction_key(site_id: int) -> bytes:
    """Return the key that hashes fields of a site's events. It changes with GOALPOST_SECRET_KEY."""
    return hmac.digest(settings.SECRET_KEY.encode(), b"api.access.redaction:%d" % site_id, "sha256")


def clear_lookups() -> None:
    """Clear the caches of this process."""
    for look_up in (_find_credential, _find_sender_token, _find_site, _find_source):
        look_up.cache_clear()
    for clear in CACHES:
        clear()
