"""Usernames: each belongs to the first user who claims it, as long as that user's traits have it."""

from collections.abc import Sequence

from django.db import connection

from cohorts.changes import Change, IdentityKey, Kind, LoadedIdentity

USERNAME_LENGTH = 255


def username_claim_of(change: Change, known: dict[IdentityKey, LoadedIdentity]) -> tuple[str, str] | None:
    """(username, user) if the event gives its user a name that no later event changed."""
    name = change.traits.get("username")
    if change.user is None or not isinstance(name, str) or not name.strip() or len(name) > USERNAME_LENGTH:
        return None
    current = known[int(Kind.USER), change.user].registers.get("traits", {}).get("username")
    return (name, change.user) if current is not None and current[3] == name else None


def claim_usernames(site_id: int, claims: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Give each username to its first claimant unless another user has it. Return the owner by name.

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
