"""The budget of a source: the most events and bytes that it may send in a minute and on a day."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MIB: Final = 2**20
MAX_BUDGET: Final = 10**15  # of a budget: far more than any source sends, and exact in every JSON reader


class BudgetSpan(StrEnum):
    MINUTE = "minute"
    DAY = "day"  # of UTC


@dataclass(frozen=True, slots=True)
class Budget:
    """The most events and bytes of bodies that a source may send, refused ones and duplicates included."""

    events_per_minute: int
    bytes_per_minute: int
    events_per_day: int
    bytes_per_day: int

    def limits(self, span: BudgetSpan) -> tuple[int, int]:
        """Return the most events and the most bytes of a span."""
        if span == BudgetSpan.MINUTE:
            return self.events_per_minute, self.bytes_per_minute
        return self.events_per_day, self.bytes_per_day


BUDGET_FIELDS: Final = ("events_per_minute", "bytes_per_minute", "events_per_day", "bytes_per_day")
# 2,000 events a second are what two cores digest at best, and 2 kB each is twice an ordinary event's size. A browser's
# key is in its pages, where anybody reads it: a quarter of the events, and a day of 1 kB each.
SERVER_DEFAULTS: Final = Budget(120_000, 256 * MIB, 50_000_000, 40 * 1_024 * MIB)
BROWSER_DEFAULTS: Final = Budget(30_000, 32 * MIB, 5_000_000, 4 * 1_024 * MIB)
PUBLIC_KINDS: Final = ("browser", "sdk")  # of sources into which anybody may send


def resolve_budget(kind: str, *own: int | None) -> Budget:
    """Return the budget of a source of this kind: its own figures in the order of BUDGET_FIELDS, defaults for None."""
    default = BROWSER_DEFAULTS if kind in PUBLIC_KINDS else SERVER_DEFAULTS
    return Budget(
        *(getattr(default, name) if value is None else value for name, value in zip(BUDGET_FIELDS, own, strict=True))
    )
