"""First statistics of the tables that a digest joins by keys."""

from typing import Final

from django.db import connection

TABLES: Final = (
    "api_message",
    "cohorts_identity",
    "cohorts_link",
    "cohorts_personafact",
    "goals_conversion",
    "goals_goalvisitor",
)


def collect_missing_statistics() -> None:
    """Analyze tables that hold rows and were never analyzed. One query if there are none.

    Without statistics the planner assumes that a site has a two-hundredth of a table, and joins by the site alone.
    Autovacuum comes a minute later, and until then each batch would take longer than the one before.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname FROM pg_class
             WHERE oid = ANY(%b::regclass[]) AND reltuples <= 0 AND pg_relation_size(oid) > 0
            """,
            [list(TABLES)],
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"ANALYZE {table}")
