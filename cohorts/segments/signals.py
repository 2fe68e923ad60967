"""Signals: true or false now, and each later time at which time alone turns it. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple


class Signal(NamedTuple):
    """A claim that holds or not, and the later times at which it turns, in their order."""

    holds: bool
    turns: tuple[datetime, ...] = ()

    def at(self, moment: datetime) -> bool:
        """Return True if the claim holds at a later moment."""
        return self.holds != (sum(turn <= moment for turn in self.turns) % 2 == 1)

    @property
    def next_turn(self) -> datetime | None:
        """Return the time at which time alone turns it first, None if never."""
        return self.turns[0] if self.turns else None


ALWAYS = Signal(holds=True)
NEVER = Signal(holds=False)


def claim(holds: bool) -> Signal:  # noqa: FBT001 - it is the claim
    """Return the signal of a claim that time alone never turns."""
    return ALWAYS if holds else NEVER


def negate(signal: Signal) -> Signal:
    return Signal(not signal.holds, signal.turns)


def all_of(signals: Sequence[Signal]) -> Signal:
    """Return the signal that holds while all hold."""
    if len(signals) == 1:
        return signals[0]
    return NEVER if NEVER in signals else _combine(signals, all)


def any_of(signals: Sequence[Signal]) -> Signal:
    """Return the signal that holds while at least one holds."""
    if len(signals) == 1:
        return signals[0]
    return ALWAYS if ALWAYS in signals else _combine(signals, any)


def until(end: datetime | None, now: datetime) -> Signal:
    """Return the signal that holds before `end`."""
    if end is None:
        return ALWAYS
    return Signal(holds=True, turns=(end,)) if now < end else NEVER


def since(begin: datetime | None, now: datetime) -> Signal:
    """Return the signal that holds from `begin` on."""
    return negate(until(begin, now)) if begin is not None else NEVER


def _combine(signals: Sequence[Signal], join: Callable[[Iterable[bool]], bool]) -> Signal:
    holds = join([signal.holds for signal in signals])
    turns = list[datetime]()
    before = holds
    for moment in sorted({turn for signal in signals for turn in signal.turns}):
        after = join(signal.at(moment) for signal in signals)
        if after != before:
            turns.append(moment)
        before = after
    return Signal(holds, tuple(turns))
