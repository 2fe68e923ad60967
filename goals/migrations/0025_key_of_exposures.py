"""Key exposures by the anonymous id, too. Indexes are built beside a running digest: 5 seconds for a million rows."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

KEY = ["site", "visitor_code", "is_user", "experiment_id", "variation_id"]
COLUMNS = "site_id, visitor_code, is_user, experiment_id, variation_id"
OLD = models.UniqueConstraint(fields=KEY, name="goals_exposure_variation")
NEW = models.UniqueConstraint(fields=[*KEY, "anonymous_id"], name="goals_exposure_key")


# The version before knows no exposures of anonymous ids. A user keeps the earliest time beside all of them.
MERGE_USERS = """
INSERT INTO goals_exposure (site_id, visitor_code, is_user, experiment_id, variation_id, anonymous_id, first_at)
SELECT site_id, visitor_code, true, experiment_id, variation_id, '', min(first_at)
  FROM goals_exposure WHERE is_user AND anonymous_id <> ''
 GROUP BY site_id, visitor_code, experiment_id, variation_id
ON CONFLICT (site_id, visitor_code, is_user, experiment_id, variation_id, anonymous_id)
DO UPDATE SET first_at = least(goals_exposure.first_at, excluded.first_at);
"""


def make_key(_: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make the unique constraint of an index, unless an interrupted migration has made it."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_constraint WHERE conname = %s", [NEW.name])
        if cursor.fetchone() is not None:
            return
    # A build that was interrupted has left an invalid index.
    schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {NEW.name}")
    schema_editor.execute(f"CREATE UNIQUE INDEX CONCURRENTLY {NEW.name} ON goals_exposure ({COLUMNS}, anonymous_id)")
    schema_editor.execute(f"ALTER TABLE goals_exposure ADD CONSTRAINT {NEW.name} UNIQUE USING INDEX {NEW.name}")


def drop_key(_: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    schema_editor.execute(f"ALTER TABLE goals_exposure DROP CONSTRAINT IF EXISTS {NEW.name}")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("goals", "0024_links_of_exposures")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                migrations.RunPython(make_key, drop_key),
                migrations.RunSQL(
                    "ALTER TABLE goals_exposure DROP CONSTRAINT IF EXISTS goals_exposure_variation",
                    f"""
                    {MERGE_USERS}
                    DELETE FROM goals_exposure WHERE anonymous_id <> '';
                    ALTER TABLE goals_exposure DROP CONSTRAINT IF EXISTS goals_exposure_variation;
                    ALTER TABLE goals_exposure ADD CONSTRAINT goals_exposure_variation UNIQUE ({COLUMNS})
                    """,
                ),
            ],
            [migrations.RemoveConstraint("exposure", OLD.name), migrations.AddConstraint("exposure", NEW)],
        ),
        *[
            operation
            for index in (
                models.Index(
                    fields=["site", "visitor_code", "id"],
                    condition=models.Q(is_user=True),
                    name="goals_exposure_of_user",
                ),
                models.Index(
                    fields=["site", "anonymous_id", "id"],
                    condition=~models.Q(anonymous_id=""),
                    name="goals_exposure_of_device",
                ),
                models.Index(
                    fields=["site", "linked_code"],
                    condition=models.Q(linked_code__isnull=False),
                    name="goals_exposure_linked",
                ),
            )
            for operation in (
                migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}", migrations.RunSQL.noop),
                AddIndexConcurrently("exposure", index),
            )
        ],
    ]
