"""The entrance for changes of people: apply a batch of them to identities, groups, personas and usernames."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from cohorts import merge, search
from cohorts.changes import (
    Change,
    IdentityKey,
    Kind,
    Link,
    LoadedIdentity,
    Visitors,
    holder_of,
    keys_of,
    new_links_of,
    set_facts,
    set_first_visitors,
    set_owners,
    set_seen,
    visitors_of,
)
from cohorts.groups import save_groups
from cohorts.identities import MOST_BYTES, lock_identities, save_identities
from cohorts.links import save_links, share_visitors
from cohorts.personas import save_personas
from cohorts.usernames import claim_usernames, username_claim_of
from locks import Lock, waits_for


class ChangeOutcome(NamedTuple):
    """The effects of one change."""

    has_new_facts: bool
    has_new_links: bool
    has_moved_visitor: bool  # its visitor code belonged to another user before
    has_taken_username: bool = False  # its username is another user's (promise I-16)
    beyond_limits: AbstractSet[str] = frozenset()  # warnings (api.events.reasons) of what the limits left out
    has_new_group_traits: bool = False  # of all members of the group


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The effects of a batch of changes, and the visitor codes of its ids."""

    applied: list[ChangeOutcome]
    visitors: "Visitors"  # of every id of the batch
    # Changed by this batch, so that conversions must be re-keyed. A new identity has none, because a conversion is
    # written after its identities.
    changed: "Visitors"
    postponed: AbstractSet[IdentityKey] = frozenset()  # linked to too many: call `share` for each, step by step
    known: Mapping[IdentityKey, LoadedIdentity] = field(default_factory=dict)  # all that are locked, as written


def apply(
    site_id: int,
    changes: Sequence[Change],
    *,
    also: AbstractSet[IdentityKey] = frozenset(),
    most_linked: int,
) -> BatchOutcome:
    """Apply changes of one site. Call it inside a transaction, before any write to goals.

    The identities are locked in the order of their keys, with those of `also`. Raises LostRaceError if another worker
    inserted one of them meanwhile, or if the batch must lock more in `also`. Raises TooManyBytesError if the registers
    of several changes together exceed the limit. Raises HeldError if another session holds a row for longer than
    `lock_timeout`. Three queries, a few more for groups, personas, usernames, new links or large registers.
    """
    keys = {key for change in changes for key in keys_of(change)}
    most = MOST_BYTES if len(changes) > 1 else None
    known = lock_identities(site_id, sorted(keys | also), most=most)
    dirty: set[IdentityKey] = {key for key in keys if known[key].id is None or known[key].is_shrunk}
    links, former, moved = list[Link](), dict[Link, bool](), set[IdentityKey]()
    changed = Visitors()
    named = {key: search.search_texts(known[key].registers) for key in find_renamed(changes)}
    effects = []
    for change in changes:
        facts, beyond = set_facts(change, known, dirty)
        links += new_links_of(change, known)
        owner, has_moved_visitor = set_owners(change, known, dirty, former)
        set_first_visitors(change, known, dirty, moved, changed)
        set_seen(change, known, dirty)
        has_changed, has_new_links = facts == merge.Move.CHANGED, owner == merge.Move.CHANGED
        effects.append((has_changed, has_new_links, has_moved_visitor, beyond))
    postponed = share_visitors(site_id, known, links, moved, also=also, dirty=dirty, changed=changed, most=most_linked)
    with waits_for(Lock.IDENTITY):
        save_identities(site_id, {key: known[key] for key in sorted(dirty)})
        save_search_texts(site_id, known, named)
        save_links(site_id, former)
    with waits_for(Lock.GROUP):
        groups = save_groups(site_id, changes, most=most)
    with waits_for(Lock.PERSONA):
        unlisted = save_personas(site_id, changes, known)
    claims = [username_claim_of(change, known) for change in changes]
    with waits_for(Lock.USERNAME):
        owners = claim_usernames(site_id, [claim for claim in claims if claim is not None])
    outcomes = [
        ChangeOutcome(
            has_changed or group.is_news,
            has_new_links,
            has_moved_visitor,
            has_taken_username=claim is not None and owners[claim[0]] != claim[1],
            beyond_limits=beyond | group.beyond_limits | _unlisted_warning(change, unlisted),
            has_new_group_traits=group.has_new_traits,
        )
        for change, (has_changed, has_new_links, has_moved_visitor, beyond), group, claim in zip(
            changes, effects, groups, claims, strict=True
        )
    ]
    visitors = visitors_of({key: identity.registers for key, identity in known.items()})
    return BatchOutcome(outcomes, visitors, changed, postponed, known)


def note_seen(site_id: int, changes: Sequence[Change], known: Mapping[IdentityKey, LoadedIdentity]) -> None:
    """Note when people were seen by events that were to be kept elsewhere and were not, as hits of unknown goals.

    `known` are the identities as `apply` left them. One query, if a time moved.
    """
    moved = dict[IdentityKey, LoadedIdentity]()
    for change in changes:
        key = holder_of(change)
        registers = {} if key is None else known[key].registers
        # A row of a version that kept no times stays without.
        if key and merge.FIRST_SEEN in registers and merge.set_seen(registers, merge.LAST_SEEN, change.micros):
            moved[key] = known[key]
    with waits_for(Lock.IDENTITY):
        save_identities(site_id, {key: moved[key] for key in sorted(moved)})


def _unlisted_warning(change: Change, unlisted: AbstractSet[str]) -> AbstractSet[str]:
    return {"unlisted_persona"} if change.persona and change.persona[0] in unlisted else frozenset()


def link(
    site_id: int,
    links: Collection[Link],
    *,
    also: AbstractSet[IdentityKey] = frozenset(),
    most_linked: int,
) -> BatchOutcome:
    """Add links of devices and former ids to users, as `apply` does. Links of ids that are gone are left out.

    Call it inside a transaction. Raises LostRaceError as `apply` does. Four queries.
    """
    batch, former = share_along(site_id, links, also=also, most=most_linked, most_bytes=None)
    save_links(site_id, dict.fromkeys(former, True))
    return batch


def share(
    site_id: int, links: Collection[Link], *, also: AbstractSet[IdentityKey] = frozenset(), most_linked: int
) -> BatchOutcome:
    """Share the first visitor codes of devices and former ids along links that are there, as `apply` does.

    Call it inside a transaction. Raises LostRaceError and TooManyBytesError as `apply` does. Three queries.
    """
    most_bytes = MOST_BYTES if len(links) > 1 else None
    return share_along(site_id, links, also=also, most=most_linked, most_bytes=most_bytes)[0]


def share_along(
    site_id: int, links: Collection[Link], *, also: AbstractSet[IdentityKey], most: int, most_bytes: int | None
) -> tuple[BatchOutcome, list[Link]]:
    """Share first visitor codes along these links of ids that are there.

    Return what changed, and those of the links that no register holds.
    """
    keys = {key for device, user in links for key in (device, (int(Kind.USER), user))}
    known = lock_identities(site_id, sorted(keys | also), most=most_bytes)
    kept = [(key, user) for key, user in links if known[key].id and known[int(Kind.USER), user].id]
    dirty, changed = set[IdentityKey](), Visitors()
    postponed = share_visitors(site_id, known, kept, set(), also=also, dirty=dirty, changed=changed, most=most)
    save_identities(site_id, {key: known[key] for key in sorted(dirty)})
    visitors = visitors_of({key: identity.registers for key, identity in known.items()})
    former = [(key, user) for key, user in kept if merge.parent_of(known[key].registers) != ("user", user)]
    return BatchOutcome([], visitors, changed, postponed), former


def lock_visitors(site_id: int, key: IdentityKey) -> Visitors:
    """Return the visitor codes of an identity and lock it until the transaction ends. One query."""
    known = lock_identities(site_id, [key])
    return visitors_of({key: known[key].registers})


def find_renamed(changes: Sequence[Change]) -> set[IdentityKey]:
    """Return the identities to which changes give a trait of the search."""
    holders = [holder_of(change) for change in changes if not search.FOUND_BY.isdisjoint(change.traits)]
    return {key for key in holders if key is not None}


def save_search_texts(
    site_id: int, known: Mapping[IdentityKey, LoadedIdentity], before: Mapping[IdentityKey, AbstractSet[str]]
) -> None:
    """Write the texts by which identities are found, of those that changed. One query, if there are any.

    After the identities were written: new ones have their numbers then.
    """
    after = {key: search.search_texts(known[key].registers) for key in before}
    changed = {key: texts for key, texts in after.items() if texts != before[key]}
    search.write(site_id, {known[key].id or 0: texts for key, texts in changed.items()})
