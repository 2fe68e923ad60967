"""Readings: versions of the meaning of events, so that a digested message keeps its meaning for ever. Pure.

A message stores the reading it was digested under, and keeps it when it is digested again. Only a retry of a rejected
or failed message uses the newest one. To change the meaning of future events, add a reading with a field in which it
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
    """Differences between readings; each default is the newest behaviour."""

    is_placeholder: ids.Opinion = ids.names_nothing
    heeds_integrations: bool = True  # an event that its sender excludes does nothing
    takes_groups_alone: bool = True  # a group event without a person sets the group's traits
    keeps_long_numbers: bool = False  # 1e308 is a number of 309 digits, not its text
    reads_exposures: bool = True  # `Experiment Viewed` says which variation its visitor saw


READINGS: Final[Mapping[int, Reading]] = {
    1: Reading(
        is_placeholder=lambda text: text.lower() in FIRST_PLACEHOLDERS,
        heeds_integrations=False,
        takes_groups_alone=False,
        keeps_long_numbers=True,
        reads_exposures=False,
    ),
    2: Reading(keeps_long_numbers=True, reads_exposures=False),
    3: Reading(reads_exposures=False),
    4: Reading(),
}
FIRST: Final = min(READINGS)  # also of messages that were digested before readings were stored
NEWEST_READING: Final = max(READINGS)

# The reading of a row of `api_message` in SQL: the stored one, otherwise FIRST if it was digested, otherwise the newest
# one. After a rollback an older version uses its NEWEST_READING for the readings that it does not know.
READING: Final = (
    f"least({NEWEST_READING}, coalesce(reading, CASE WHEN status = 'pending' OR digested_at IS NULL"
    f" THEN {NEWEST_READING} ELSE {FIRST} END))"
)


def reading_of(stored: int | None, *, is_digested: bool) -> int:
    """Return the reading of a row, as READING does in SQL."""
    return min(NEWEST_READING, stored or (FIRST if is_digested else NEWEST_READING))
