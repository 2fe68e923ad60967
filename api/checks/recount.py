"""Every message that the digest applied, derived again: the tables must hold all that it says."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from django.db import connection

import times
from api.checks.base import AGAIN, Difference, Figures, of_site, stream
from api.checks.changes import last_change
from api.digest import rekey
from api.digest.mapping import MESSAGE_COLUMNS, Derivation, GoalHit, SourceConfig, StoredMessage, derive
from api.digest.readings import NEWEST
from api.digest.site_config import load_site_config
from api.digest.suppression import find_suppressed
from api.erasure.sweeps import stand_ins_of
from api.http.chunks import iter_chunks
from api.models import Erasure, Removal, Site
from cohorts import changes, merge
from cohorts.models import SIZE
from goals.models import Conversion

KNOWN_BYTES: Final = 67_108_864  # of what is known of the people and groups of a batch: some 500 MB of memory
# Between a change in the admin and the last digest by what was before: a batch in hand, clocks that are off.
SETTLED: Final = timedelta(minutes=5)

UNREAD: Final = (
    "A message that was done reads as rejected today. If Goalpost or GOALPOST_HOOKS was changed since, events are read "
    "otherwise now."
)
MISSING: Final = (
    "What a message says of a person or group is not in the tables, though it is done: the row was changed by hand, "
    "or GOALPOST_HOOKS was changed since; else "
    f"please report it as a defect. {AGAIN}"
)
FORGOTTEN: Final = (
    "That somebody entered or left a persona is not in the history: the message was digested before there was one, or "
    f"the row deleted by hand. {AGAIN}"
)
UNCONVERTED: Final = f"A message hits a goal, is done and did not convert: please report it as a defect. {AGAIN}"
OTHERWISE: Final = "A conversion is not what its message says: one of the two rows was changed by hand."
SAID: Final = ("occurred_at", "user_id", "anonymous_id", "revenue", "currency", "value")
COMPARED: Final = (*SAID, "visitor_code", "keyed_by", "properties")


@dataclass(frozen=True, slots=True)
class ProcessedMessage:
    """A message that the digest applied, at least what it says of people."""

    site_id: int
    stored: StoredMessage
    status: str
    reason: str
    has_converted: bool
    is_unlisted: bool  # its persona found no room in the site's list
    digested_at: datetime

    @property
    def name(self) -> str:
        return f"message {self.stored.id} ({self.stored.key})"


@dataclass(frozen=True, slots=True)
class DerivedMessage:
    """A message with what it means, and what it says of each identity."""

    message: ProcessedMessage
    effects: Derivation
    said: dict[changes.IdentityKey, merge.Registers]


IDENTITY: Final = {"site_id": "bigint", "kind": "smallint", "value": "text"}
GROUP: Final = {"site_id": "bigint", "group_id": "text"}
LINK: Final = {"site_id": "bigint", "kind": "smallint", "value": "text", "user_value": "text"}
PersonaFact = tuple[int, int, str, str, datetime, int, str, bool]
PERSONA_FACT: Final = {
    "site_id": "bigint",
    "kind": "smallint",
    "value": "text",
    "name": "text",
    "occurred_at": "timestamptz",
    "position": "int",
    "message_id": "text",
    "is_member": "bool",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What the tables hold of a batch, by site and key."""

    identities: dict[tuple[int, int, str], tuple[int, merge.Registers]]
    groups: dict[tuple[int, str], tuple[int, merge.Registers]]
    links: set[tuple[int, int, str, str]]
    personas: set[tuple[int, str]]
    persona_facts: set[PersonaFact]
    conversions: dict[tuple[int, str], dict[str, Any]]


def recount(site_id: int | None, figures: Figures) -> Iterator[Difference]:
    """Deriving and merging every done or deferred message once more would change nothing.

    A message digested before its site's rules were changed may have said something else then: it is left out. Eight
    queries a batch, which is all that is in memory, six more for each further part of one of large people.
    """
    config = {site.pk: (load_site_config(site), _rules_changed(site)) for site in Site.objects.all()}
    erased, removed, excuses_links = _being_erased(), _removed(), rekey.is_waiting()
    for batch in _batches(site_id):
        readings = []
        for message in batch:
            if message.site_id not in config:  # check_inbox names it
                continue
            if any(spelling in message.stored.body for spelling in erased.get(message.site_id, ())):
                continue
            site_config, changed_at = config[message.site_id]
            if changed_at is not None and message.digested_at < changed_at + SETTLED:
                figures["earlier"] += 1
            else:
                effects = derive(message.stored, site_config.for_message(message.stored))
                if effects.failed:  # the hook takes it no more
                    figures["earlier"] += 1
                    continue
                effects = _without_removed(message, effects, removed)
                said = changes.registers_of(effects.change) if effects.change else {}
                readings.append(DerivedMessage(message, effects, said))
        readings = _without_erased(readings)
        figures["recounted"] += len(readings)
        figures["former"] += sum(each.message.stored.reading < NEWEST for each in readings)
        for part in _parts(readings):
            known = _load(part, excuses_links=excuses_links)
            for reading in part:
                yield from _compare(reading, known)


def _being_erased() -> dict[int, list[bytes]]:
    """Return, by site, how bodies name people whose erasure goes on: stand-ins take their place table by table."""
    found: dict[int, list[bytes]] = {}
    for erasure in Erasure.objects.filter(finished_at=None):
        spellings = [erasure.marker, *stand_ins_of(erasure).spellings]
        found.setdefault(erasure.site_id, []).extend(each.encode() for each in spellings)
    return found


def _removed() -> dict[tuple[int, str, str], datetime | None]:
    """Return until when personas and groups were being removed; None for one that still is."""
    ordered = Removal.objects.order_by("pk")
    return {(each.site_id, each.of, each.name): each.finished_at for each in ordered}


def _without_removed(
    message: ProcessedMessage, effects: Derivation, removed: Mapping[tuple[int, str, str], datetime | None]
) -> Derivation:
    """Leave out a persona or a group that a person removed after the message was digested."""
    change = effects.change
    if change is None or not removed:
        return effects

    def is_gone(of: Removal.Of, name: str) -> bool:
        key = (message.site_id, str(of), name)
        return key in removed and ((until := removed[key]) is None or message.digested_at < until + SETTLED)

    if change.persona is not None and is_gone(Removal.Of.PERSONA, change.persona[0]):
        change = replace(change, persona=None)
    if change.group is not None and is_gone(Removal.Of.GROUP, change.group):
        change = replace(change, group=None, group_traits={})
    return replace(effects, change=change)


def _without_erased(readings: Sequence[DerivedMessage]) -> list[DerivedMessage]:
    """Without the messages of people who are being erased: what these say of them is gone first."""
    by_site: dict[int, list[DerivedMessage]] = {}
    for reading in readings:
        by_site.setdefault(reading.message.site_id, []).append(reading)
    erased = set().union(
        *(
            find_suppressed(site_id, [its.message.stored for its in each], [its.effects for its in each])
            for site_id, each in by_site.items()
        )
    )
    return [reading for reading in readings if reading.message.stored.id not in erased]


def _rules_changed(site: Site) -> datetime | None:
    changes = (last_change(site.pk, [field.name for field in fields(SourceConfig)]), site.rules_changed_at)
    return max((each for each in changes if each is not None), default=None)


def _batches(site_id: int | None) -> Iterator[list[ProcessedMessage]]:
    sizes = stream(
        f"""
        SELECT m.id, octet_length(m.body)
          FROM api_message m
         WHERE {of_site("m.site_id")} AND m.digested_at IS NOT NULL AND m.body <> ''  -- of somebody erased
           AND (m.status IN ('done', 'deferred') OR m.reason = 'goal_backlog_full')
        """,
        {"site": site_id},
    )
    for chunk in iter_chunks((id_, size) for id_, size in sizes):
        yield _load_messages(chunk)


def _load_messages(ids: Sequence[int]) -> list[ProcessedMessage]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {MESSAGE_COLUMNS}, m.site_id, m.status, m.reason, m.effects @> '{{converted}}',
                   m.warnings @> '{{unlisted_persona}}', m.digested_at
              FROM api_message m WHERE m.id = ANY(%b::bigint[])
            """,
            [list(ids)],
        )
        return [
            ProcessedMessage(
                site, StoredMessage.of_row(columns), status, reason, has_converted, is_unlisted, digested_at
            )
            for *columns, site, status, reason, has_converted, is_unlisted, digested_at in cursor.fetchall()
        ]


def _parts(readings: Sequence[DerivedMessage]) -> Iterator[list[DerivedMessage]]:
    """Yield the readings of a batch, as many at a time as may be compared with what is known of their people."""
    size_of = SIZE.replace("i.", "t.")
    sizes: dict[tuple[Any, ...], int] = {
        tuple(key): size
        for *key, size in (
            *_join("cohorts_identity", f"t.site_id, t.kind, t.value, {size_of}", IDENTITY, _identities(readings)),
            *_join("cohorts_group", f"t.site_id, t.group_id, {size_of}", GROUP, _groups(readings)),
        )
    }
    part: list[DerivedMessage] = []
    total = 0
    for reading in readings:
        size = sum(sizes.get(key, 0) for key in (*_identities([reading]), *_groups([reading])))
        if part and total + size > KNOWN_BYTES:
            yield part
            part, total = [], 0
        part.append(reading)
        total += size
    yield part


def _identities(readings: Sequence[DerivedMessage]) -> set[tuple[int, int, str]]:
    return {(each.message.site_id, *key) for each in readings for key in each.said}


def _groups(readings: Sequence[DerivedMessage]) -> set[tuple[int, str]]:
    changes = [(each.message.site_id, each.effects.change) for each in readings]
    return {(site, change.group) for site, change in changes if change is not None and change.group is not None}


def _compare(reading: DerivedMessage, known: Known) -> Iterator[Difference]:
    message, effects = reading.message, reading.effects
    if effects.rejected:
        yield Difference(UNREAD, f"{message.name}: {effects.rejected}")
        return
    for what in _missing(reading, known):
        yield Difference(MISSING, f"{message.name}: {what}")
    fact = _persona_fact(reading)
    if fact and fact not in known.persona_facts and not _is_left_out(reading, fact, known):
        yield Difference(FORGOTTEN, message.name)
    if message.status != "done":
        return
    conversion = known.conversions.get((message.site_id, message.stored.key))
    if effects.goal is None:
        if message.has_converted:
            yield Difference(OTHERWISE, f"{message.name}: hits no goal")
    elif message.has_converted:
        others = _contradictions(effects.goal, conversion) if conversion else []
        if others:
            yield Difference(OTHERWISE, f"{message.name}: {', '.join(others)}")
    elif message.reason != "already_converted":
        yield Difference(UNCONVERTED, message.name)


def _missing(reading: DerivedMessage, known: Known) -> Iterator[str]:
    """What the tables lack of what a message says, in words that name no person."""
    site_id, change = reading.message.site_id, reading.effects.change
    for (kind, value), said in reading.said.items():
        yield from _not_held(changes.Kind(kind).label, said, known.identities.get((site_id, kind, value)))
    if change and change.group is not None:
        yield from _not_held("group", changes.group_registers_of(change), known.groups.get((site_id, change.group)))
    if change and not _links(reading) <= known.links:
        yield "a link to its user is missing"
    is_listed = not reading.message.is_unlisted
    if change and change.persona is not None and is_listed and (site_id, change.persona[0]) not in known.personas:
        yield "its persona is missing"


def _is_left_out(reading: DerivedMessage, fact: PersonaFact, known: Known) -> bool:
    """Return whether a limit may have left a fact out of the history."""
    if reading.message.is_unlisted:
        return True
    site_id, kind, value, _, occurred_at, *_ = fact
    _, registers = known.identities.get((site_id, kind, value), (0, {}))
    until = registers.get(merge.LEFT_OUT, {}).get("history")
    return until is not None and occurred_at <= times.of_stamp(until)


def _links(reading: DerivedMessage) -> set[tuple[int, int, str, str]]:
    """The links of an event, as (site, kind, value, user)."""
    change = reading.effects.change
    links = changes.links_of(change) if change else []
    return {(reading.message.site_id, *key, user) for key, user in links}


def _persona_fact(reading: DerivedMessage) -> PersonaFact | None:
    change = reading.effects.change
    said = changes.persona_fact_of(change) if change else None
    if change is None or said is None:
        return None
    (kind, value), name, is_member = said
    stamp = (change.occurred_at, change.position, change.message_id)
    return reading.message.site_id, kind, value, name, *stamp, is_member


def _not_held(whose: str, said: merge.Registers, held: tuple[int, merge.Registers] | None) -> Iterator[str]:
    if held is None:
        yield f"its {whose} is missing"
    else:
        yield from (f"{name} of {whose} {held[0]}" for name in merge.not_joined(said, held[1]))


def _contradictions(hit: GoalHit, conversion: dict[str, Any]) -> list[str]:
    """The columns of a conversion that are not as its event says. Whose it is by a late link is check_people's."""
    names = [name for name in SAID if conversion[name] != getattr(hit, name)]
    if merge.canonical(msgspec.json.decode(conversion["properties"])) != merge.canonical(
        msgspec.json.decode(hit.properties)
    ):
        names.append("properties")
    is_by_event = conversion["keyed_by"] == Conversion.KeyedBy.EVENT
    if is_by_event != (hit.visitor_code is not None) or (
        is_by_event and conversion["visitor_code"] != hit.visitor_code
    ):
        names.append("visitor_code")
    return names


def _load(readings: Sequence[DerivedMessage], *, excuses_links: bool) -> Known:
    """Return what the tables hold of all that a batch speaks of, with links that are excused. Six queries."""
    links = set().union(*map(_links, readings))
    changes = [(each.message.site_id, each.effects.change) for each in readings if each.effects.change]
    converted = [(each.message.site_id, each.message.stored.key) for each in readings if each.message.has_converted]
    return Known(
        identities={
            (site, kind, value): (id_, msgspec.json.decode(registers))
            for site, kind, value, id_, registers in _join(
                "cohorts_identity",
                "t.site_id, t.kind, t.value, t.id, t.registers::text",
                IDENTITY,
                _identities(readings),
            )
        },
        groups={
            (site, group): (id_, msgspec.json.decode(registers))
            for site, group, id_, registers in _join(
                "cohorts_group",
                "t.site_id, t.group_id, t.id, t.registers::text",
                GROUP,
                _groups(readings),
            )
        },
        # Before `manage.py rekey` has gone through what is stored, nothing says that they are all there.
        links=links if excuses_links else set(_join("cohorts_link", ", ".join(LINK), LINK, links)),
        personas=set(
            _join(
                "cohorts_persona",
                "t.site_id, t.name",
                {"site_id": "bigint", "name": "text"},
                {(site, change.persona[0]) for site, change in changes if change.persona is not None},
            )
        ),
        persona_facts=set(
            _join(
                """
                (SELECT i.site_id, i.kind, i.value, p.name, f.occurred_at, f.position, f.message_id, f.is_member
                   FROM cohorts_personafact f
                   JOIN cohorts_identity i ON i.id = f.identity_id JOIN cohorts_persona p ON p.id = f.persona_id)
                """,
                ", ".join(PERSONA_FACT),
                PERSONA_FACT,
                {fact for each in readings if (fact := _persona_fact(each))},
            )
        ),
        conversions={
            (site, key): dict(zip(COMPARED, values, strict=True))
            for site, key, *values in _join(
                "goals_conversion",
                f"t.site_id, t.message_key, {', '.join(f't.{name}' for name in COMPARED[:-1])}, t.properties::text",
                {"site_id": "bigint", "message_key": "text"},
                set(converted),
            )
        },
    )


def _join(
    table: str, columns: str, keys: Mapping[str, str], wanted: AbstractSet[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """These columns of the rows of a table under the wanted keys. One query."""
    if not wanted:
        return []
    arrays = [list(column) for column in zip(*wanted, strict=True)]
    unnested, names = ", ".join(f"%b::{type_}[]" for type_ in keys.values()), ", ".join(keys)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM unnest({unnested}) AS k ({names}) JOIN {table} t USING ({names})", arrays
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
