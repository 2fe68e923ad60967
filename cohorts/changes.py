"""Changes: what one event says of a person, as registers of the identities that it names. Pure."""

import heapq
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cohorts import merge
from cohorts.custom_values import ADDS, CustomValues
from cohorts.ids import is_marker
from cohorts.models import Identity
from times import EPOCH, RESOLUTION

IdentityKey = tuple[int, str]  # (kind, value)
Kind = Identity.Kind
USER, VISITOR, ANONYMOUS = int(Kind.USER), int(Kind.VISITOR), int(Kind.ANONYMOUS)  # int() of a member takes longer
Link = tuple[IdentityKey, str]  # (a device or former id, the user that an event linked it to)
Fact = tuple[str, str]  # (a register, the name in it if it is a map): ("traits", "plan"), ("group", "")
OWNERS = {"user": USER, "anonymous": ANONYMOUS}  # registers that name an owner, with the kind of its identity


@dataclass(slots=True)  # not frozen: a batch makes one for each event, and setting a frozen field takes longer
class Change:
    """The facts and links of one event about one person. Absent ids are None; a None trait removes it."""

    occurred_at: datetime
    position: int
    message_id: str
    user: str | None = None
    anonymous: str | None = None
    visitor: str | None = None
    previous_user: str | None = None  # alias: this id's person is `user` from now on
    traits: dict[str, Any] = field(default_factory=dict)
    group: str | None = None
    group_traits: dict[str, Any] = field(default_factory=dict)
    persona: tuple[str, bool] | None = None
    custom_data: CustomValues | None = None
    is_kept_elsewhere: bool = False  # its time: by a conversion, or a fact of a visit
    micros: int = field(init=False, repr=False)  # `occurred_at` as registers hold it

    def __post_init__(self) -> None:
        self.micros = (self.occurred_at - EPOCH) // RESOLUTION

    def register(self, value: Any) -> merge.Register:
        """Return a register of this value with the event's stamp."""
        return [self.micros, self.position, self.message_id, value]


@dataclass(frozen=True, slots=True)
class Visitors:
    """The visitor codes to which events without a visitor code belong, by their ids."""

    # The code that a user or an anonymous id was first seen with.
    first: dict[IdentityKey, str] = field(default_factory=dict)
    # By user, the earliest code of any device that was ever linked to it.
    device: dict[str, str] = field(default_factory=dict)


def visitors_of(identities: Mapping[IdentityKey, merge.Registers]) -> Visitors:
    """Return the visitor codes that the registers of these identities name."""
    return Visitors(
        first={key: registers["visitor"][3] for key, registers in identities.items() if "visitor" in registers},
        device={
            value: registers["device_visitor"][3]
            for (_, value), registers in identities.items()
            if "device_visitor" in registers
        },
    )


@dataclass(slots=True)
class LoadedIdentity:
    """An identity as a batch changes it: its row, or None for a new one, its registers, and what moved in them."""

    id: int | None
    registers: merge.Registers
    is_shrunk: bool = False  # written by a version without limits and now within them, so that it must be written
    is_changed: bool = False  # more than the stamps of its registers
    created: int | None = None  # in microseconds, of a row that does not say when it was first seen
    is_new: bool = False  # this batch inserted its row
    is_moved: bool = False  # to another owner
    former_owners: set[IdentityKey] = field(default_factory=set)
    changed: set[Fact] = field(default_factory=set)
    restamped: set[Fact] = field(default_factory=set)  # with a later stamp alone

    def note(self, move: merge.Move) -> None:
        """Note a move of one of its registers."""
        self.is_changed = self.is_changed or move == merge.Move.CHANGED

    def note_fact(self, fact: Fact, move: merge.Move) -> None:
        """Note a move of a register that is a fact about the person."""
        if move == merge.Move.CHANGED:
            self.changed.add(fact)
        elif move == merge.Move.RESTAMPED:
            self.restamped.add(fact)

    def note_map(self, name: str, moved: merge.MapMoves) -> None:
        """Note moves of registers of a map."""
        for key, move in moved.moves.items():
            if move:
                self.note_fact((name, key), move)
        self.changed.update((name, key) for key in moved.left_out)

    def note_custom_data(self, moved: merge.MapMoves) -> None:
        """Note moves of custom data. A later stamp alone leaves out what was added meanwhile."""
        moved_keys = (key for key, move in moved.moves.items() if move)
        self.changed.update(("custom_data", key.partition(ADDS)[0]) for key in (*moved_keys, *moved.left_out))

    def point(self, name: str, owner: merge.Register) -> merge.Move:
        """Set a register that names an owner, and note if another identity is the parent now."""
        parent = merge.parent_of(self.registers)
        move = merge.set_latest(self.registers, name, owner)
        if move:
            self.note(move)
        if merge.parent_of(self.registers) != parent:
            self.is_moved = True
            if parent is not None:
                self.former_owners.add((OWNERS[parent[0]], parent[1]))
        return move


def keys_of(change: Change) -> list[IdentityKey]:
    """Return the identities that an event names."""
    return [
        (kind, value)
        for kind, value in (
            (USER, change.user),
            (VISITOR, change.visitor),
            (ANONYMOUS, change.anonymous),
            # The id before an alias may have been either: analytics.js sends the user id or the anonymous one.
            (USER, change.previous_user),
            (ANONYMOUS, change.previous_user),
        )
        if value is not None
    ]


def holder_of(change: Change) -> IdentityKey | None:
    """Return the highest identity that an event names. The facts of the event belong to it."""
    if change.user is not None:
        return USER, change.user
    if change.anonymous is not None:
        return ANONYMOUS, change.anonymous
    return (VISITOR, change.visitor) if change.visitor is not None else None


def links_of(change: Change) -> list[Link]:
    """Return the devices and former ids that one event links to its user."""
    if change.user is None:
        return []
    former = change.previous_user
    keys = [
        (kind, value)
        for kind, value in (
            (ANONYMOUS, change.anonymous),
            (ANONYMOUS, former),
            (USER, former if former != change.user else None),
        )
        if value is not None
    ]
    return [(key, change.user) for key in dict.fromkeys(keys)]


def registers_of(change: Change) -> dict[IdentityKey, merge.Registers]:
    """Return the registers that one event alone would give each identity that it names."""
    known = {key: LoadedIdentity(None, {}) for key in keys_of(change)}
    set_facts(change, known, set())
    set_owners(change, known, set(), {})
    set_first_visitors(change, known, set(), set(), Visitors())
    set_seen(change, known, set())
    return {key: identity.registers for key, identity in known.items()}


def persona_fact_of(change: Change) -> tuple[IdentityKey, str, bool] | None:
    """Return (identity, persona, True if it entered) of an event about a persona."""
    key = holder_of(change)
    return (key, *change.persona) if change.persona is not None and key is not None else None


def group_registers_of(change: Change) -> merge.Registers:
    """Return the registers that one event alone would give its group."""
    registers: merge.Registers = {}
    set_traits(registers, change, change.group_traits)
    return registers


def set_facts(
    change: Change, known: dict[IdentityKey, LoadedIdentity], dirty: set[IdentityKey]
) -> tuple[merge.Move, AbstractSet[str]]:
    """Set the facts of an event on the highest identity that it names.

    Return the largest move, and a warning for each limit that left something out.
    """
    key = holder_of(change)
    if key is None:
        return merge.Move.STAYED, frozenset()
    identity = known[key]
    moved, beyond = set_traits(identity.registers, change, change.traits)
    identity.note_map("traits", moved)
    move = moved.move
    if change.group is not None:
        of_group = merge.set_latest(identity.registers, "group", change.register(change.group))
        identity.note_fact(("group", ""), of_group)
        move = max(move, of_group)
    if change.persona is not None:
        name, is_member = change.persona
        moved = _set_in(identity, "personas", {name: change.register(is_member)})
        identity.note_map("personas", moved)
        move = max(move, moved.move)
        beyond = beyond | {"many_personas"} if moved.left_out else beyond
    if change.custom_data is not None:
        said = {change.custom_data.key(change.message_id): change.register(change.custom_data.counts)}
        moved = _set_in(identity, "custom_data", said)
        identity.note_custom_data(moved)
        move = max(move, moved.move)
        beyond = beyond | {"many_custom_data"} if moved.left_out else beyond
    if move:
        dirty.add(key)
        identity.note(move)
    return move, beyond


def _set_in(identity: LoadedIdentity, name: str, said: Mapping[str, merge.Register]) -> merge.MapMoves:
    return merge.set_all_in_map(identity.registers, name, said, most=merge.MOST_VALUES[name])


def set_seen(change: Change, known: dict[IdentityKey, LoadedIdentity], dirty: set[IdentityKey]) -> None:
    """Note when the identities of an event were seen: the first time of each, and the last time of the highest.

    A row of a version that noted neither stays without. Its own time of creation is the first.
    """
    last_of = None if change.is_kept_elsewhere else holder_of(change)
    for key in keys_of(change):
        registers = known[key].registers
        if known[key].id is not None and merge.FIRST_SEEN not in registers:
            continue
        if merge.set_seen(registers, merge.FIRST_SEEN, change.micros):
            dirty.add(key)
        if key == last_of and merge.set_seen(registers, merge.LAST_SEEN, change.micros):
            dirty.add(key)


def set_traits(
    registers: merge.Registers, change: Change, traits: Mapping[str, Any]
) -> tuple[merge.MapMoves, AbstractSet[str]]:
    if not traits:
        return merge.MapMoves(merge.Move.STAYED), frozenset()
    most = merge.MOST_VALUES["traits"]
    # All traits of an event have one stamp, so that their names decide. 1 MB can hold 100,000 traits.
    names = heapq.nlargest(most + 1, traits) if len(traits) > most else traits
    said = {name: change.register(traits[name]) for name in names}
    moved = merge.set_all_in_map(registers, "traits", said, most=most)
    return moved, frozenset({"many_traits"}) if moved.left_out else frozenset()


def new_links_of(change: Change, known: dict[IdentityKey, LoadedIdentity]) -> list[Link]:
    """Return the links of an event that may be new. Call it before `set_owners`, which changes the latest ones."""
    return [
        (key, user)
        for key, user in links_of(change)
        if (owner := known[key].registers.get("user")) is None or owner[3] != user
    ]


def set_owners(
    change: Change,
    known: dict[IdentityKey, LoadedIdentity],
    dirty: set[IdentityKey],
    former: dict[Link, bool],
) -> tuple[merge.Move, bool]:
    """Point each lower identity of an event at the higher ones.

    Return the largest move, and True if a visitor code changed users. Of links of devices and former ids, note in
    `former` those that the registers do not hold (True), and those that they hold again (False).
    """
    user, anonymous, visitor = change.user, change.anonymous, change.visitor
    links: list[tuple[IdentityKey, str, str]] = []
    if user is not None:
        links += [((ANONYMOUS, anonymous), "user", user)] if anonymous is not None else []
        links += [((VISITOR, visitor), "user", user)] if visitor is not None else []
        if change.previous_user is not None:
            links.append(((ANONYMOUS, change.previous_user), "user", user))
            if change.previous_user != user:
                links.append(((USER, change.previous_user), "user", user))
    if anonymous is not None and visitor is not None:
        links.append(((VISITOR, visitor), "anonymous", anonymous))
    largest, has_moved_visitor = merge.Move.STAYED, False
    for key, name, owner in links:
        registers = known[key].registers
        current = registers.get(name)
        move = known[key].point(name, change.register(owner))
        if move:
            dirty.add(key)
        largest = max(largest, move)
        if current is None or current[3] == owner or name != "user":
            continue
        if key[0] == VISITOR:
            has_moved_visitor = move == merge.Move.CHANGED
        elif move:
            former |= {(key, current[3]): True} if not is_marker(current[3]) else {}  # no event names it any more
            former[key, owner] = False
        else:
            former[key, owner] = True
    return largest, has_moved_visitor


def set_first_visitors(
    change: Change,
    known: dict[IdentityKey, LoadedIdentity],
    dirty: set[IdentityKey],
    moved: set[IdentityKey],
    changed: Visitors,
) -> None:
    """Set the earliest visitor code of a user and an anonymous id. Add identities that moved or changed to both."""
    if change.visitor is not None:
        for kind, value in ((USER, change.user), (ANONYMOUS, change.anonymous)):
            if value is None:
                continue
            key = (kind, value)
            move = merge.set_earliest(known[key].registers, "visitor", change.register(change.visitor))
            if move:
                dirty.add(key)
                known[key].note(move)
                moved.add(key)
            if move == merge.Move.CHANGED and known[key].id is not None:
                changed.first[key] = change.visitor
