"""What comes in through each source, twice through two of them, and from files."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0005_rules")]

    operations = [
        migrations.AddField(
            model_name="source",
            name="takes_track",
            field=models.BooleanField(
                default=True,
                help_text="Off where another source sends the same track events, or pages that become some.",
            ),
        ),
        migrations.CreateModel(
            name="SourceTally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField()),
                ("received", models.BigIntegerField(help_text="Messages, duplicates and rejected ones among them.")),
                ("duplicates", models.BigIntegerField()),
                ("rejected", models.BigIntegerField(help_text="At the door.")),
                ("last_received_at", models.DateTimeField()),
                (
                    "source",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="api.source",
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=["source", "hour"], name="api_sourcetally_hour")],
            },
        ),
        migrations.CreateModel(
            name="Twin",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_name", models.CharField(help_text="Of the latest pair.", max_length=500)),
                ("count", models.BigIntegerField()),
                ("last_seen_at", models.DateTimeField()),
                (
                    "one",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="api.source"),
                ),
                (
                    "other",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="api.source"),
                ),
                (
                    "site",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="twins", to="api.site"),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("one", "other"), name="api_twin_pair")],
            },
        ),
        migrations.CreateModel(
            name="Load",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "fingerprint",
                    models.CharField(help_text="Of the file's size, its first and its last MiB.", max_length=64),
                ),
                ("file_name", models.CharField(max_length=255)),
                ("lines", models.BigIntegerField(default=0, help_text="Lines done, from the file's beginning.")),
                ("stored", models.BigIntegerField(default=0)),
                ("duplicates", models.BigIntegerField(default=0)),
                ("rejected", models.BigIntegerField(default=0)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="loads", to="api.source"
                    ),
                ),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("source", "fingerprint"), name="api_load_file")],
            },
        ),
    ]
