from django.db import migrations, models

# Where identities are stored, `manage.py rekey` has something to do.
BEGIN = """
INSERT INTO api_backfill (stage, position) SELECT 0, 0 WHERE EXISTS (SELECT 1 FROM cohorts_identity)
"""


class Migration(migrations.Migration):
    """Notes how far a command has come that an upgrade asks for."""

    dependencies = [("api", "0016_alerts"), ("cohorts", "0005_links"), ("goals", "0008_device_links")]

    operations = [
        migrations.CreateModel(
            name="Backfill",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "stage",
                    models.PositiveSmallIntegerField(
                        choices=[(0, "identities"), (1, "conversions"), (2, "events"), (3, "done")], default=0
                    ),
                ),
                (
                    "position",
                    models.BigIntegerField(default=0, help_text="The last id of that table that it read."),
                ),
                ("finished_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.RunSQL(BEGIN, migrations.RunSQL.noop),
    ]
