"""Events of personas, and identities with as many facts as they may have."""

import json
from collections.abc import Sequence
from typing import Any

from django.db import connection

from api.insight.people import CHANGES, PersonaChange, with_messages
from api.models import Site
from cohorts import merge
from cohorts.models import Identity
from tests.world import World

MOST_TRAITS = merge.MOST_VALUES["traits"]


def audience(world: World, name: str, *, entered: bool, at: float = 0, **fields: Any) -> dict[str, Any]:
    return world.event(
        event="Audience Entered" if entered else "Audience Exited",
        at=at,
        **{"properties": {"audience_key": name, name: entered}, **fields},
    )


def persona_changes(site: Site, person: Sequence[Identity]) -> list[PersonaChange]:
    """Return the changes of personas that the export of a person has."""
    with connection.cursor() as cursor:
        cursor.execute(CHANGES, {"site": site.pk, "identities": [identity.pk for identity in person]})
        return with_messages(site, cursor.fetchall())


def get_identity(value: str = "user-1") -> Identity:
    return Identity.objects.get(value=value)


def write_large(value: str, *, traits: int = MOST_TRAITS, size: int = merge.VALUE_BYTES - 2) -> None:
    """Give an identity a number of traits of the maximum length, `t0` the latest."""
    registers = get_identity(value).registers
    registers["traits"] = {f"t{number}": [10**15 - number, 0, "m", "x" * size] for number in range(traits)}
    save_registers(value, registers)


def save_registers(value: str, registers: merge.Registers) -> None:
    size = len(json.dumps(registers, separators=(",", ":"), ensure_ascii=False).encode())
    Identity.objects.filter(value=value).update(registers=registers, bytes=size)
