"""Refused events of erased people, which are kept without their bodies, because the digest never processes them.

Only hashes of erased ids are stored, so the ids of a refused event are hashed and compared.
"""

import hmac
import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Final, TypeVar

from django.conf import settings
from msgspec.structs import replace

from api.events.body import UnreadableBodyError, read_body, read_object
from api.events.envelope import IncomingEvent, clean_text, read_number
from api.http.database import fetch_all
from cohorts import ids

VISITOR_FIELDS: Final = ("kameleoonVisitorCode", "k_visitorCode")
# A JSON string or number, also within a body that is not JSON elsewhere.
TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|(?<![\w.+-])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])', re.DOTALL)
MAX_TOKENS: Final = 20_000  # of unreadable bodies; hashing them takes 0.1 s
Owner = TypeVar("Owner")


def hash_id(site_id: int, id_: str) -> str:
    """Return the stored hash of an erased id. It cannot be compared with an id without the secret key."""
    return hmac.digest(settings.SECRET_KEY.encode(), f"erased\0{site_id}\0{id_}".encode(), "sha256").hex()


def strip_erased(rows: Sequence[tuple[int, Owner, IncomingEvent]]) -> list[tuple[int, Owner, IncomingEvent]]:
    """Return the rows, without body and messageId of refused ones that name an erased person.

    Refused rows that cannot be compared, because a request has too many values, lose them, too. No query without
    refused rows, otherwise one a site, two if the site has erased a person.
    """
    refused = {place: event for place, (_, _, event) in enumerate(rows) if event.reason and event.body}
    if not refused:
        return list(rows)
    sites = {rows[place][0] for place in refused}
    erasing = find_erasing_sites(sites) if sites else set()
    named: dict[int, set[str]] = {}
    left = MAX_TOKENS
    for place, event in refused.items():
        if rows[place][0] in erasing and left > 0:
            named[place] = {hash_id(rows[place][0], id_) for id_ in find_ids(event.body)}
            left -= len(named[place])
    unread = {place for place in refused if rows[place][0] in erasing and place not in named}
    erased = (
        find_erased_hashes([(rows[place][0], hash_) for place, hashes in named.items() for hash_ in hashes])
        if named
        else set()
    )
    return [
        (site_id, owner, replace(event, body=b"", message_id=None, content_encoding=""))
        if place in unread or any((site_id, hash_) in erased for hash_ in named.get(place, ()))
        else (site_id, owner, event)
        for place, (site_id, owner, event) in enumerate(rows)
    ]


def find_erasing_sites(site_ids: Collection[int]) -> set[int]:
    """Return the sites among these that have erased a person. One query a site."""
    statement = "SELECT 1 FROM api_suppression WHERE site_id = %(site)s LIMIT 1"
    return {site_id for site_id in site_ids if fetch_all(statement, {"site": site_id})}


def find_erased_hashes(hashes: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Return the hashes among these, each with its site, of erased ids. One query a site."""
    statement = """
        SELECT s.hash FROM unnest(%(hashes)s::text[]) AS named (hash)
          JOIN api_suppression s ON s.site_id = %(site)s AND s.hash = named.hash
    """
    by_site: defaultdict[int, list[str]] = defaultdict(list)
    for site_id, hash_ in sorted(hashes):
        by_site[site_id].append(hash_)
    return {
        (site_id, row[0])
        for site_id, named in by_site.items()
        for row in fetch_all(statement, {"site": site_id, "hashes": named})
    }


def find_ids(body: bytes) -> set[str]:
    """Return the ids of an event's person as sent, or every value of an unreadable body."""
    try:
        fields = read_body(body, set())
    except (UnreadableBodyError, RecursionError):
        return set(iter_values(body))
    context = read_object(fields.get("context"), set())
    places = [fields, context]
    places += [read_object(value, set()) for value in (fields.get("properties"), fields.get("traits"))]
    places.append(read_object(context.get("traits"), set()))
    sent = [fields.get(name) for name in ("userId", "anonymousId", "previousId")]
    sent += [place.get(name) for place in places for name in VISITOR_FIELDS]
    # As text, because a placeholder of the newest reading may have been an id when the person was erased.
    return {text for value in sent if (text := (ids.spell(value) or "").strip())}


def iter_values(body: bytes) -> Iterator[str]:
    """Yield the strings and numbers of an unreadable body as ids, MAX_TOKENS at most."""
    for count, token in enumerate(TOKEN.finditer(body)):
        if count == MAX_TOKENS:
            return
        text = read_token(token[0])
        if text:
            yield text
        if text and not token[0].startswith(b'"'):
            yield token[0].decode()  # a number that is long when it is written out is read as its text


def read_token(token: bytes) -> str:
    """Return a JSON string or number as an id; empty if it is none."""
    try:
        value = json.loads(token, strict=False) if token.startswith(b'"') else read_number(token.decode())
    except ValueError:  # the body is not JSON
        return ""
    return clean_text(ids.spell(value) or "").strip()
