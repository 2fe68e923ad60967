"""Links of devices and former ids to users, along which first visitor codes are shared.

The register `user` of an identity holds its last link, and `cohorts_link` the others.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from django.db import connection

from cohorts import merge
from cohorts.changes import USER, IdentityKey, Link, LoadedIdentity, Visitors
from cohorts.identities import LostRaceError, as_columns

# The users that the id (kind, value) of `k` was ever linked to, the last one first. OFFSET 0 and the comparison of rows
# keep PostgreSQL at the keys. By another index, it would read all of a site's rows for an id that has few of them.
USERS_OF: Final = """
    SELECT i.parent_value AS user_value FROM (
        SELECT parent_kind, parent_value FROM cohorts_identity
         WHERE site_id = %(site)b AND kind = k.kind AND value = k.value OFFSET 0
    ) AS i WHERE i.parent_kind = 1
     UNION ALL
   (SELECT l.user_value FROM cohorts_link l
     WHERE l.site_id = %(site)b AND (l.kind, l.value) >= (k.kind, k.value) AND (l.kind, l.value) <= (k.kind, k.value)
     ORDER BY l.kind, l.value, l.user_value LIMIT %(limit)b)
"""
ADD: Final = """
INSERT INTO cohorts_link (site_id, kind, value, user_value)
SELECT %(site)b, * FROM unnest(%(kinds)b::smallint[], %(values)b::text[], %(users)b::text[]) ON CONFLICT DO NOTHING
"""
DELETE: Final = """
DELETE FROM cohorts_link l
 USING unnest(%(kinds)b::smallint[], %(values)b::text[], %(users)b::text[]) AS k (kind, value, user_value)
 WHERE l.site_id = %(site)b AND l.kind = k.kind AND l.value = k.value AND l.user_value = k.user_value
"""


def users_linked(site_id: int, key: IdentityKey, *, after: str, limit: int) -> list[str]:
    """Return the next users that a device or former id was ever linked to, in one order. One query, by the keys."""
    kind, value = key
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT user_value FROM (
                SELECT parent_value AS user_value FROM (
                    SELECT parent_kind, parent_value FROM cohorts_identity
                     WHERE site_id = %(site)s AND kind = %(kind)s AND value = %(value)s OFFSET 0
                ) AS i WHERE parent_kind = 1 AND parent_value > %(after)s
                 UNION
               (SELECT user_value FROM cohorts_link
                 WHERE site_id = %(site)s AND kind = %(kind)s AND value = %(value)s AND user_value > %(after)s
                 ORDER BY user_value LIMIT %(limit)s)
            ) AS linked ORDER BY user_value LIMIT %(limit)s
            """,
            {"site": site_id, "kind": kind, "value": value, "after": after, "limit": limit},
        )
        return [user for (user,) in cursor.fetchall()]


def share_visitors(
    site_id: int,
    known: dict[IdentityKey, LoadedIdentity],
    links: Collection[Link],
    moved: AbstractSet[IdentityKey],
    *,
    also: AbstractSet[IdentityKey],
    dirty: set[IdentityKey],
    changed: Visitors,
    most: int,
) -> AbstractSet[IdentityKey]:
    """Set `device_visitor` of users to the earliest first visitor code of their linked devices and former ids.

    A code travels along new links, and from ids whose first code moved along those that are there. At most `most` of
    these are read: ids whose code moved and that have more are returned, for `share`. `device_visitor` is a minimum, so
    neither order nor repetition matters, and a ring of aliases comes to an end.

    Raises LostRaceError when a user that is not of this batch has to be locked. One query, if anything is to travel,
    two if there are too many links.
    """
    begin = {*moved, *((USER, user) for _, user in links)}
    # An id that is new in this batch was never linked before.
    old = {key for key in begin if known[key].id is not None}
    known_links = find_links(site_id, sorted(old), most + 1)
    unread = find_keys_with_more_links(site_id, old, known_links) if len(known_links) > most else frozenset()
    known_links = [(key, user) for key, user in known_links if key not in unread]
    travelled = set(moved)
    users: dict[IdentityKey, set[str]] = {}
    for key, user in (*known_links, *links):
        users.setdefault(key, set()).add(user)
    reached = {(USER, user) for linked in users.values() for user in linked}
    if missing := reached - known.keys():
        raise LostRaceError(missing)
    to_do = [(key, user) for key in {*moved, *(key for key, _ in links)} for user in users.get(key, ())]
    while to_do:
        key, user = to_do.pop()
        target = (USER, user)
        if target in also and known[target].id is None and target not in dirty:
            continue  # erased, and no event of this batch names it
        if share_visitor(known, key, target, dirty, changed):
            travelled.add(target)
            to_do += [(target, further) for further in users.get(target, ())]
    return travelled & unread


def share_visitor(
    known: Mapping[IdentityKey, LoadedIdentity],
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
        known[target].note(move)
    if move == merge.Move.CHANGED and known[target].id is not None:
        changed.device[target[1]] = known[target].registers["device_visitor"][3]
    return move


def find_links(site_id: int, keys: Sequence[IdentityKey], limit: int) -> list[Link]:
    """Return the links of these ids, of the users they lead to, and so on along aliases. One query, if any.

    No more links are read than the limit: PostgreSQL walks on only while rows are asked for.
    """
    if not keys:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH RECURSIVE reached (kind, value, user_value) AS (
                SELECT k.kind, k.value, its.user_value
                  FROM unnest(%(kinds)b::smallint[], %(values)b::text[]) AS k (kind, value), LATERAL ({USERS_OF}) AS its
                 UNION
                SELECT k.kind, k.value, its.user_value
                  FROM reached r, LATERAL (VALUES (1::smallint, r.user_value)) AS k (kind, value),
                       LATERAL ({USERS_OF}) AS its
            )
            SELECT kind, value, user_value FROM reached LIMIT %(limit)b
            """,
            {"site": site_id, **as_columns(keys), "limit": limit},
        )
        return [((kind, value), user) for kind, value, user in cursor.fetchall()]


def find_keys_with_more_links(
    site_id: int, begin: AbstractSet[IdentityKey], links: Sequence[Link]
) -> AbstractSet[IdentityKey]:
    """Return the start and reached ids whose links `find_links` did not read in full. One query."""
    read = Counter(key for key, _ in links)
    keys = sorted(begin | {(USER, user) for _, user in links})
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT k.kind, k.value
              FROM unnest(%(kinds)b::smallint[], %(values)b::text[], %(read)b::int[]) AS k (kind, value, has_read)
             WHERE k.has_read < (
                SELECT count(*) FROM (SELECT 1 FROM ({USERS_OF}) AS its LIMIT k.has_read + 1) AS counted)
            """,
            {
                "site": site_id,
                **as_columns(keys),
                "read": [read[key] for key in keys],
                "limit": max(read.values(), default=0) + 1,
            },
        )
        return set(cursor.fetchall())


def save_links(site_id: int, former: Mapping[Link, bool]) -> None:
    """Add links that no register holds (True), and delete those that one holds again. One query for either, if any.

    Call it while the identities are locked.
    """
    for verb, is_former in ((ADD, True), (DELETE, False)):
        rows = sorted(link for link, is_one in former.items() if is_one == is_former)
        if rows:
            keys, users = [key for key, _ in rows], [user for _, user in rows]
            with connection.cursor() as cursor:
                cursor.execute(verb, {"site": site_id, **as_columns(keys), "users": users})
