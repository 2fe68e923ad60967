"""Values of custom data of a person, by index, as registers keep them. Pure.

An event either replaces the values of an index or adds to them. Each adding event has a register of its own in the map
`custom_data`, so that the same events give the same values in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cohorts import merge

ADDS: Final = "+"  # in the key of a register that adds: the index, this sign and the messageId


@dataclass(frozen=True, slots=True)
class CustomValues:
    """Values of an index with their counts, as one event says them."""

    index: int
    counts: Mapping[str, int]
    overwrites: bool = True

    def key(self, message_id: str) -> str:
        """Return the key of the register in the map `custom_data`."""
        return str(self.index) if self.overwrites else f"{self.index}{ADDS}{message_id}"

    @property
    def is_too_long(self) -> bool:
        """Return True if the values are left out because they are too long."""
        return merge.is_too_long(str(self.index), dict(self.counts))


def read_custom_values(registers: Mapping[str, Any]) -> dict[int, dict[str, int]]:
    """Return the counts of the values of each index, in the order of their arrival.

    The values are those of the latest event that replaced them, and of the events after it that added to them.
    """
    said: dict[str, merge.Register] = registers.get("custom_data", {})
    values: dict[int, dict[str, int]] = {}
    for key, register in sorted(said.items(), key=lambda item: (item[1][:3], item[0])):
        index, is_added, _ = key.partition(ADDS)
        replaced = said.get(index)
        if is_added and replaced is not None and not merge.is_later(register, replaced):
            continue
        counts = values.setdefault(int(index), {})
        for value, count in register[3].items():
            counts[value] = counts.get(value, 0) + count
    return values
