"""Registers and how they join: the laws that make any order and any repetition of events give one state.

A register is `[micros, position, message_id, value]`: when the event happened (microseconds since 1970, UTC), its
place in its request, its messageId (empty when it has none) and what it said. The later one wins, ties are broken by
the canonical JSON of the value (promises K-71), and `None` as a value is a tombstone (K-72). Registers are lists
because that is how they come back from JSON.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any

import msgspec

Register = list[Any]
Registers = dict[str, Any]

# An identity's registers: {"traits": {name: register}, "group": register, "personas": {name: register},
# "user": register (its owner, or the user an alias made it), "anonymous": register, "visitor": its earliest link to a
# visitor code, "device_visitor": of a user, the earliest such link of any device or former id it was ever linked to}.
MAPS = ("traits", "personas")
EARLIEST = ("visitor", "device_visitor")


def canonical(value: Any) -> bytes:
    """The one JSON spelling of a value: keys sorted, no white space."""
    return msgspec.json.encode(value, order="sorted")


def is_later(candidate: Register, current: Register) -> bool:
    """Whether `candidate` wins over `current`. A total order, so equal registers change nothing."""
    if candidate[:3] != current[:3]:
        return bool(candidate[:3] > current[:3])
    # Not compared as Python values, to which True is 1 and 1 is 1.0.
    return canonical(candidate[3]) > canonical(current[3])


def is_earlier_link(candidate: Register, current: Register) -> bool:
    """Whether `candidate` is the first link of the two: smallest time, ties by the bytes of the visitor code.

    Position and messageId come last, only so that the register itself is the same in any order.
    """
    return (candidate[0], candidate[3].encode(), *candidate[1:3]) < (current[0], current[3].encode(), *current[1:3])


class Move(IntEnum):
    """What became of a register."""

    STAYED = 0
    RESTAMPED = 1  # the same value, said again later: it has to be written, but changes no document
    CHANGED = 2


def set_latest(registers: Registers, name: str, register: Register) -> Move:
    """Move one register forward, in place."""
    current = registers.get(name)
    if current is not None and not is_later(register, current):
        return Move.STAYED
    registers[name] = register
    return Move.RESTAMPED if current is not None and canonical(current[3]) == canonical(register[3]) else Move.CHANGED


def set_earliest(registers: Registers, name: str, register: Register) -> Move:
    """Move a register of a first visitor code (`EARLIEST`) backward to an earlier link, in place."""
    current = registers.get(name)
    if current is not None and not is_earlier_link(register, current):
        return Move.STAYED
    registers[name] = register
    return Move.RESTAMPED if current is not None and current[3] == register[3] else Move.CHANGED


def set_in_map(registers: Registers, name: str, key: str, register: Register) -> Move:
    """Move one register of a map (`traits`, `personas`) forward, in place."""
    return set_latest(registers.setdefault(name, {}), key, register)


def join(all_registers: Iterable[Mapping[str, Any]]) -> Registers:
    """What several identities of one person say together: per field, the latest. The arguments are left as they are."""
    joined: Registers = {}
    for registers in all_registers:
        for name in MAPS:
            for key, register in registers.get(name, {}).items():
                set_in_map(joined, name, key, register)
        if "group" in registers:
            set_latest(joined, "group", registers["group"])
    return joined


def absorb(registers: Registers, said: Registers) -> None:
    """Join what was said of one identity into its registers, in place."""
    for name, register in said.items():
        if name in MAPS:
            for key, each in register.items():
                set_in_map(registers, name, key, each)
        elif name in EARLIEST:
            set_earliest(registers, name, register)
        else:
            set_latest(registers, name, register)


def not_joined(said: Registers, known: Registers) -> list[str]:
    """The registers of `known` that do not hold what was `said`: joining it in would move them, or one has the stamp
    of a message that said something else.
    """
    missing = []
    for name, register in said.items():
        if name in MAPS:
            of_map = known.get(name, {})
            missing += [
                f"{name}.{key}" for key, each in register.items() if not _holds(of_map.get(key), each, is_later)
            ]
        elif not _holds(known.get(name), register, is_earlier_link if name in EARLIEST else is_later):
            missing.append(name)
    return missing


def _holds(current: Register | None, said: Register, wins: Callable[[Register, Register], bool]) -> bool:
    if current is None:
        return False
    if said[2] and current[:3] == said[:3]:  # of one message, unless it has no messageId
        return canonical(current[3]) == canonical(said[3])
    return not wins(said, current)


def parent_of(registers: Mapping[str, Any]) -> tuple[str, str] | None:
    """Where an identity points: its user (an owner or an alias), else its anonymous id, else nowhere."""
    for name in ("user", "anonymous"):
        if name in registers:
            return name, registers[name][3]
    return None
