"""Keep signs of life of beat and worker, and a table to try writing with."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0032_late_links")]

    operations = [
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("role", models.CharField(choices=[("beat", "Beat"), ("worker", "Worker")], max_length=8)),
                ("host", models.CharField(max_length=255)),
                ("process", models.IntegerField(help_text="Who wrote it last, as that host numbers it.")),
                ("at", models.DateTimeField(help_text="By the database's clock, as all times here.")),
                (
                    "backend",
                    models.IntegerField(
                        help_text="The session that wrote it: a process that is frozen still has its own."
                    ),
                ),
                ("backend_started_at", models.DateTimeField()),
                (
                    "clock_ahead",
                    models.FloatField(help_text="Seconds that the host's clock is ahead of the database's."),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("role", "host"), name="api_heartbeat_host")],
            },
        ),
        migrations.CreateModel(
            name="DatabaseClock",
            fields=[
                ("id", models.SmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("seen_at", models.DateTimeField(help_text="The newest heartbeat.")),
                (
                    "steady_since",
                    models.DateTimeField(
                        help_text="Since then a heartbeat has come every minute, at the expected time."
                    ),
                ),
                ("jumped_at", models.DateTimeField(null=True)),
                ("jumped_by", models.FloatField(default=0, help_text="Seconds.")),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(id=1), name="api_databaseclock_one")],
            },
        ),
        # A page takes one row of 500 bytes only (api.health), so that each try needs a new page of the file.
        migrations.RunSQL(
            "CREATE TABLE api_probe (filler text NOT NULL) WITH (fillfactor = 10)", "DROP TABLE api_probe"
        ),
    ]
