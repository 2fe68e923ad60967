"""The status `dead` becomes `failed`. Failed rows are few: they are updated in batches, by their index."""

from typing import Any

import django.core.validators
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

CHUNK = 1_000


def rename_status(schema_editor: Any, old: str, new: str) -> None:
    """Update CHUNK rows at a time, each chunk in its own commit, so that no row stays locked for long."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT id FROM api_site")
        for (site,) in cursor.fetchall():
            while True:
                cursor.execute(
                    """
                    UPDATE api_message SET status = %s WHERE id IN (
                        SELECT id FROM api_message WHERE site_id = %s AND status = %s ORDER BY id DESC LIMIT %s)
                    """,
                    [new, site, old, CHUNK],
                )
                if cursor.rowcount < CHUNK:
                    break


def rename_to_failed(_apps: Any, schema_editor: Any) -> None:
    rename_status(schema_editor, "dead", "failed")


def rename_to_dead(_apps: Any, schema_editor: Any) -> None:
    rename_status(schema_editor, "failed", "dead")


class Migration(migrations.Migration):
    atomic = False  # the indexes are built beside a running inbox

    dependencies = [
        ("api", "0038_describe_fields"),
    ]

    operations = [
        migrations.AlterField(
            model_name="message",
            name="status",
            field=models.CharField(
                choices=[
                    ("pending", "Queued"),
                    ("deferred", "Queued (goal limit)"),
                    ("done", "Processed"),
                    ("rejected", "Rejected"),
                    ("failed", "Failed"),
                ],
                default="pending",
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="site",
            name="keeps_done_days",
            field=models.PositiveSmallIntegerField(
                blank=True,
                help_text="Counted from when an event was done. Then its body and its trace are deleted; goals, "
                "conversions and people stay. What was rejected goes as many days after it came, what failed after 90 "
                "at the earliest; what waits stays. At least 7; empty: as this installation keeps them "
                "(GOALPOST_KEEP_DONE_DAYS, 30).",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(7),
                    django.core.validators.MaxValueValidator(3650),
                ],
                verbose_name="days that events are kept",
            ),
        ),
        AddIndexConcurrently(
            model_name="message",
            index=models.Index(
                fields=["site", "status", "-id"],
                condition=models.Q(("status__in", ["rejected", "failed"])),
                name="api_message_failures",
            ),
        ),
        migrations.RunPython(rename_to_failed, rename_to_dead),
        RemoveIndexConcurrently(model_name="message", name="api_message_failed"),
    ]
