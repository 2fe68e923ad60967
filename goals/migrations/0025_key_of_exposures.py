"""Key exposures by the anonymous id, too. Indexes are built beside a running digest: 5 seconds for a million rows."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

KEY = ["site", "visitor_code", "is_user", "experiment_id", "variation_id"]
COLUMNS = "site_id, visitor_code, is_user, experiment_id, variation_id"
OLD = models.UniqueConstraint(fields=KEY, name="goals_exposure_variation")
NEW = models.UniqueConstraint(fields=[*KEY, "anonymous_id"], name="goals_exposure_key")


def build(name: str, columns: str) -> list[migrations.RunSQL]:
    """Return the operations that make a unique constraint of an index, and drop it when they are reversed."""
    return [
        # A build that was interrupted has left an invalid index.
        migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {name}", migrations.RunSQL.noop),
        migrations.RunSQL(
            f"CREATE UNIQUE INDEX CONCURRENTLY {name} ON goals_exposure ({columns})", migrations.RunSQL.noop
        ),
        migrations.RunSQL(
            f"ALTER TABLE goals_exposure ADD CONSTRAINT {name} UNIQUE USING INDEX {name}",
            f"ALTER TABLE goals_exposure DROP CONSTRAINT IF EXISTS {name}",
        ),
    ]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("goals", "0024_links_of_exposures")]

    operations = [
        migrations.SeparateDatabaseAndState(
            [
                *build("goals_exposure_key", f"{COLUMNS}, anonymous_id"),
                migrations.RunSQL(
                    "ALTER TABLE goals_exposure DROP CONSTRAINT IF EXISTS goals_exposure_variation",
                    # The version before knows no exposures of anonymous ids.
                    f"""
                    DELETE FROM goals_exposure WHERE anonymous_id <> '';
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
