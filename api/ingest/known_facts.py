"""Lines of SDKs that repeat what is known: they extend the visit and are no messages.

Open pages repeat their static data every 15 seconds, and SDKs send an exposure at each evaluation of a flag. The state
of all visitors of a request is read at once, with that of other requests that wait.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from cachetools import LRUCache

from api.events.sdk_facts import CustomDataFact, ExposureFact, GeolocationFact, StaticDataFact
from api.events.sdk_lines import SdkLine
from api.http.batching import PendingCall, RequestBatcher
from api.http.database import DatabaseDownError, fetch_all, once
from api.http.threads import take_turns
from api.ingest.visit_activity import activity_buffer
from goals.visit_facts import VisitHolder
from goals.visit_models import VisitFact
from goals.visits import VISIT_GAP, Stretch, join_stretches

Type = VisitFact.Type
READERS: Final = 2  # threads
MOST_VISITORS: Final = 200  # a statement
LOOKUP_SECONDS: Final = 3.0  # of a request. Then it is stored, which takes time as well
REMEMBERED: Final = 20_000  # visitors whose last facts a process remembers until they are digested
REPEATABLE: Final = (StaticDataFact, GeolocationFact, CustomDataFact, ExposureFact)
MOST_PENDING: Final = 200  # messages of a site in which pending custom data is looked for

# The kinds of rows of a visitor, beside those of the types of facts (goals.visit_models).
OWNER, ACTIVITY, EXPOSURE, PENDING = 0, 5, 6, 7
# Rows of each visitor: its latest stretch of activity (5), and the newest facts of the types 2 to 4. Row 0 has the user
# to whom it belongs, 6 says that it saw a variation, 7 that messages of the site wait for the digest or failed. Its
# position is 1 if they may be custom data.
READ: Final = f"""
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest(%(codes)b::text[], %(users)b::bool[], %(custom)b::bool[]) WITH ORDINALITY
                  AS asked (code, is_user, has_custom, place)
)
SELECT a.place, 5 AS kind, v.started_at, v.last_at, 0 AS position, '' FROM asked a CROSS JOIN LATERAL (
    SELECT v.started_at, v.last_at FROM goals_visitactivity v
     WHERE v.site_id = %(site)b AND v.visitor_code = a.code AND v.is_user = a.is_user
     ORDER BY v.started_at DESC LIMIT 1
) AS v
 UNION ALL
SELECT a.place, t.type, f.occurred_at, f.occurred_at, f.position, f.fact::text
  FROM asked a CROSS JOIN (VALUES (2, 20), (3, 1), (4, 100)) AS t (type, most)
 CROSS JOIN LATERAL (
    SELECT f.occurred_at, f.position, f.fact FROM goals_visitfact f
     WHERE f.site_id = %(site)b AND f.visitor_code = a.code AND f.is_user = a.is_user AND f.type = t.type
       AND (a.has_custom OR t.type < 4)
     ORDER BY f.occurred_at DESC, f.position DESC, f.message_id DESC LIMIT t.most
 ) AS f
 UNION ALL
SELECT a.place, 0, NULL, NULL, 0, coalesce(its.registers #>> '{{user,3}}', '') FROM asked a CROSS JOIN LATERAL (
    SELECT i.registers FROM cohorts_identity i
     WHERE i.site_id = %(site)b AND i.kind = 2 AND i.value = a.code AND a.has_custom AND NOT a.is_user OFFSET 0
) AS its WHERE its.registers ?| array['user', 'anonymous']
 UNION ALL
SELECT s.place, 6, NULL, NULL, 0, ''
  FROM unnest(%(seen_codes)b::text[], %(seen_users)b::bool[], %(experiments)b::bigint[], %(variations)b::bigint[])
       WITH ORDINALITY AS s (code, is_user, experiment, variation, place)
 CROSS JOIN LATERAL (
    SELECT 1 FROM goals_exposure e
     WHERE e.site_id = %(site)b AND e.visitor_code = s.code AND e.is_user = s.is_user
       AND e.experiment_id = s.experiment AND e.variation_id = s.variation AND e.anonymous_id = '' OFFSET 0
 ) AS e
 UNION ALL
SELECT 0, 7, NULL, NULL, (pending.messages >= {MOST_PENDING} OR pending.has_custom)::int, '' FROM (
    SELECT count(*) AS messages, bool_or(p.type = 'custom_data') AS has_custom FROM (
        SELECT m.type FROM api_message m
         WHERE m.site_id = %(site)b AND m.status = 'pending' AND (SELECT bool_or(has_custom) FROM asked)
         ORDER BY m.id LIMIT {MOST_PENDING}
    ) AS p
) AS pending WHERE pending.messages > 0
 UNION ALL
SELECT 0, 7, NULL, NULL, 1, '' FROM (
    SELECT count(*) AS messages, bool_or(f.type = 'custom_data') AS has_custom
      FROM (VALUES ('failed'), ('rejected')) AS s (status) CROSS JOIN LATERAL (
        SELECT m.type, m.received_at FROM api_message m
         WHERE m.site_id = %(site)b AND m.status = s.status AND m.status IN ('rejected', 'failed')
           AND (SELECT bool_or(has_custom) FROM asked)
         ORDER BY m.id DESC LIMIT {MOST_PENDING}
    ) AS f WHERE f.received_at > now() - %(gap)b
) AS unread WHERE unread.messages >= {MOST_PENDING} OR unread.has_custom
"""


class AskedState(NamedTuple):
    """A visitor whose state is read, and the exposures that may be known."""

    site_id: int
    holder: VisitHolder
    has_custom_data: bool
    exposures: frozenset[tuple[int, int]]  # (experiment, variation)


@dataclass(slots=True)
class VisitorState:
    """The facts of a visitor in the current visit, as far as they are known; all empty if there is no such visit."""

    static_data: dict[str, Any] = field(default_factory=dict)
    geolocation: dict[str, Any] | None = None
    custom_data: dict[int, dict[str, Any]] = field(default_factory=dict)  # the last event of each index
    exposures: set[tuple[int, int]] = field(default_factory=set)  # of all visits
    at: datetime | None = None  # of the newest of static data and geolocation
    owner: str | None = None  # the user of a visitor code; empty if only an anonymous id is known
    has_pending: bool = False  # a message of the site
    has_pending_custom_data: bool = False

    def repeats(self, line: SdkLine) -> bool:
        """Return True if a line says nothing new; otherwise note what it says."""
        fact = line.fact
        if isinstance(fact, ExposureFact):
            key = (fact.id, fact.variation_id)
            is_known = key in self.exposures
            self.exposures.add(key)
            return is_known
        said = fact.properties()
        match fact:
            case StaticDataFact():
                is_known = said.items() <= self.static_data.items()
            case GeolocationFact():
                is_known = said == self.geolocation
            case CustomDataFact():
                is_known = said == self.custom_data.get(fact.index) and self._is_replaced_only_here(fact, line)
                if line.user is not None:
                    self.owner = line.user  # after this line
            case _:
                return False
        self.note(VisitFact.Type[fact.type.upper()], said)
        return is_known

    def note(self, type_: int, said: dict[str, Any]) -> None:
        """Note the fields of a fact that is later than those before."""
        match type_:
            case Type.STATIC_DATA:
                self.static_data |= said
            case Type.GEOLOCATION:
                self.geolocation = said
            case Type.CUSTOM_DATA:
                self.custom_data[said.get("index", 0)] = said

    def _is_replaced_only_here(self, fact: CustomDataFact, line: SdkLine) -> bool:
        """Return True if no other event may have changed the values or the user of the visitor code meanwhile.

        A later event of another device of the user would win. The mapping itself is the same on each device.
        """
        if not fact.overwrite or self.has_pending_custom_data:
            return False
        if line.visitor_code is None:
            return fact.mapping_identifier and fact.values_count_map.keys() == {line.user}
        if fact.mapping_identifier:
            return self.owner == line.user and not self.has_pending
        return self.owner is None and line.user is None


class StateRow(NamedTuple):
    """A row of READ."""

    kind: int
    started_at: datetime
    last_at: datetime
    position: int
    fact: str  # JSON
    exposure: tuple[int, int] | None = None


StateRows = dict[AskedState, list[StateRow]]


async def drop_known(site_id: int, lines: Sequence[SdkLine], *, now: datetime) -> list[SdkLine]:
    """Return the lines that say something new, in their order. At most one read for each 200 visitors.

    Lines of visitors that cannot be read in time count as new, because storing them is always right.
    """
    states = await _find_states(site_id, lines, now=now)
    new: list[SdkLine] = []
    async for part in take_turns(lines):
        for line in part:
            state = states.get(holder_of(line)) if isinstance(line.fact, REPEATABLE) else None
            if state is None or not state.repeats(line):
                new.append(line)
    return new


async def _find_states(site_id: int, lines: Sequence[SdkLine], *, now: datetime) -> dict[VisitHolder, VisitorState]:
    """Return the states of the visitors whose lines may repeat what is known, as many as LOOKUP_SECONDS allow."""
    custom: set[VisitHolder] = set()
    exposures: dict[VisitHolder, set[tuple[int, int]]] = {}
    async for part in take_turns([line for line in lines if isinstance(line.fact, REPEATABLE)]):
        for line in part:
            seen = exposures.setdefault(holder_of(line), set())
            if isinstance(line.fact, ExposureFact):
                seen.add((line.fact.id, line.fact.variation_id))
            elif isinstance(line.fact, CustomDataFact):
                custom.add(holder_of(line))
    states: dict[VisitHolder, VisitorState] = {}
    with suppress(TimeoutError, DatabaseDownError):
        async with asyncio.timeout(LOOKUP_SECONDS):
            async for visitors in take_turns(list(exposures.items()), MOST_VISITORS):
                asked = tuple(
                    AskedState(site_id, holder, holder in custom, frozenset(seen)) for holder, seen in visitors
                )
                unwritten = {each: activity_buffer().find(site_id, each.holder) for each in asked}
                rows = await batcher().call(asked, timeout=LOOKUP_SECONDS)
                states |= {each.holder: _make_state(each, rows[each], unwritten[each], now=now) for each in asked}
    return states


def remember(site_id: int, lines: Iterable[SdkLine], *, now: datetime) -> None:
    """Remember the static data and geolocations that were stored, because the digest may be behind."""
    memory = last_facts()
    for line in lines:
        if isinstance(line.fact, StaticDataFact | GeolocationFact):
            key = (site_id, holder_of(line))
            state = memory.get(key)
            if state is None or state.at is None or now - state.at >= VISIT_GAP:
                state = memory[key] = VisitorState()
            state.repeats(line)
            state.at = now


def holder_of(line: SdkLine) -> VisitHolder:
    """Return the visitor code of a line, or its user if it has no code."""
    if line.visitor_code is not None:
        return VisitHolder(line.visitor_code, is_user=False)
    return VisitHolder(line.user or "", is_user=True)


def _make_state(
    asked: AskedState, rows: Sequence[StateRow], unwritten: Sequence[Stretch], *, now: datetime
) -> VisitorState:
    """Return the state of a visitor from its rows, from activity that is not written, and from memory."""
    kinds = {row.kind for row in rows}
    state = VisitorState(
        exposures={row.exposure for row in rows if row.exposure is not None},
        owner=next((row.fact for row in rows if row.kind == OWNER), None),
        has_pending=PENDING in kinds,
        has_pending_custom_data=any(row.kind == PENDING and row.position for row in rows),
    )
    written = [Stretch(row.started_at, row.last_at) for row in rows if row.kind == ACTIVITY]
    visits = join_stretches([*written, *unwritten])
    if not visits or now - visits[-1].last_at >= VISIT_GAP:
        return state
    begun_at = visits[-1].started_at
    facts = [row for row in rows if row.kind in Type.values and row.started_at >= begun_at]
    for row in sorted(facts, key=lambda row: (row.started_at, row.position)):
        state.note(row.kind, msgspec.json.decode(row.fact))
        if row.kind != Type.CUSTOM_DATA:
            state.at = row.started_at
    remembered = last_facts().get((asked.site_id, asked.holder))
    if remembered and remembered.at and remembered.at >= begun_at and (state.at is None or remembered.at > state.at):
        state.static_data |= remembered.static_data
        state.geolocation = remembered.geolocation or state.geolocation
    return state


def _fetch(calls: Sequence[PendingCall[Sequence[AskedState], StateRows]]) -> None:
    """Read for all these requests, in one statement for each site."""
    by_site: dict[int, list[AskedState]] = {}
    for asked in dict.fromkeys(asked for call in calls for asked in call.argument):
        by_site.setdefault(asked.site_id, []).append(asked)
    rows: StateRows = {}
    for site_id, asked_of_site in by_site.items():
        rows |= _read(site_id, asked_of_site)
    for call in calls:
        call.resolve(rows)


def _read(site_id: int, asked: Sequence[AskedState]) -> StateRows:
    seen = [(place, each.holder, key) for place, each in enumerate(asked, 1) for key in sorted(each.exposures)]
    found: dict[int, list[StateRow]] = {place: [] for place in range(1, len(asked) + 1)}
    parameters = {
        "site": site_id,
        "gap": VISIT_GAP,
        "codes": [each.holder.visitor_code for each in asked],
        "users": [each.holder.is_user for each in asked],
        "custom": [each.has_custom_data for each in asked],
        "seen_codes": [holder.visitor_code for _, holder, _ in seen],
        "seen_users": [holder.is_user for _, holder, _ in seen],
        "experiments": [experiment for _, _, (experiment, _) in seen],
        "variations": [variation for _, _, (_, variation) in seen],
    }
    for place, kind, *columns in fetch_all(READ, parameters):
        if kind == EXPOSURE:
            of, _, key = seen[place - 1]
            found[of].append(StateRow(kind, *columns)._replace(exposure=key))
        else:
            for of in [place] if kind != PENDING else found:
                found[of].append(StateRow(kind, *columns))
    return {each: found[place] for place, each in enumerate(asked, 1)}


@once
def batcher() -> RequestBatcher[Sequence[AskedState], StateRows]:
    """Return this process's threads for states, started by the first request that needs one."""
    return RequestBatcher(_fetch, name="states", max_size=MOST_VISITORS, size=len, threads=READERS)


@once
def last_facts() -> LRUCache[tuple[int, VisitHolder], VisitorState]:
    """Return the last static data and geolocations that this process stored. Only the event loop uses it."""
    return LRUCache(REMEMBERED)
