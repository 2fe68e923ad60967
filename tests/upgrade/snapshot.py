"""Snapshot of a database as people and SDKs see it, taken before and after an upgrade."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psycopg

CLIENT_ID, CLIENT_SECRET = "before_client", "before_secret"
Ask = Callable[[str, str], str]  # (sitecode, key) -> the remote data as text


def take_snapshot(connection: psycopg.Connection[Any], ask: Ask) -> dict[str, Any]:
    """Return goals with conversions and tags, members of each site, and remote data under every id."""
    sites = [row[0] for row in connection.execute("SELECT sitecode FROM api_site ORDER BY 1").fetchall()]
    identities = connection.execute(
        "SELECT DISTINCT s.sitecode, i.value FROM cohorts_identity i JOIN api_site s ON s.id = i.site_id ORDER BY 1, 2"
    ).fetchall()
    keys = [(site, f"{kind}_{value}") for site, value in identities for kind in ("IDENTIFY", "COHORTS")]
    return {
        "goals": rows(
            connection,
            """
            SELECT s.sitecode, g.name, g.archived_at IS NOT NULL, into_.name, count(c.id),
                   count(DISTINCT c.visitor_code),
                   (SELECT array_agg(t.name::text ORDER BY t.name COLLATE "C") FROM goals_goal_tags gt
                      JOIN goals_tag t ON t.id = gt.tag_id WHERE gt.goal_id = g.id)
              FROM goals_goal g
              JOIN api_site s ON s.id = g.site_id
              LEFT JOIN goals_goal into_ ON into_.id = g.merged_into_id
              LEFT JOIN goals_conversion c ON c.goal_id = g.id
             WHERE g.deleted_at IS NULL GROUP BY s.sitecode, g.id, into_.name ORDER BY s.sitecode, g.name COLLATE "C"
            """,
        ),
        "members": rows(
            connection,
            """
            SELECT s.sitecode, u.username, m.role FROM api_membership m
              JOIN api_site s ON s.id = m.site_id JOIN auth_user u ON u.id = m.user_id ORDER BY 1, 2
            """,
        ),
        "documents": documents(ask, [*keys, *((site, "common") for site in sites)]),
    }


def documents(ask: Ask, keys: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Return remote data by `<sitecode> <key>`."""
    return {f"{site} {key}": ask(site, key) for site, key in keys}


def conversions(connection: psycopg.Connection[Any]) -> dict[str, list[Any]]:
    """Return visitor code, user id and anonymous id of each conversion, by sitecode and message key."""
    all_rows = rows(
        connection,
        """
        SELECT s.sitecode || ' ' || c.message_key, c.visitor_code, c.user_id, c.anonymous_id FROM goals_conversion c
          JOIN api_site s ON s.id = c.site_id ORDER BY s.sitecode, c.message_key COLLATE "C"
        """,
    )
    return {str(key): values for key, *values in all_rows}


def rows(connection: psycopg.Connection[Any], sql: str) -> list[list[Any]]:
    """Return rows as lists, so that they equal rows that were read from JSON."""
    return [list(row) for row in connection.execute(sql).fetchall()]
