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
        # Of the rows only those that change hands are locked, in the order of names: everybody may be called "guest".
        cursor.execute(
            """
            WITH held AS MATERIALIZED (
                -- Subqueries, because without statistics the planner would join with all users or names of the site.
                SELECT n.name, n.claimant, u.user_value AS holder,
                       (  -- unless an alias made the holder the claimant
                          SELECT i.registers #> '{traits,username,3}' = to_jsonb(n.name)
                                 AND (i.parent_kind, i.parent_value) IS DISTINCT FROM (1, n.claimant)
                            FROM cohorts_identity i
                           WHERE i.site_id = %(site)b AND i.kind = 1 AND i.value = u.user_value
                       ) AS is_theirs
                  FROM unnest(%(names)b::text[], %(users)b::text[]) AS n (name, claimant), LATERAL (
                    SELECT user_value FROM cohorts_username WHERE site_id = %(site)b AND name = n.name OFFSET 0
                  ) AS u
                 WHERE u.user_value <> n.claimant
            ), free AS (
                SELECT held.name, held.claimant FROM held, LATERAL (
                    SELECT 1 FROM cohorts_username
                     WHERE site_id = %(site)b AND name = held.name AND user_value = held.holder FOR UPDATE
                ) AS u
                 WHERE held.is_theirs IS NOT TRUE
            ), moved AS (
                INSERT INTO cohorts_username (site_id, name, user_value) SELECT %(site)b, name, claimant FROM free
                    ON CONFLICT (site_id, name) DO UPDATE SET user_value = excluded.user_value
            )
            SELECT name, holder FROM held WHERE is_theirs
            """,
            {"site": site_id, "names": names, "users": users},
        )
        return first | dict(cursor.fetchall())
