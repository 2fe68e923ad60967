from django.db import migrations, models


class Migration(migrations.Migration):
    """The first personas of a site are found by an index, which is built beside a running digest."""

    atomic = False

    dependencies = [("cohorts", "0010_limits_of_people")]

    operations = [
        # What a build that was cut short has left is not valid.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS cohorts_persona_first", migrations.RunSQL.noop),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "CREATE INDEX CONCURRENTLY cohorts_persona_first ON cohorts_persona (site_id, created_at, id)",
                    "DROP INDEX CONCURRENTLY IF EXISTS cohorts_persona_first",
                ),
            ],
            state_operations=[
                migrations.AddIndex(
                    model_name="persona",
                    index=models.Index(fields=["site", "created_at", "id"], name="cohorts_persona_first"),
                ),
            ],
        ),
    ]
