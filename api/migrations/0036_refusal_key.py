"""Store identical refused events once. Nullable columns, and an index that is built beside a running inbox."""

from django.db import migrations, models

INDEX = """
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS api_message_refusal ON api_message (site_id, refusal_key)
 WHERE refusal_key IS NOT NULL AND status = 'rejected'
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("api", "0035_refusal_tally")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="refusal_key",
            field=models.UUIDField(help_text="What identical refused events share: a keyed hash.", null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="copies",
            field=models.BigIntegerField(
                help_text="Identical ones that were refused after it, and not stored.", null=True
            ),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(INDEX, "DROP INDEX CONCURRENTLY IF EXISTS api_message_refusal"),
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name="message",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(("refusal_key__isnull", False), ("status", "rejected")),
                        fields=("site", "refusal_key"),
                        name="api_message_refusal",
                    ),
                ),
            ],
        ),
    ]
