"""Locks that another session holds for long, and the messages that a worker sets aside because of them.

A worker waits for a lock as long as healthy workers hold one. It sets aside messages that need a lock that is held for
longer, later ones too, so that the others go on. Every two seconds the worker tries one message of each lock again. All
this is in the memory of one process: each worker finds held locks for itself, and no attempt is counted.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar, cast

from django.db import transaction

from api.digest.derivation import Derivation
from api.http.database import TIMEOUTS, SessionKind
from cohorts import changes, identities
from locks import HeldError, Lock

WAIT: Final = TIMEOUTS[SessionKind.WORKER].lock  # seconds
PROBE: Final = 0.1  # seconds of a wait for a lock that may be held for long
RETRY_SECONDS: Final = 2.0  # seconds until messages that were set aside are tried again
SEARCH_SECONDS: Final = 3.0  # seconds a batch to find the held locks; the rest of the batch is set aside
MOST_MESSAGES: Final = 200_000  # messages that a process remembers of a site; 30 MB
TRIED: Final = 3  # messages of a lock, of which one is tried again; another worker may have the first
MISSES: Final = 2


class NeededLock(NamedTuple):
    """A lock that a message needs: its kind and its name."""

    lock: Lock | None  # None: the message itself, if the lock is unknown
    name: Hashable = None


class Blockable(Protocol):
    """A claimed message."""

    @property
    def id(self) -> int: ...


Message = TypeVar("Message", bound=Blockable)
Result = TypeVar("Result")
NeededLocks = Mapping[int, Collection[NeededLock]]  # by message


def find_needed_locks(effects: Derivation, *, makes_goal: bool = False) -> set[NeededLock]:
    """Return the locks that applying a message takes. Pure."""
    needs: set[NeededLock] = set()
    if (change := effects.change) is not None:
        needs |= {NeededLock(Lock.IDENTITY, key) for key in changes.keys_of(change)}
        if change.group is not None:
            needs.add(NeededLock(Lock.GROUP, change.group))
        if change.persona is not None:
            needs.add(NeededLock(Lock.PERSONA, change.persona[0]))
        if isinstance(name := change.traits.get("username"), str):
            needs.add(NeededLock(Lock.USERNAME, name))
    if effects.cancellation is not None:
        needs.add(NeededLock(Lock.GOAL, effects.cancellation.event))
    if (goal := effects.goal) is not None:
        needs.add(NeededLock(Lock.GOAL, goal.event))
        needs.add(NeededLock(Lock.FIGURES, (goal.event, goal.visitor_code or goal.user_id or goal.anonymous_id)))
        if makes_goal:
            needs.add(NeededLock(Lock.NEW_GOALS))
    return needs


@dataclass(slots=True)
class _Site:
    held: dict[NeededLock, float] = field(default_factory=dict)  # when each is tried again
    messages: dict[int, NeededLock] = field(default_factory=dict)
    misses: defaultdict[NeededLock, int] = field(default_factory=lambda: defaultdict(int))


class HeldLocks:
    """The messages that a worker has set aside, by site."""

    def __init__(self) -> None:
        self._sites: defaultdict[int, _Site] = defaultdict(_Site)
        self.busy_names: set[int] = set()  # sites whose goal names were locked when `tend_queues` ran last

    def blocked_messages(self, site_id: int) -> list[int]:
        """Return the messages of a site that must not be claimed."""
        return list(self._sites[site_id].messages) if site_id in self._sites else []

    def has_any(self, site_id: int) -> bool:
        """Return True if a lock of this site is known to be held."""
        return site_id in self._sites

    def is_held(self, site_id: int, need: NeededLock) -> bool:
        return site_id in self._sites and need in self._sites[site_id].held

    def find_held(self, site_id: int, needs: Iterable[NeededLock]) -> NeededLock | None:
        """Return one of these needs that is held."""
        return next((need for need in needs if self.is_held(site_id, need)), None)

    def add(self, site_id: int, need: NeededLock, messages: Iterable[int] = ()) -> None:
        """Note a held lock and set aside the messages that need it."""
        site = self._sites[site_id]
        site.held.setdefault(need, time.monotonic() + RETRY_SECONDS)
        for message in messages:
            if len(site.messages) < MOST_MESSAGES:
                site.messages[message] = need

    def take_due(self, site_id: int) -> dict[NeededLock, list[int]]:
        """Return the locks to try again, each with a few of its messages.

        They count as free until they are added again. Call `settle` with them afterwards.
        """
        if site_id not in self._sites:
            return {}
        site, now = self._sites[site_id], time.monotonic()
        due: dict[NeededLock, list[int]] = {need: [] for need, at in site.held.items() if at <= now}
        for message, need in site.messages.items() if due else ():
            if need in due and len(due[need]) < TRIED:
                due[need].append(message)
        for need in due:
            del site.held[need]
        return due

    def settle(self, site_id: int, due: Collection[NeededLock], *, tried: Collection[NeededLock]) -> None:
        """Release the messages of locks that were tried and not added again. Keep those that another worker tries."""
        site = self._sites[site_id]
        freed: set[NeededLock] = set()
        for need in due:
            if need in site.held:
                site.misses.pop(need, None)
            elif need in tried or site.misses[need] + 1 >= MISSES:
                site.misses.pop(need, None)
                freed.add(need)
            else:
                site.misses[need] += 1
                site.held[need] = time.monotonic() + RETRY_SECONDS
        site.messages = {message: need for message, need in site.messages.items() if need not in freed}
        if not site.held:
            del self._sites[site_id]


def apply_unblocked(
    site_id: int,
    batch: Sequence[Message],
    needs: NeededLocks,
    *,
    held_locks: HeldLocks,
    apply: Callable[[Sequence[Message]], list[Result]],
) -> list[Result]:
    """Digest the messages of a batch whose locks are free, and set the others aside. Call it inside a transaction.

    A part of the batch that waits in vain is divided by the locks of the kind that it waited for, until one is left.
    Held identities are looked up instead, because a frozen worker holds hundreds. Set `lock_timeout` to PROBE before.
    After SEARCH_SECONDS the messages that have not been applied are set aside.
    """
    until = time.monotonic() + SEARCH_SECONDS
    results: list[Result] = []
    parts: list[Sequence[Message]] = [batch]
    while parts:
        part = set_aside_blocked(site_id, parts.pop(), needs, held_locks=held_locks)
        if not part:
            continue
        if time.monotonic() > until:
            for message in part:
                held_locks.add(site_id, NeededLock(None, message.id), [message.id])
            continue
        try:
            with transaction.atomic():
                results += apply(part)
        except HeldError as error:
            parts += reversed(_divide(site_id, part, needs, error.lock, held_locks=held_locks))
    return results


def set_aside_blocked(
    site_id: int, batch: Sequence[Message], needs: NeededLocks, *, held_locks: HeldLocks
) -> list[Message]:
    """Return the messages whose locks are not known to be held, and set the others aside."""
    free = []
    for message in batch:
        need = held_locks.find_held(site_id, (NeededLock(None, message.id), *needs[message.id]))
        if need is None:
            free.append(message)
        else:
            held_locks.add(site_id, need, [message.id])
    return free


def _divide(
    site_id: int, part: Sequence[Message], needs: NeededLocks, lock: Lock, *, held_locks: HeldLocks
) -> list[Sequence[Message]]:
    """Divide a part that waited in vain for a lock of this kind. One query for identities, otherwise none."""
    if lock == Lock.IDENTITY and _find_held_identities(site_id, part, needs, held_locks=held_locks):
        return [part]
    by_need: dict[NeededLock, list[Message]] = {}
    for message in part:
        for need in needs[message.id]:
            if need.lock == lock:
                by_need.setdefault(need, []).append(message)
    if len(by_need) == 1 or len(part) == 1:
        (message, *_) = part
        for need in by_need or [NeededLock(None, message.id)]:
            held_locks.add(site_id, need, [waiting.id for waiting in by_need.get(need, [message])])
        return [part]  # without these messages
    half = set(list(by_need)[: len(by_need) // 2])
    first = [message for message in part if not half.isdisjoint(needs[message.id])]
    if not 0 < len(first) < len(part):
        first = list(part[: len(part) // 2])
    taken = {message.id for message in first}
    return [first, [message for message in part if message.id not in taken]]


def _find_held_identities(site_id: int, part: Sequence[Message], needs: NeededLocks, *, held_locks: HeldLocks) -> bool:
    """Note which identities of these messages are held. Return False if none is."""
    keys = {
        cast("changes.IdentityKey", need.name)
        for message in part
        for need in needs[message.id]
        if need.lock == Lock.IDENTITY
    }
    held = identities.find_held(site_id, sorted(keys))
    for key in held:
        held_locks.add(site_id, NeededLock(Lock.IDENTITY, key))
    return bool(held)
