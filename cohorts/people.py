"""What events say of people, applied to their identities: facts, links and first visitor codes, a batch at a time."""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec
from django.db import connection

from cohorts import merge, search
from cohorts.models import SIZE, Group, Identity, Persona
from cohorts.models import Link as LinkRow
from cohorts.remote_data import MOST_LISTED
from locks import Lock, waits_for
from times import EPOCH, RESOLUTION

IdentityKey = tuple[int, str]  # (kind, value)
Kind = Identity.Kind
USERNAME_LENGTH = 255
MOST_BYTES: Final = 8_388_608  # of registers that a batch of several changes reads: some 0.5 s, 100 MB of memory
AT_ONCE: Final = 16_384  # bytes of registers that are read with the lock; larger ones after their sizes are added up
MOST_HISTORY: Final = 1_000  # times that an identity entered or left a persona, the latest
KIND_NAMES = {"user": Kind.USER, "visitor": Kind.VISITOR, "anonymous": Kind.ANONYMOUS}


Link = tuple[IdentityKey, str]  # (a device or former id, the user that an event linked it to)


class TooManyBytesError(Exception):
    """Roll back and digest fewer messages at once, because what is known of their people is too large to hold."""


class LostRaceError(Exception):
    """Roll back and digest the batch again, because its identities are not all locked.

    Another worker made one of them at the same moment, or the batch changes `also`, which must be locked in the order
    of the keys with the others, so that two batches cannot deadlock.
    """

    def __init__(self, also: Iterable[IdentityKey] = ()) -> None:
        super().__init__()
        self.also = frozenset(also)


@dataclass(frozen=True, slots=True)
class Change:
    """What one event says of one person. Absent ids are None; a None trait removes it."""

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

    def register(self, value: Any) -> merge.Register:
        """`value` with this event's stamp."""
        return [(self.occurred_at - EPOCH) // RESOLUTION, self.position, self.message_id, value]


@dataclass(frozen=True, slots=True)
class Applied:
    """What one change did."""

    has_new_facts: bool
    has_new_links: bool
    has_moved_visitor: bool  # its visitor code belonged to another user before
    has_taken_username: bool  # its username is another user's (promise I-16)
    beyond_limits: AbstractSet[str] = frozenset()  # warnings (api.events.reasons) of what the limits left out


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch of changes did, and whose the events of its ids are."""

    applied: list[Applied]
    visitors: "Visitors"  # of every id of the batch
    changed: "Visitors"  # those that this batch changed: their conversions change hands
    postponed: AbstractSet[IdentityKey] = frozenset()  # linked to too many: call `share` for each, step by step


@dataclass(frozen=True, slots=True)
class Visitors:
    """Whose the events of ids without a visitor code are."""

    # The code that a user or an anonymous id was first seen with.
    first: dict[IdentityKey, str] = field(default_factory=dict)
    # By user, the earliest code of any device that was ever linked to it.
    device: dict[str, str] = field(default_factory=dict)


def apply(
    site_id: int,
    changes: Sequence[Change],
    *,
    also: AbstractSet[IdentityKey] = frozenset(),
    most_linked: int,
) -> Batch:
    """Apply what events of one site say. Call it inside a transaction, before anything that touches goals.

    The identities are locked in the order of their keys, those of `also` among them. Raises LostRaceError if another
    worker made one of them meanwhile, or if it has to be called again with more in `also`. Raises TooManyBytesError if
    too much is known of the people of several changes together. Raises HeldError if another session holds a row for
    longer than `lock_timeout`. Three queries, a few more when there are groups, personas, names, new links or people of
    whom much is known.
    """
    keys = {key for change in changes for key in keys_of(change)}
    most = MOST_BYTES if len(changes) > 1 else None
    known = _lock_identities(site_id, sorted(keys | also), most=most)
    dirty: set[IdentityKey] = {key for key in keys if known[key].id is None or known[key].is_shrunk}
    links, moved = list[Link](), set[IdentityKey]()
    changed = Visitors()
    named = {key: search.search_texts(known[key].registers) for key in _named_by(changes)}
    moves = []
    for change in changes:
        facts, beyond = _set_facts(change, known, dirty)
        links += _new_links(change, known)
        owner, has_moved_visitor = _set_owners(change, known, dirty)
        _set_first_visitors(change, known, dirty, moved, changed)
        moves.append((facts == merge.Move.CHANGED, owner == merge.Move.CHANGED, has_moved_visitor, beyond))
    postponed = _share_visitors(site_id, known, links, moved, also=also, dirty=dirty, changed=changed, most=most_linked)
    with waits_for(Lock.IDENTITY):
        _save_identities(site_id, {key: known[key] for key in sorted(dirty)})
        _save_search_texts(site_id, known, named)
        _save_links(site_id, links)
    with waits_for(Lock.GROUP):
        news_of_groups = _save_groups(site_id, changes, most=most)
    with waits_for(Lock.PERSONA):
        unlisted = _save_personas(site_id, changes, known)
    claims = [_find_username(change, known) for change in changes]
    with waits_for(Lock.USERNAME):
        owners = _claim_usernames(site_id, [claim for claim in claims if claim is not None])
    return Batch(
        [
            Applied(
                has_new_facts=has_new_facts or news_of_group.is_news,
                has_new_links=has_new_links,
                has_moved_visitor=has_moved_visitor,
                has_taken_username=claim is not None and owners[claim[0]] != claim[1],
                beyond_limits=beyond
                | news_of_group.beyond_limits
                | ({"unlisted_persona"} if change.persona and change.persona[0] in unlisted else frozenset()),
            )
            for change, (has_new_facts, has_new_links, has_moved_visitor, beyond), news_of_group, claim in zip(
                changes, moves, news_of_groups, claims, strict=True
            )
        ],
        visitors_of({key: identity.registers for key, identity in known.items()}),
        changed,
        postponed,
    )


def visitors_of(identities: Mapping[IdentityKey, merge.Registers]) -> Visitors:
    """Return the visitor codes that the registers of these identities name. Pure."""
    return Visitors(
        first={key: registers["visitor"][3] for key, registers in identities.items() if "visitor" in registers},
        device={
            value: registers["device_visitor"][3]
            for (_, value), registers in identities.items()
            if "device_visitor" in registers
        },
    )


def link(
    site_id: int,
    links: Collection[Link],
    *,
    also: AbstractSet[IdentityKey] = frozenset(),
    most_linked: int,
) -> Batch:
    """Add links of devices and former ids to users, as `apply` does. Links of ids that are gone are left out.

    Call it inside a transaction. Raises LostRaceError as `apply` does. Four queries.
    """
    batch, kept = _share_along(site_id, links, also=also, most=most_linked, most_bytes=None)
    _save_links(site_id, kept)
    return batch


def users_linked(site_id: int, key: IdentityKey, *, after: str, limit: int) -> list[str]:
    """Return the next users that a device or former id was ever linked to, in one order. One query, by the index."""
    kind, value = key
    links = LinkRow.objects.filter(site_id=site_id, kind=kind, value=value, user_value__gt=after)
    return list(links.order_by("user_value").values_list("user_value", flat=True)[:limit])


def share(
    site_id: int, links: Collection[Link], *, also: AbstractSet[IdentityKey] = frozenset(), most_linked: int
) -> Batch:
    """Share the first visitor codes of devices and former ids along links that are there, as `apply` does.

    Call it inside a transaction. Raises LostRaceError and TooManyBytesError as `apply` does. Three queries.
    """
    most_bytes = MOST_BYTES if len(links) > 1 else None
    return _share_along(site_id, links, also=also, most=most_linked, most_bytes=most_bytes)[0]


def _share_along(
    site_id: int, links: Collection[Link], *, also: AbstractSet[IdentityKey], most: int, most_bytes: int | None
) -> tuple[Batch, list[Link]]:
    """Share first visitor codes along these links, and return what changed and the links of ids that are there."""
    keys = {key for device, user in links for key in (device, (int(Kind.USER), user))}
    known = _lock_identities(site_id, sorted(keys | also), most=most_bytes)
    kept = [(key, user) for key, user in links if known[key].id and known[int(Kind.USER), user].id]
    dirty, changed = set[IdentityKey](), Visitors()
    postponed = _share_visitors(site_id, known, kept, set(), also=also, dirty=dirty, changed=changed, most=most)
    _save_identities(site_id, {key: known[key] for key in sorted(dirty)})
    visitors = visitors_of({key: identity.registers for key, identity in known.items()})
    return Batch([], visitors, changed, postponed), kept


def lock_visitors(site_id: int, key: IdentityKey) -> Visitors:
    """Return whose the events of an identity are, and keep it so until the transaction ends. One query."""
    known = _lock_identities(site_id, [key])
    return visitors_of({key: known[key].registers})


def links_said_by(change: Change) -> list[Link]:
    """The devices and former ids that one event links to its user. Pure."""
    if change.user is None:
        return []
    former = change.previous_user
    keys = [
        (int(kind), value)
        for kind, value in (
            (Kind.ANONYMOUS, change.anonymous),
            (Kind.ANONYMOUS, former),
            (Kind.USER, former if former != change.user else None),
        )
        if value is not None
    ]
    return [(key, change.user) for key in dict.fromkeys(keys)]


def said_by(change: Change) -> dict[IdentityKey, merge.Registers]:
    """What one event says of every identity it names: the registers that it alone would leave. Pure."""
    known = {key: _Known(None, {}) for key in keys_of(change)}
    _set_facts(change, known, set())
    _set_owners(change, known, set())
    _set_first_visitors(change, known, set(), set(), Visitors())
    return {key: identity.registers for key, identity in known.items()}


def said_of_persona(change: Change) -> tuple[IdentityKey, str, bool] | None:
    """(of whom, the persona, whether they are in it), if an event says so. Pure."""
    key = _holder(change)
    return (key, *change.persona) if change.persona is not None and key is not None else None


def said_of_group(change: Change) -> merge.Registers:
    """What one event says of its group, likewise. Pure."""
    registers: merge.Registers = {}
    _set_traits(registers, change, change.group_traits)
    return registers


@dataclass(slots=True)
class _Known:
    """An identity in hand: its row, or none yet, and its registers."""

    id: int | None
    registers: merge.Registers
    is_shrunk: bool = False  # a large one of a version without limits: it has to be written


def keys_of(change: Change) -> list[IdentityKey]:
    """Return the identities that an event names. Pure."""
    keys = [
        (kind, value)
        for kind, value in (
            (Kind.USER, change.user),
            (Kind.VISITOR, change.visitor),
            (Kind.ANONYMOUS, change.anonymous),
            # The id before an alias may have been either: analytics.js sends the user id or the anonymous one.
            (Kind.USER, change.previous_user),
            (Kind.ANONYMOUS, change.previous_user),
        )
        if value is not None
    ]
    return [(int(kind), value) for kind, value in keys]


def _holder(change: Change) -> IdentityKey | None:
    """The highest identity that an event names: the facts are its."""
    if change.user is not None:
        return int(Kind.USER), change.user
    if change.anonymous is not None:
        return int(Kind.ANONYMOUS), change.anonymous
    return (int(Kind.VISITOR), change.visitor) if change.visitor is not None else None


def _set_facts(
    change: Change, known: dict[IdentityKey, _Known], dirty: set[IdentityKey]
) -> tuple[merge.Move, AbstractSet[str]]:
    """Put the facts of an event on the highest identity it names: (the largest move, warnings of what is left out)."""
    key = _holder(change)
    if key is None:
        return merge.Move.STAYED, frozenset()
    registers = known[key].registers
    move, beyond = _set_traits(registers, change, change.traits)
    if change.group is not None:
        move = max(move, merge.set_latest(registers, "group", change.register(change.group)))
    if change.persona is not None:
        name, is_member = change.persona
        said = {name: change.register(is_member)}
        moved, left_out = merge.set_all_in_map(registers, "personas", said, most=merge.MOST["personas"])
        move = max(move, moved)
        beyond = beyond | {"many_personas"} if left_out else beyond
    if move:
        dirty.add(key)
    return move, beyond


def _set_traits(
    registers: merge.Registers, change: Change, traits: Mapping[str, Any]
) -> tuple[merge.Move, AbstractSet[str]]:
    if not traits:
        return merge.Move.STAYED, frozenset()
    most = merge.MOST["traits"]
    # Of one event all have one stamp, so that their names decide: no register is made of 100,000 that 1 MB can hold.
    names = heapq.nlargest(most + 1, traits) if len(traits) > most else traits
    said = {name: change.register(traits[name]) for name in names}
    move, left_out = merge.set_all_in_map(registers, "traits", said, most=most)
    return move, frozenset({"many_traits"}) if left_out else frozenset()


def _new_links(change: Change, known: dict[IdentityKey, _Known]) -> list[Link]:
    """The links of an event that are not known to be there: before its owners are set, which are the last ones."""
    return [
        (key, user)
        for key, user in links_said_by(change)
        if (owner := known[key].registers.get("user")) is None or owner[3] != user
    ]


def _set_owners(change: Change, known: dict[IdentityKey, _Known], dirty: set[IdentityKey]) -> tuple[merge.Move, bool]:
    """Point each lower identity of an event at the higher ones; (the largest move, whether a visitor changed users)."""
    user, anonymous, visitor = change.user, change.anonymous, change.visitor
    links: list[tuple[IdentityKey, str, str]] = []
    if user is not None:
        links += [((int(Kind.ANONYMOUS), anonymous), "user", user)] if anonymous is not None else []
        links += [((int(Kind.VISITOR), visitor), "user", user)] if visitor is not None else []
        if change.previous_user is not None:
            links.append(((int(Kind.ANONYMOUS), change.previous_user), "user", user))
            if change.previous_user != user:
                links.append(((int(Kind.USER), change.previous_user), "user", user))
    if anonymous is not None and visitor is not None:
        links.append(((int(Kind.VISITOR), visitor), "anonymous", anonymous))
    largest, has_moved_visitor = merge.Move.STAYED, False
    for key, name, owner in links:
        registers = known[key].registers
        had_owner = name in registers
        move = merge.set_latest(registers, name, change.register(owner))
        if move:
            dirty.add(key)
        largest = max(largest, move)
        if key[0] == Kind.VISITOR and name == "user":
            has_moved_visitor = had_owner and move == merge.Move.CHANGED
    return largest, has_moved_visitor


def _set_first_visitors(
    change: Change,
    known: dict[IdentityKey, _Known],
    dirty: set[IdentityKey],
    moved: set[IdentityKey],
    changed: Visitors,
) -> None:
    """Keep the earliest visitor code of a user and an anonymous id, and note which registers moved or changed."""
    if change.visitor is not None:
        for kind, value in ((Kind.USER, change.user), (Kind.ANONYMOUS, change.anonymous)):
            if value is None:
                continue
            key = (int(kind), value)
            move = merge.set_earliest(known[key].registers, "visitor", change.register(change.visitor))
            if move:
                dirty.add(key)
                moved.add(key)
            if move == merge.Move.CHANGED:
                changed.first[key] = change.visitor


def _share_visitors(
    site_id: int,
    known: dict[IdentityKey, _Known],
    links: Collection[Link],
    moved: AbstractSet[IdentityKey],
    *,
    also: AbstractSet[IdentityKey],
    dirty: set[IdentityKey],
    changed: Visitors,
    most: int,
) -> AbstractSet[IdentityKey]:
    """Tell users of the first visitor codes of the devices and former ids that were ever linked to them.

    A code travels along new links, and from ids whose first code moved along those that are there. At most `most` of
    these are read: ids whose code moved and that have more are returned, for `share`. `device_visitor` is a minimum, so
    neither order nor repetition matters, and a ring of aliases comes to an end.

    Raises LostRaceError when a user that is not of this batch has to be locked. One query, if anything is to travel,
    two if there are too many links.
    """
    begin = {*moved, *((int(Kind.USER), user) for _, user in links)}
    # An id that is new in this batch was never linked before.
    old = {key for key in begin if known[key].id is not None}
    known_links = _links_from(site_id, sorted(old), most + 1)
    unread = _with_more_links(site_id, old, known_links) if len(known_links) > most else frozenset()
    known_links = [(key, user) for key, user in known_links if key not in unread]
    travelled = set(moved)
    users: dict[IdentityKey, set[str]] = {}
    for key, user in (*known_links, *links):
        users.setdefault(key, set()).add(user)
    reached = {(int(Kind.USER), user) for linked in users.values() for user in linked}
    if missing := reached - known.keys():
        raise LostRaceError(missing)
    to_do = [(key, user) for key in {*moved, *(key for key, _ in links)} for user in users.get(key, ())]
    while to_do:
        key, user = to_do.pop()
        target = (int(Kind.USER), user)
        if target in also and known[target].id is None and target not in dirty:
            continue  # erased, and no event of this batch names it
        if _share_visitor(known, key, target, dirty, changed):
            travelled.add(target)
            to_do += [(target, further) for further in users.get(target, ())]
    return travelled & unread


def _share_visitor(
    known: Mapping[IdentityKey, _Known],
    key: IdentityKey,
    target: IdentityKey,
    dirty: set[IdentityKey],
    changed: Visitors,
) -> merge.Move:
    """Move what a user knows of its devices back to the first visitor codes of one of them."""
    move = max(
        (
            merge.set_earliest(known[target].registers, "device_visitor", known[key].registers[name])
            for name in merge.EARLIEST
            if name in known[key].registers
        ),
        default=merge.Move.STAYED,
    )
    if move:
        dirty.add(target)
    if move == merge.Move.CHANGED:
        changed.device[target[1]] = known[target].registers["device_visitor"][3]
    return move


def _links_from(site_id: int, keys: Sequence[IdentityKey], limit: int) -> list[Link]:
    """Return the links of these ids, of the users they lead to, and so on along aliases. One query, if any.

    No more links are read than the limit: PostgreSQL walks on only while rows are asked for.
    """
    if not keys:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE reached (site_id, kind, value, user_value) AS (
                SELECT l.site_id, l.kind, l.value, l.user_value
                  FROM unnest(%b::bigint[], %b::smallint[], %b::text[]) AS k (site_id, kind, value)
                  JOIN cohorts_link l ON l.site_id = k.site_id AND l.kind = k.kind AND l.value = k.value
                 UNION
                SELECT l.site_id, l.kind, l.value, l.user_value
                  FROM reached r
                  JOIN cohorts_link l ON l.site_id = r.site_id AND l.kind = 1 AND l.value = r.user_value
            )
            SELECT kind, value, user_value FROM reached LIMIT %b
            """,
            [[site_id] * len(keys), [kind for kind, _ in keys], [value for _, value in keys], limit],
        )
        return [((kind, value), user) for kind, value, user in cursor.fetchall()]


def _with_more_links(site_id: int, begin: AbstractSet[IdentityKey], links: Sequence[Link]) -> AbstractSet[IdentityKey]:
    """Return which ids, of those with which a walk began and those that it came to, have more links than it read.

    Keys are compared as rows, because only the unique index has their order. Otherwise, if most links of a site belong
    to one id, the planner would read all of the table for each of the others.
    """
    read = Counter(key for key, _ in links)
    keys = sorted(begin | {(int(Kind.USER), user) for _, user in links})
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT k.kind, k.value
              FROM unnest(%b::bigint[], %b::smallint[], %b::text[], %b::int[]) AS k (site_id, kind, value, has_read)
             WHERE k.has_read < (SELECT count(*) FROM (
                SELECT 1 FROM cohorts_link l
                 WHERE (l.site_id, l.kind, l.value) >= (k.site_id, k.kind, k.value)
                   AND (l.site_id, l.kind, l.value) <= (k.site_id, k.kind, k.value)
                 ORDER BY l.site_id, l.kind, l.value, l.user_value LIMIT k.has_read + 1) AS its)
            """,
            [[site_id] * len(keys), [kind for kind, _ in keys], [value for _, value in keys], [read[k] for k in keys]],
        )
        return set(cursor.fetchall())


def _save_links(site_id: int, links: Collection[Link]) -> None:
    """Add links that are new, in the order of their keys. One query, if there are any."""
    rows = sorted(set(links))
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO cohorts_link (site_id, kind, value, user_value)
            SELECT %s, * FROM unnest(%b::smallint[], %b::text[], %b::text[])
            ON CONFLICT DO NOTHING
            """,
            [site_id, [kind for (kind, _), _ in rows], [value for (_, value), _ in rows], [user for _, user in rows]],
        )


def _lock_identities(
    site_id: int, keys: Sequence[IdentityKey], *, most: int | None = None
) -> dict[IdentityKey, _Known]:
    """Return the identities under these keys, those that exist locked in the order of the keys.

    Raises TooManyBytesError before it reads more than about `most` bytes. One query, one more for large identities.
    The site is part of each key: as a constant it would let the planner read all of the site's identities.
    """
    known = {key: _Known(None, {}) for key in keys}
    with waits_for(Lock.IDENTITY), connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT i.kind, i.value, i.id, i.bytes, {SIZE}, CASE WHEN {SIZE} <= {AT_ONCE} THEN i.registers::text END
              FROM {IDENTITIES}
             ORDER BY i.kind, i.value COLLATE "C"
               FOR UPDATE OF i
            """,
            _unzip(site_id, keys),
        )
        rows = cursor.fetchall()
    texts = _read_large("cohorts_identity", [(id_, size, text) for _, _, id_, _, size, text in rows], most=most)
    for kind, value, id_, size, _, text in rows:
        registers = _read(text or texts[id_], is_limited=size is not None)
        known[kind, value] = _Known(id_, registers, is_shrunk=size is None and text is None)
    return known


def _read_large(table: str, rows: Sequence[tuple[int, int, str | None]], *, most: int | None) -> dict[int, str]:
    """Return the registers of those of the rows (id, size, registers) that came without. One query, if there are any.

    Raises TooManyBytesError if all of them together have more than `most` bytes.
    """
    if most is not None and sum(size for _, size, _ in rows) > most:
        raise TooManyBytesError
    large = [id_ for id_, _, text in rows if text is None]
    if not large:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id, registers::text FROM {table} WHERE id = ANY(%b::bigint[])", [large])
        return dict(cursor.fetchall())


def _read(text: str, *, is_limited: bool) -> merge.Registers:
    registers: merge.Registers = msgspec.json.decode(text)
    if not is_limited:
        merge.shrink(registers)
    return registers


def find_held(site_id: int, keys: Sequence[IdentityKey]) -> set[IdentityKey]:
    """Return which of these identities other sessions hold; the others are locked. Two queries.

    An identity that another transaction has made and not committed is not seen.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT i.kind, i.value FROM {IDENTITIES} FOR UPDATE OF i SKIP LOCKED", _unzip(site_id, keys))
        free = set(cursor.fetchall())
        cursor.execute(f"SELECT i.kind, i.value FROM {IDENTITIES}", _unzip(site_id, keys))
        return set(cursor.fetchall()) - free


IDENTITIES: Final = """
    unnest(%b::bigint[], %b::smallint[], %b::text[]) AS k (site_id, kind, value)
      JOIN cohorts_identity i ON i.site_id = k.site_id AND i.kind = k.kind AND i.value = k.value
"""


def _unzip(site_id: int, keys: Sequence[IdentityKey]) -> list[list[Any]]:
    return [[site_id] * len(keys), [kind for kind, _ in keys], [value for _, value in keys]]


def _save_identities(site_id: int, identities: dict[IdentityKey, _Known]) -> None:
    """Write new and changed identities; both in the order of their keys. Two queries at most."""
    new = {key: identity for key, identity in identities.items() if identity.id is None}
    old = {key: identity for key, identity in identities.items() if identity.id is not None}
    with connection.cursor() as cursor:
        if new:
            # Whoever else inserts one of these keys at this moment is waited for here, then wins.
            cursor.execute(
                """
                INSERT INTO cohorts_identity (site_id, kind, value, registers, bytes, parent_kind, parent_value,
                                              created_at, updated_at)
                SELECT %s, i.kind, i.value, i.registers::jsonb, octet_length(i.registers), i.parent_kind,
                       i.parent_value, now(), now()
                  FROM unnest(%b::smallint[], %b::text[], %b::text[], %b::smallint[], %b::text[])
                       AS i (kind, value, registers, parent_kind, parent_value)
                ON CONFLICT (site_id, kind, value) DO NOTHING RETURNING kind, value, id
                """,
                [site_id, [kind for kind, _ in new], [value for _, value in new], *_columns(new.values())],
            )
            if cursor.rowcount != len(new):
                raise LostRaceError
            for kind, value, id_ in cursor.fetchall():
                new[kind, value].id = id_
        if old:
            cursor.execute(
                """
                UPDATE cohorts_identity AS i
                   SET registers = n.registers::jsonb, bytes = octet_length(n.registers),
                       parent_kind = n.parent_kind, parent_value = n.parent_value, updated_at = now()
                  FROM unnest(%b::bigint[], %b::text[], %b::smallint[], %b::text[])
                       AS n (id, registers, parent_kind, parent_value)
                 WHERE i.id = n.id
                """,
                [[identity.id for identity in old.values()], *_columns(old.values())],
            )


def _columns(identities: Iterable[_Known]) -> list[list[Any]]:
    """The registers as JSON and the parent derived from them, column by column."""
    identities = list(identities)
    parents = [merge.parent_of(identity.registers) for identity in identities]
    return [
        [msgspec.json.encode(identity.registers).decode() for identity in identities],
        [int(KIND_NAMES[parent[0]]) if parent else None for parent in parents],
        [parent[1] if parent else None for parent in parents],
    ]


@dataclass(frozen=True, slots=True)
class _NewsOfGroup:
    """The outcome of one change for its group."""

    is_news: bool = False
    beyond_limits: AbstractSet[str] = frozenset()


def _save_groups(site_id: int, changes: Sequence[Change], *, most: int | None) -> list[_NewsOfGroup]:
    """Merge group traits into their groups, and return what was news of one.

    The groups are locked in the order of their ids, except those of which nothing is said: events of everybody may
    name one group. Raises TooManyBytesError as `_lock_identities` does. Three queries, one more for large groups.
    """
    unchanged = _groups_unchanged(site_id, changes)
    ids = sorted({change.group for change in changes if change.group is not None} - unchanged)
    if not ids:
        return [_NewsOfGroup()] * len(changes)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT i.group_id, i.id, i.bytes, {SIZE}, CASE WHEN {SIZE} <= {AT_ONCE} THEN i.registers::text END
              FROM cohorts_group i
             WHERE site_id = %s AND group_id = ANY(%b::text[]) ORDER BY group_id COLLATE "C" FOR UPDATE
            """,
            [site_id, ids],
        )
        found = cursor.fetchall()
        texts = _read_large("cohorts_group", [(id_, size, text) for _, id_, _, size, text in found], most=most)
        groups = {group: _read(text or texts[id_], is_limited=size is not None) for group, id_, size, _, text in found}
        old = set(groups)
        dirty = {group for group, _, size, estimate, _ in found if size is None and estimate > AT_ONCE}
        news = []
        for change in changes:
            if change.group is None or change.group in unchanged:
                news.append(_NewsOfGroup())
                continue
            is_new = change.group not in groups
            registers = groups.setdefault(change.group, {})
            move, beyond = _set_traits(registers, change, change.group_traits)
            if is_new or move:
                dirty.add(change.group)
            news.append(_NewsOfGroup(is_new or move == merge.Move.CHANGED, beyond))
        rows = sorted(dirty)
        cursor.execute(
            """
            INSERT INTO cohorts_group AS g (site_id, group_id, registers, bytes, created_at, updated_at)
            SELECT %s, n.group_id, n.registers::jsonb, octet_length(n.registers), now(), now()
              FROM unnest(%b::text[], %b::text[]) AS n (group_id, registers)
            ON CONFLICT (site_id, group_id) DO UPDATE
               SET registers = excluded.registers, bytes = excluded.bytes, updated_at = now()
             WHERE g.group_id = ANY(%b::text[])
            """,
            [
                site_id,
                rows,
                [msgspec.json.encode(groups[group]).decode() for group in rows],
                list(old),
            ],
        )
        if cursor.rowcount != len(rows):  # a group that was new to us was made by another worker meanwhile
            raise LostRaceError
    return news


def _groups_unchanged(site_id: int, changes: Sequence[Change]) -> AbstractSet[str]:
    """Return the groups that are there and of which these changes say no trait. One query, if any is named so."""
    told = {change.group for change in changes if change.group_traits}
    only_named = {change.group for change in changes if change.group is not None} - told
    if not only_named:
        return frozenset()
    return set(Group.objects.filter(site_id=site_id, group_id__in=only_named).values_list("group_id", flat=True))


def _save_personas(site_id: int, changes: Sequence[Change], known: Mapping[IdentityKey, _Known]) -> AbstractSet[str]:
    """Add personas that the site did not know, and to the history who is in and who is out.

    Return the names for which the site's list has no room: they have no history. After the identities were written,
    which are locked. Three queries, if any, two more for personas that are new and for identities with much history.
    """
    said = [(change, fact) for change in changes if (fact := said_of_persona(change)) is not None]
    if not said:
        return frozenset()
    unlisted = _list_personas(site_id, list(dict.fromkeys(name for _, (_, name, _) in said)))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO cohorts_personafact (identity_id, persona_id, occurred_at, position, message_id, is_member)
            SELECT f.identity_id, p.id, f.occurred_at, f.position, f.message_id, f.is_member
              FROM unnest(%b::bigint[], %b::bigint[], %b::text[], %b::timestamptz[], %b::int[], %b::text[],
                          %b::bool[])
                   AS f (site_id, identity_id, name, occurred_at, position, message_id, is_member)
              JOIN cohorts_persona p ON p.site_id = f.site_id AND p.name = f.name
                ON CONFLICT DO NOTHING
            """,
            [
                [site_id] * len(said),
                [known[key].id for _, (key, _, _) in said],
                [name for _, (_, name, _) in said],
                [change.occurred_at for change, _ in said],
                [change.position for change, _ in said],
                [change.message_id for change, _ in said],
                [is_member for _, (_, _, is_member) in said],
            ],
        )
    _limit_history(site_id, {key: known[key] for _, (key, _, _) in said})
    return unlisted


def _list_personas(site_id: int, names: Sequence[str]) -> AbstractSet[str]:
    """Add names to the site's list as far as there is room, and return the others. One query, three for new names.

    First come, first listed: a flood of names leaves those alone that are there, whatever times it claims. Two workers
    at one moment may exceed the limit by a batch.
    """
    listed = Persona.objects.filter(site_id=site_id)
    known = set(listed.filter(name__in=names).values_list("name", flat=True))
    new = [name for name in names if name not in known]
    if not new:
        return frozenset()
    room = max(0, MOST_LISTED - listed[:MOST_LISTED].count())
    added = sorted(new[:room])
    Persona.objects.bulk_create([Persona(site_id=site_id, name=name) for name in added], ignore_conflicts=True)
    return frozenset(new[room:])


def _limit_history(site_id: int, identities: Mapping[IdentityKey, _Known]) -> None:
    """Keep the latest of the history of each identity, whatever order it came in. One query, two if any has to go."""
    by_id = {identity.id: (key, identity) for key, identity in identities.items()}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM cohorts_personafact WHERE id = ANY(ARRAY(
                SELECT old.id FROM unnest(%b::bigint[]) AS i (id) CROSS JOIN LATERAL (
                    SELECT f.id FROM cohorts_personafact f WHERE f.identity_id = i.id
                     ORDER BY f.occurred_at DESC, f.position DESC, f.message_id COLLATE "C" DESC, f.persona_id DESC,
                              f.is_member DESC
                    OFFSET %b
                ) AS old
            )) RETURNING identity_id, occurred_at
            """,
            [list(by_id), MOST_HISTORY],
        )
        gone = cursor.fetchall()
    dirty = {}
    for id_, occurred_at in gone:
        key, identity = by_id[id_]
        if merge.note_left_out(identity.registers, "history", (occurred_at - EPOCH) // RESOLUTION):
            dirty[key] = identity
    if dirty:
        _save_identities(site_id, {key: dirty[key] for key in sorted(dirty)})


def _named_by(changes: Sequence[Change]) -> set[IdentityKey]:
    """The identities to which events give a trait that people are found by."""
    holders = [_holder(change) for change in changes if not search.FOUND_BY.isdisjoint(change.traits)]
    return {key for key in holders if key is not None}


def _save_search_texts(
    site_id: int, known: Mapping[IdentityKey, _Known], before: Mapping[IdentityKey, AbstractSet[str]]
) -> None:
    """Write the texts by which identities are found, of those that changed. One query, if there are any.

    After the identities were written: new ones have their numbers then.
    """
    after = {key: search.search_texts(known[key].registers) for key in before}
    changed = {key: texts for key, texts in after.items() if texts != before[key]}
    search.write(site_id, {known[key].id or 0: texts for key, texts in changed.items()})


def _find_username(change: Change, known: dict[IdentityKey, _Known]) -> tuple[str, str] | None:
    """(username, user) if the event gives its user a name that no later event changed."""
    name = change.traits.get("username")
    if change.user is None or not isinstance(name, str) or not name.strip() or len(name) > USERNAME_LENGTH:
        return None
    current = known[int(Kind.USER), change.user].registers.get("traits", {}).get("username")
    return (name, change.user) if current is not None and current[3] == name else None


def _claim_usernames(site_id: int, claims: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Give each username to the first who claims it, unless another user still has it; whose each is then.

    After the identities were written: their traits say who still has a name. Two queries, if there are any claims.
    """
    if not claims:
        return {}
    first: dict[str, str] = {}
    for name, user in claims:
        first.setdefault(name, user)
    names = sorted(first)
    users = [first[name] for name in names]
    with connection.cursor() as cursor:
        # Whoever else claims one of these names at this moment is waited for here, so that the next statement sees it.
        cursor.execute(
            """
            INSERT INTO cohorts_username (site_id, name, user_value)
            SELECT %s, n.name, n.claimant FROM unnest(%b::text[], %b::text[]) AS n (name, claimant)
            ON CONFLICT (site_id, name) DO NOTHING
            """,
            [site_id, names, users],
        )
        # Of the rows only those that change hands are locked: everybody may be called "guest".
        cursor.execute(
            """
            WITH held AS MATERIALIZED (
                SELECT u.id, n.name, n.claimant, u.user_value AS holder,
                       (  -- unless an alias made the holder the claimant; a subquery, because without statistics the
                          -- planner would join with all users of the site
                          SELECT i.registers #> '{traits,username,3}' = to_jsonb(n.name)
                                 AND (i.parent_kind, i.parent_value) IS DISTINCT FROM (1, n.claimant)
                            FROM cohorts_identity i
                           WHERE i.site_id = u.site_id AND i.kind = 1 AND i.value = u.user_value
                       ) AS is_theirs
                  FROM unnest(%b::bigint[], %b::text[], %b::text[]) AS n (site_id, name, claimant)
                  JOIN cohorts_username u ON u.site_id = n.site_id AND u.name = n.name AND u.user_value <> n.claimant
            ), free AS (
                SELECT u.id, held.claimant
                  FROM held JOIN cohorts_username u ON u.id = held.id AND u.user_value = held.holder
                 WHERE held.is_theirs IS NOT TRUE
                 ORDER BY u.name COLLATE "C"
                   FOR UPDATE OF u
            ), moved AS (
                UPDATE cohorts_username AS u SET user_value = free.claimant FROM free WHERE u.id = free.id
            )
            SELECT name, holder FROM held WHERE is_theirs
            """,
            [[site_id] * len(names), names, users],
        )
        return first | dict(cursor.fetchall())
