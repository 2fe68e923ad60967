"""Counts of requests with a key that opens nothing, written by a thread every ten seconds at most.

Any client can send them in any number. So a process counts few keys at a time, a site keeps few hints in SLOT, and
rows older than a day are deleted. A hint is too little of a key to guess the rest.
"""

import re
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import psycopg

from api.http.background_writer import BackgroundWriter
from api.http.database import connect, once

MAX_KEYS: Final = 100  # that a process distinguishes between two writes
SLOT: Final = timedelta(minutes=5)
MAX_HINTS: Final = 5  # of a site, reason and slot
RETENTION: Final = timedelta(days=1) + SLOT
HINT_LENGTH: Final = 4  # characters, and a third of a key at most
END_LENGTH: Final = 2  # characters, of a key of LONG characters at least
LONG: Final = 24
MAX_KEY_LENGTH: Final = 64  # of a well-formed key (api.models.URL_SAFE)


class KeyProblem(StrEnum):
    """The reason why a request's key was refused."""

    WRITE_KEY = "write_key"
    CREDENTIAL = "credential"  # an unknown client id, a wrong secret, or a revoked credential
    SITECODE = "sitecode"  # a valid credential with a sitecode that it does not open
    SCOPE = "scope"  # a valid credential without the scope
    TOKEN = "token"  # noqa: S105 - a management token, by its hash
    NO_KEY = "no_key"


# The sites that a key opens or once opened, for each reason.
SITE_QUERIES: Final[Mapping[KeyProblem, str]] = {
    KeyProblem.WRITE_KEY: """
        SELECT k.key, d.site_id FROM api_writekey k JOIN api_source d ON d.id = k.source_id
         WHERE k.key = ANY(%(keys)s)
    """,
    KeyProblem.CREDENTIAL: """
        SELECT c.client_id, s.site_id FROM api_credential c JOIN api_credential_sites s ON s.credential_id = c.id
         WHERE c.client_id = ANY(%(keys)s)
    """,
    KeyProblem.TOKEN: """
        SELECT t.token_hash, s.site_id
          FROM api_managementtoken t JOIN api_managementtoken_sites s ON s.managementtoken_id = t.id
         WHERE t.token_hash = ANY(%(keys)s)
    """,
}
_SITES_OF: Final = {
    **SITE_QUERIES,
    KeyProblem.SITECODE: SITE_QUERIES[KeyProblem.CREDENTIAL],
    KeyProblem.SCOPE: SITE_QUERIES[KeyProblem.CREDENTIAL],
}

# Of one site, NULL for keys that opened none. The column `hour` holds the slot.
WRITE: Final = """
INSERT INTO api_refusedkey AS r (site_id, hour, reason, hint, count, last_at)
SELECT %(site)s, *
  FROM unnest(%(slots)s::timestamptz[], %(reasons)s::text[], %(hints)s::text[], %(counts)s::bigint[],
              %(last)s::timestamptz[])
ON CONFLICT (site_id, hour, reason, hint) DO UPDATE
   SET count = r.count + excluded.count, last_at = greatest(r.last_at, excluded.last_at)
"""

SlotKey = tuple[datetime, KeyProblem]
Counts = dict[str, tuple[int, datetime]]  # by hint: the number of requests, and the time of the last one


def record_refused_key(reason: KeyProblem, key: str = "", *, hint: str = "") -> None:
    """Count a request that was refused because of its key. Returns at once.

    `key` leads to the sites that it once opened, and is never stored. The hint is that of the key unless given.
    """
    refused_key_counter().note(reason, key[:MAX_KEY_LENGTH], hint or hint_of(key))


def hint_of(key: str) -> str:
    """Return the first characters of a key, fewer of a short one, and of a long one the last two: `abcd…yz`."""
    shown = re.sub(r"[^A-Za-z0-9_=-]", "?", key[: min(HINT_LENGTH, len(key) // 3)])
    end = re.sub(r"[^A-Za-z0-9_=-]", "?", key[-END_LENGTH:]) if len(key) >= LONG else ""
    return f"{shown}…{end}" if shown else ""


def slot_of(at: datetime) -> datetime:
    """Return the beginning of the slot of a time."""
    return at - timedelta(seconds=at.timestamp() % SLOT.total_seconds())


class RefusedKeyCounter(BackgroundWriter):
    """The counts of a process, and the thread that writes them."""

    name = "refused-keys"
    interval = 10.0

    def __init__(self) -> None:
        self._counts: dict[tuple[KeyProblem, str, str], tuple[int, float]] = {}
        self._lock = threading.Lock()
        super().__init__()

    def note(self, reason: KeyProblem, key: str, hint: str) -> None:
        with self._lock:
            if (reason, key, hint) not in self._counts and len(self._counts) >= MAX_KEYS:
                key = hint = ""  # at most one more entry for each reason
            count, _ = self._counts.get((reason, key, hint), (0, 0.0))
            self._counts[reason, key, hint] = (count + 1, time.time())
        self.request_write()

    def write(self) -> None:
        """Write all counts in a few short statements."""
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        with connect() as connection:
            for site_id, slots in group_by_site(counts, find_sites(connection, counts)).items():
                rows = limit_hints(connection, site_id, slots)
                connection.execute(WRITE, {"site": site_id, **make_columns(rows)})
            old = datetime.now(UTC) - RETENTION
            for site_id in find_sites_with_old_rows(connection, old):
                connection.execute(f"DELETE FROM api_refusedkey WHERE {of_site(site_id)} AND hour < %s", [old])


def find_sites(
    connection: psycopg.Connection[Any], counts: Mapping[tuple[KeyProblem, str, str], Any]
) -> dict[Any, set[int]]:
    """Return the sites of known keys, by (reason, key). One query for each reason."""
    sites: defaultdict[Any, set[int]] = defaultdict(set)
    for reason, statement in _SITES_OF.items():
        keys = [key for counted, key, _ in counts if counted == reason and key.isascii() and "\0" not in key]
        if keys:
            for key, site_id in connection.execute(statement, {"keys": keys}).fetchall():
                sites[reason, key].add(site_id)
    return sites


def of_site(site_id: int | None) -> str:
    """Return the condition on the site. PostgreSQL finds no NULL by `=`."""
    return "site_id IS NULL" if site_id is None else f"site_id = {site_id:d}"


def find_sites_with_old_rows(connection: psycopg.Connection[Any], old: datetime) -> list[int | None]:
    """Return the sites, and None, with rows of slots before this one. One query of all sites."""
    statement = "SELECT DISTINCT site_id FROM api_refusedkey WHERE hour < %s"
    return [row[0] for row in connection.execute(statement, [old]).fetchall()]


def group_by_site(
    counts: Mapping[tuple[KeyProblem, str, str], tuple[int, float]], sites: Mapping[Any, set[int]]
) -> dict[int | None, dict[SlotKey, Counts]]:
    """Return the counts of each site by slot and reason. Unknown keys have the site None."""
    places: defaultdict[int | None, defaultdict[SlotKey, Counts]] = defaultdict(lambda: defaultdict(dict))
    for (reason, key, hint), (count, at) in counts.items():
        last = datetime.fromtimestamp(at, UTC)
        slot = slot_of(last)
        known: list[int | None] = [*sorted(sites.get((reason, key), ()))]
        for site_id in known or [None]:
            add(places[site_id][slot, reason], hint, count, last)
    return {site_id: dict(slots) for site_id, slots in places.items()}


def limit_hints(
    connection: psycopg.Connection[Any], site_id: int | None, places: Mapping[SlotKey, Counts]
) -> dict[SlotKey, Counts]:
    """Return the counts of a site with at most MAX_HINTS hints, including those in the table. One query."""
    taken: defaultdict[SlotKey, set[str]] = defaultdict(set)
    statement = f"SELECT hour, reason, hint FROM api_refusedkey WHERE {of_site(site_id)} AND hour = ANY(%s)"
    for slot, reason, hint in connection.execute(statement, [[slot for slot, _ in places]]).fetchall():
        taken[slot, KeyProblem(reason)].add(hint)
    kept: defaultdict[SlotKey, Counts] = defaultdict(dict)
    for place, counts in places.items():
        for hint, (count, last) in counts.items():
            fits = hint in taken[place] or len(taken[place] - {""}) < MAX_HINTS
            taken[place].add(hint if fits else "")
            add(kept[place], hint if fits else "", count, last)
    return kept


def add(counts: Counts, hint: str, count: int, last: datetime) -> None:
    before, at = counts.get(hint, (0, last))
    counts[hint] = (before + count, max(at, last))


def make_columns(places: Mapping[SlotKey, Counts]) -> dict[str, list[Any]]:
    """Return the rows of a site as arrays in the order of their keys, so that concurrent processes cannot deadlock."""
    rows = sorted((*place, hint, *count) for place, counts in places.items() for hint, count in counts.items())
    names = ("slots", "reasons", "hints", "counts", "last")
    return {name: [str(row[at]) if name == "reasons" else row[at] for row in rows] for at, name in enumerate(names)}


@once
def refused_key_counter() -> RefusedKeyCounter:
    """Return the counter of this process, started with the first refused key."""
    return RefusedKeyCounter()
