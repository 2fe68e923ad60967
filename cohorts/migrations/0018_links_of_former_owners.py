from typing import Any

from django.db import connection, migrations

CHUNK = 20_000
NEXT = "SELECT max(id) FROM (SELECT id FROM {table} WHERE id > %s ORDER BY id LIMIT {chunk}) AS next"
DELETE = """
DELETE FROM cohorts_link l USING cohorts_identity i
 WHERE l.id > %s AND l.id <= %s AND i.site_id = l.site_id AND i.kind = l.kind AND i.value = l.value
   AND i.parent_kind = 1 AND i.parent_value = l.user_value
"""
INSERT = """
INSERT INTO cohorts_link (site_id, kind, value, user_value)
SELECT site_id, kind, value, parent_value FROM cohorts_identity
 WHERE id > %s AND id <= %s AND kind IN (1, 3) AND parent_kind = 1
    ON CONFLICT DO NOTHING
"""


def in_chunks(table: str, statement: str) -> None:
    """Run a statement for the rows of a table, a chunk of ids at a time."""
    begin = 0
    with connection.cursor() as cursor:
        while True:
            cursor.execute(NEXT.format(table=table, chunk=CHUNK), [begin])
            (end,) = cursor.fetchone()
            if end is None:
                return
            cursor.execute(statement, [begin, end])
            begin = end


def delete_links_of_owners(_apps: Any, _: Any) -> None:
    in_chunks("cohorts_link", DELETE)


def insert_links_of_owners(_apps: Any, _: Any) -> None:
    in_chunks("cohorts_identity", INSERT)


class Migration(migrations.Migration):
    """A link that a register holds has no row. Workers that expect one must not run, as UPGRADING.md says."""

    atomic = False  # what is done stays done, and no row is locked for long

    dependencies = [("cohorts", "0017_segments")]

    operations = [migrations.RunPython(delete_links_of_owners, insert_links_of_owners)]
