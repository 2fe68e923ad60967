"""Rows that the recount compares: processed messages in batches, and the tables' rows of their people."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from django.db import connection

from api.checks.base import stream
from api.digest.derivation import MESSAGE_COLUMNS, MESSAGE_TABLES, THESE, Derivation, StoredMessage, choose_messages
from api.http.chunks import iter_chunks
from api.models import Site
from cohorts import changes, merge
from cohorts.models import SIZE

KNOWN_BYTES: Final = 67_108_864  # of registers of people and groups at a time: some 500 MB of memory
EVENT_FIELDS: Final = ("occurred_at", "user_id", "anonymous_id", "revenue", "currency", "value")
COMPARED: Final = (*EVENT_FIELDS, "visitor_code", "keyed_by", "properties")


@dataclass(frozen=True, slots=True)
class ProcessedMessage:
    """A message whose facts about people the digest applied."""

    site_id: int
    stored: StoredMessage
    status: str
    reason: str
    has_converted: bool
    is_unlisted: bool  # the site's list had no room for its persona
    digested_at: datetime

    @property
    def name(self) -> str:
        return f"message {self.stored.id} ({self.stored.key})"


@dataclass(frozen=True, slots=True)
class DerivedMessage:
    """A message with its derivation, and the registers that it sets, by identity."""

    message: ProcessedMessage
    effects: Derivation
    said: dict[changes.IdentityKey, merge.Registers]


IDENTITY: Final = {"site_id": "bigint", "kind": "smallint", "value": "text"}
GROUP: Final = {"site_id": "bigint", "group_id": "text"}
LINK: Final = {"site_id": "bigint", "kind": "smallint", "value": "text", "user_value": "text"}
PersonaFact = tuple[int, int, str, str, datetime, int, str, bool]
VISIT_FACT: Final = {
    "site_id": "bigint",
    "visitor_code": "text",
    "is_user": "bool",
    "type": "smallint",
    "occurred_at": "timestamptz",
    "position": "int",
    "message_id": "text",
}
EXPOSURE: Final = {
    "site_id": "bigint",
    "visitor_code": "text",
    "is_user": "bool",
    "experiment_id": "bigint",
    "variation_id": "bigint",
    "anonymous_id": "text",
}
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
    """Rows of the tables that concern a batch, by site and key."""

    identities: dict[tuple[int, int, str], tuple[int, merge.Registers]]
    groups: dict[tuple[int, str], tuple[int, merge.Registers]]
    links: set[tuple[int, int, str, str]]
    personas: set[tuple[int, str]]
    persona_facts: set[PersonaFact]
    conversions: dict[tuple[int, str], dict[str, Any]]
    visit_facts: AbstractSet[tuple[Any, ...]]
    exposures: Mapping[tuple[Any, ...], datetime]


def load_batches(site_id: int | None) -> Iterator[list[ProcessedMessage]]:
    for site in Site.objects.order_by("pk").values_list("pk", flat=True) if site_id is None else [site_id]:
        sizes = stream(
            """
            SELECT id, size FROM api_message
             WHERE site_id = %(site)s AND digested_at IS NOT NULL AND size > 0  -- 0: of an erased person
               AND (status IN ('done', 'deferred') OR reason = 'goal_backlog_full')
            """,
            {"site": site},
        )
        for chunk in iter_chunks((id_, size) for id_, size in sizes):
            yield _load_messages(site, chunk)


def _load_messages(site_id: int, ids: Sequence[int]) -> list[ProcessedMessage]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT {MESSAGE_COLUMNS}, m.status, m.reason, m.effects @> '{{converted}}',
                   m.warnings @> '{{unlisted_persona}}', m.digested_at
              FROM {MESSAGE_TABLES} WHERE {THESE}
            """,
            choose_messages(site_id, ids),
        )
        return [
            ProcessedMessage(
                site_id, StoredMessage.of_row(columns), status, reason, has_converted, is_unlisted, digested_at
            )
            for *columns, status, reason, has_converted, is_unlisted, digested_at in cursor.fetchall()
        ]


def split_by_size(messages: Sequence[DerivedMessage]) -> Iterator[list[DerivedMessage]]:
    """Yield parts of a batch whose people and groups fit into KNOWN_BYTES together."""
    size_of = SIZE.replace("i.", "t.")
    sizes: dict[tuple[Any, ...], int] = {
        tuple(key): size
        for *key, size in (
            *_join("cohorts_identity", f"t.site_id, t.kind, t.value, {size_of}", IDENTITY, _identities(messages)),
            *_join("cohorts_group", f"t.site_id, t.group_id, {size_of}", GROUP, _groups(messages)),
        )
    }
    part: list[DerivedMessage] = []
    total = 0
    for derived in messages:
        size = sum(sizes.get(key, 0) for key in (*_identities([derived]), *_groups([derived])))
        if part and total + size > KNOWN_BYTES:
            yield part
            part, total = [], 0
        part.append(derived)
        total += size
    yield part


def _identities(messages: Sequence[DerivedMessage]) -> set[tuple[int, int, str]]:
    return {(derived.message.site_id, *key) for derived in messages for key in derived.said}


def _groups(messages: Sequence[DerivedMessage]) -> set[tuple[int, str]]:
    changes = [(derived.message.site_id, derived.effects.change) for derived in messages]
    return {(site, change.group) for site, change in changes if change is not None and change.group is not None}


def links_of(derived: DerivedMessage) -> set[tuple[int, int, str, str]]:
    """Return the links of an event, as (site, kind, value, user)."""
    change = derived.effects.change
    links = changes.links_of(change) if change else []
    return {(derived.message.site_id, *key, user) for key, user in links}


def persona_fact_of(derived: DerivedMessage) -> PersonaFact | None:
    change = derived.effects.change
    said = changes.persona_fact_of(change) if change else None
    if change is None or said is None:
        return None
    (kind, value), name, is_member = said
    stamp = (change.occurred_at, change.position, change.message_id)
    return derived.message.site_id, kind, value, name, *stamp, is_member


def visit_fact_of(derived: DerivedMessage) -> tuple[Any, ...] | None:
    """Return the key of the fact of a visit that an event says, with its site."""
    fact = derived.effects.visit_fact
    return None if fact is None else (derived.message.site_id, *fact.key)


def exposure_of(derived: DerivedMessage) -> tuple[Any, ...] | None:
    """Return the key of the exposure that an event says, with its site."""
    exposure = derived.effects.exposure
    return None if exposure is None else (derived.message.site_id, *exposure.key)


def load_known(messages: Sequence[DerivedMessage], *, excuses_links: bool) -> Known:
    """Load the rows that concern a batch. With `excuses_links` its links count as there. Eight queries."""
    links = set().union(*map(links_of, messages))
    identities = _load_identities(messages)
    changes = [(derived.message.site_id, derived.effects.change) for derived in messages if derived.effects.change]
    return Known(
        identities=identities,
        groups={
            (site, group): (id_, msgspec.json.decode(registers))
            for site, group, id_, registers in _join(
                "cohorts_group",
                "t.site_id, t.group_id, t.id, t.registers::text",
                GROUP,
                _groups(messages),
            )
        },
        # Until `manage.py rekey` has gone through the stored rows, links may be missing.
        links=links if excuses_links else {*_join("cohorts_link", ", ".join(LINK), LINK, links), *_owners(identities)},
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
                   JOIN cohorts_identity i ON i.site_id = f.site_id AND i.id = f.identity_id
                   JOIN cohorts_persona p ON p.site_id = f.site_id AND p.id = f.persona_id)
                """,
                ", ".join(PERSONA_FACT),
                PERSONA_FACT,
                {fact for derived in messages if (fact := persona_fact_of(derived))},
            )
        ),
        conversions=_load_conversions([derived.message for derived in messages]),
        visit_facts=set(
            _join(
                "goals_visitfact",
                ", ".join(VISIT_FACT),
                VISIT_FACT,
                set(filter(None, map(visit_fact_of, messages))),
            )
        ),
        exposures={
            tuple(key): first_at
            for *key, first_at in _join(
                "goals_exposure",
                f"{', '.join(EXPOSURE)}, first_at",
                EXPOSURE,
                set(filter(None, map(exposure_of, messages))),
            )
        },
    )


def _load_identities(
    messages: Sequence[DerivedMessage],
) -> dict[tuple[int, int, str], tuple[int, merge.Registers]]:
    return {
        (site, kind, value): (id_, msgspec.json.decode(registers))
        for site, kind, value, id_, registers in _join(
            "cohorts_identity",
            "t.site_id, t.kind, t.value, t.id, t.registers::text",
            IDENTITY,
            _identities(messages),
        )
    }


def _owners(
    identities: Mapping[tuple[int, int, str], tuple[int, merge.Registers]],
) -> Iterator[tuple[int, int, str, str]]:
    """Yield the links that registers hold, as (site, kind, value, user)."""
    for key, (_, registers) in identities.items():
        if "user" in registers:
            yield (*key, registers["user"][3])


def _load_conversions(messages: Sequence[ProcessedMessage]) -> dict[tuple[int, str], dict[str, Any]]:
    """Load the compared columns of the messages' conversions, by site and key. One query."""
    columns = f"t.site_id, t.message_key, {', '.join(f't.{name}' for name in COMPARED[:-1])}, t.properties::text"
    keys = {(message.site_id, message.stored.key) for message in messages if message.has_converted}
    rows = _join("goals_conversion", columns, {"site_id": "bigint", "message_key": "text"}, keys)
    return {(site, key): dict(zip(COMPARED, values, strict=True)) for site, key, *values in rows}


def _join(
    table: str, columns: str, keys: Mapping[str, str], values: AbstractSet[tuple[Any, ...]]
) -> list[tuple[Any, ...]]:
    """Return these columns of the rows of a table under the given keys. One query."""
    if not values:
        return []
    arrays = [list(column) for column in zip(*values, strict=True)]
    unnested, names = ", ".join(f"%b::{type_}[]" for type_ in keys.values()), ", ".join(keys)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM unnest({unnested}) AS k ({names}) JOIN {table} t USING ({names})", arrays
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
