"""Readings: the versions of what an event means, so that a stored message means for ever what it meant. Pure.

A message notes the reading it was digested under, and keeps it when it is digested again. Only what is tried again
after a refusal is read anew. When events are to mean something else from now on, add a reading and a field in which it
differs, and let `mapping` act on that field.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cohorts import ids

FIRST_PLACEHOLDERS: Final = frozenset(
    {"null", "undefined", "none", "nan", "guest", "anonymous", "0", "-1", "true", "false", "[object object]"}
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What readings differ in; a field left out is as it is today."""

    is_placeholder: ids.Opinion = ids.names_nothing
    heeds_integrations: bool = True  # an event whose sender does not want it here does nothing
    takes_groups_alone: bool = True  # a group event that names nobody sets the group's traits
    keeps_long_numbers: bool = False  # 1e308 is a number of 309 digits, not its text


READINGS: Final[Mapping[int, Reading]] = {
    1: Reading(
        is_placeholder=lambda text: text.lower() in FIRST_PLACEHOLDERS,
        heeds_integrations=False,
        takes_groups_alone=False,
        keeps_long_numbers=True,
    ),
    2: Reading(keeps_long_numbers=True),
    3: Reading(),
}
FIRST: Final = min(READINGS)  # also of messages that were digested before a reading was noted
NEWEST: Final = max(READINGS)

# The reading of a row of `api_message` in SQL: the one noted; without, the first if a digest took it, else the newest.
# A version that was rolled back reads what a newer one noted as well as it can.
READING: Final = (
    f"least({NEWEST}, coalesce(reading, CASE WHEN status = 'pending' OR digested_at IS NULL"
    f" THEN {NEWEST} ELSE {FIRST} END))"
)


def reading_of(noted: int | None, *, is_digested: bool) -> int:
    """Return the same for a row in Python."""
    return min(NEWEST, noted or (FIRST if is_digested else NEWEST))
