"""Registers and their join, which gives one state for any order and any repetition of events.

A register is `[micros, position, message_id, value]`: the time of the event in microseconds since 1970, its place in
its request, its messageId (or an empty text), and a value. The later one wins. The canonical JSON of the value breaks
ties (promise K-71), and `None` as a value is a tombstone (K-72). Registers are lists, as JSON returns them.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

Register = list[Any]
Registers = dict[str, Any]

# An identity's registers by name. `traits`, `personas` and `custom_data` are maps of registers; `group` is a register.
# `user` holds the owner, or the user of an alias. `anonymous` holds the owner of a visitor code.
# `visitor` holds the earliest link to a visitor code. `device_visitor` of a user holds the earliest such link of any
# device or former id that was ever linked to it.
# `first_seen` and `last_seen` are times in microseconds. Each identity of an event has the first. The highest has the
# last, unless the event leaves its time in another row: a conversion, or a fact of a visit.
# `left_out` maps the name of such a map to the time of the latest register that the limit of the map left out.
MAPS = ("traits", "personas", "custom_data")
EARLIEST = ("visitor", "device_visitor")
LEFT_OUT: Final = "left_out"
HOLD_FACTS: Final = frozenset({*MAPS, "group"})  # that a person is joined of
FIRST_SEEN: Final = "first_seen"
LAST_SEEN: Final = "last_seen"
SEEN: Final[Mapping[str, Callable[[int, int], int]]] = {FIRST_SEEN: min, LAST_SEEN: max}
# Names in a map of one identity or group, removed traits among them. With traits of VALUE_BYTES that is 3.5 MB at the
# very worst; each event of such a person costs worker and database some 60 ms.
MOST_VALUES: Final[Mapping[str, int]] = {"traits": 500, "personas": 300, "custom_data": 500}
VALUE_BYTES: Final = 4_096  # of a trait's value as JSON
VALUE_ELEMENTS: Final = 256  # of its lists and objects: PostgreSQL needs ten times as long for numbers as for text
NAME_BYTES: Final = 255  # of a trait's name as JSON
MOST_ESCAPED: Final = len("\\u0000")  # bytes that a letter has as JSON


def canonical(value: Any) -> bytes:
    """Return the one JSON spelling of a value, with sorted keys and no white space."""
    return msgspec.json.encode(value, order="sorted")


def is_later(candidate: Register, current: Register) -> bool:
    """Return True if `candidate` wins over `current`. The order is total, so equal registers change nothing."""
    if candidate[0] != current[0]:  # of nearly all events
        return bool(candidate[0] > current[0])
    if candidate[:3] != current[:3]:
        return bool(candidate[:3] > current[:3])
    # As JSON, because for Python True equals 1 and 1 equals 1.0.
    return canonical(candidate[3]) > canonical(current[3])


def is_earlier_link(candidate: Register, current: Register) -> bool:
    """Return True if `candidate` is the earlier link; the bytes of the visitor code break ties.

    Position and messageId come last, so that the register is the same in any order of events.
    """
    return (candidate[0], candidate[3].encode(), *candidate[1:3]) < (current[0], current[3].encode(), *current[1:3])


def is_same(value: Any, other: Any) -> bool:
    """Return True if two values have one canonical JSON."""
    if isinstance(value, str) and isinstance(other, str):
        return value == other
    return canonical(value) == canonical(other)


class Move(IntEnum):
    """The effect of an event on a register."""

    STAYED = 0
    RESTAMPED = 1  # the same value with a later stamp: it must be written, but changes no document
    CHANGED = 2


class MapMoves(NamedTuple):
    """The effect of an event on a map of registers."""

    move: Move  # the largest
    left_out: AbstractSet[str] = frozenset()  # keys that the limit of the map left out
    moves: Mapping[str, Move] = {}  # by key


def set_latest(registers: Registers, name: str, register: Register) -> Move:
    """Move one register forward, in place."""
    current = registers.get(name)
    if current is not None and not is_later(register, current):
        return Move.STAYED
    registers[name] = register
    return Move.RESTAMPED if current is not None and is_same(current[3], register[3]) else Move.CHANGED


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


def set_all_in_map(registers: Registers, name: str, said: Mapping[str, Register], *, most: int) -> MapMoves:
    """Move registers of a map forward, in place, within its limit."""
    moves = {key: set_in_map(registers, name, key, register) for key, register in said.items()}
    if len(registers.get(name, ())) <= most:
        return MapMoves(max(moves.values(), default=Move.STAYED), moves=moves)
    left_out, has_moved = limit_map(registers, name, most=most)
    moved = max((move for key, move in moves.items() if key not in left_out), default=Move.STAYED)
    return MapMoves(max(moved, Move.RESTAMPED) if has_moved else moved, left_out, moves)


def limit_map(registers: Registers, name: str, *, most: int) -> tuple[AbstractSet[str], bool]:
    """Keep the `most` registers of a map with the latest stamps, in place.

    Stamps only move forward, so the `most`-th latest does, too: what it left out once is never needed again. Hence any
    order of the same events keeps the same registers, and the same time of the latest that was left out.

    Return the keys that were left out, and whether that time moved.
    """
    entries = registers.get(name, {})
    if len(entries) <= most:
        return frozenset(), False
    left_out = heapq.nsmallest(len(entries) - most, entries, key=lambda key: (*entries[key][:3], key))
    latest = max(entries[key][0] for key in left_out)
    for key in left_out:
        del entries[key]
    return frozenset(left_out), note_left_out(registers, name, latest)


def note_left_out(registers: Registers, name: str, at: int) -> bool:
    """Record the time of a register that was left out, in place. Return True if it is later than the recorded one."""
    times = registers.setdefault(LEFT_OUT, {})
    if at <= times.get(name, -1):
        return False
    times[name] = at
    return True


def is_too_long(name: str, value: Any) -> bool:
    """Return True if a trait is left out because its name or its value is too long."""
    if isinstance(value, bool | int | float) or value is None:
        return _bytes(name) > NAME_BYTES
    if isinstance(value, str) and len(value) < VALUE_BYTES // MOST_ESCAPED:  # most values: they need not be spelled
        return _bytes(name) > NAME_BYTES
    return _bytes(name) > NAME_BYTES or len(canonical(value)) > VALUE_BYTES or _has_many_elements(value)


def _has_many_elements(value: Any) -> bool:
    """Return True if the lists and objects of a value have too many elements. A loop, because they may nest deep."""
    elements, to_do = 0, [value]
    while to_do and elements <= VALUE_ELEMENTS:
        part = to_do.pop()
        if isinstance(part, dict | list):
            elements += len(part)
            to_do += part.values() if isinstance(part, dict) else part
    return elements > VALUE_ELEMENTS


def _bytes(name: str) -> int:
    return len(name) if name.isascii() and name.isprintable() else len(canonical(name)) - len('""')


def shrink(registers: Registers) -> None:
    """Bring registers that a version without limits wrote within them, in place.

    A value that is too long becomes a tombstone, so that an earlier one does not come back.
    """
    traits = registers.get("traits", {})
    for name in [name for name, register in traits.items() if is_too_long(name, register[3])]:
        if _bytes(name) > NAME_BYTES:
            del traits[name]
        else:
            traits[name] = [*traits[name][:3], None]
    limit_maps(registers)


def limit_maps(registers: Registers, *, most: Mapping[str, int] = MOST_VALUES) -> None:
    """Bring the maps of registers within their limits, in place."""
    for name, limit in most.items():
        limit_map(registers, name, most=limit)


def set_seen(registers: Registers, name: str, at: int) -> bool:
    """Move the first time backward, or the last time forward, in place. Return True if it moved."""
    current = registers.get(name)
    if current is not None and SEEN[name](current, at) == current:
        return False
    registers[name] = at
    return True


def join(all_registers: Iterable[Mapping[str, Any]], *, most: Mapping[str, int] = MOST_VALUES) -> Registers:
    """Join the registers of several identities of one person: per field, the latest. The arguments do not change.

    A person has no more traits and personas than one identity may have.
    """
    joined: Registers = {}
    for registers in all_registers:
        for name in MAPS:
            for key, register in registers.get(name, {}).items():
                set_in_map(joined, name, key, register)
        if "group" in registers:
            set_latest(joined, "group", registers["group"])
        for name in SEEN:
            if name in registers:
                set_seen(joined, name, registers[name])
        for name, at in registers.get(LEFT_OUT, {}).items():
            note_left_out(joined, name, at)
    limit_maps(joined, most=most)
    return joined


def absorb(registers: Registers, said: Registers) -> None:
    """Join further registers of one identity into its registers, in place."""
    for name, register in said.items():
        if name in MAPS:
            set_all_in_map(registers, name, register, most=MOST_VALUES[name])
        elif name in SEEN:
            set_seen(registers, name, register)
        elif name == LEFT_OUT:
            for of_map, at in register.items():
                note_left_out(registers, of_map, at)
        elif name in EARLIEST:
            set_earliest(registers, name, register)
        else:
            set_latest(registers, name, register)


def not_joined(said: Registers, known: Registers) -> list[str]:
    """Return the names of registers in `known` that do not include `said`.

    Joining `said` would move them, or one has the stamp of a message with another value. A register that the limit of
    a map may have left out is not missing.
    """
    missing = []
    for name, register in said.items():
        if name == LEFT_OUT:
            continue
        if name in SEEN:
            at = known.get(name)  # a row of a version that did not keep them has none
            missing += [name] if at is not None and SEEN[name](at, register) != at else []
            continue
        if name in MAPS:
            of_map, left_out = known.get(name, {}), known.get(LEFT_OUT, {}).get(name, -1)
            missing += [
                f"{name}.{key}"
                for key, each in register.items()
                if not _holds(of_map.get(key), each, is_later) and (key in of_map or each[0] > left_out)
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
    """Return the parent of an identity: its user (owner or alias), otherwise its anonymous id, otherwise None."""
    for name in ("user", "anonymous"):
        if name in registers:
            return name, registers[name][3]
    return None
