"""Store identical refused events once: an index that is built beside a running inbox."""

from django.db import migrations, models

# What a build that was cut short has left is not valid.
FORGET = "DROP INDEX CONCURRENTLY IF EXISTS api_message_refusal"
INDEX = """
CREATE UNIQUE INDEX CONCURRENTLY api_message_refusal ON api_message (site_id, refusal_key)
 WHERE refusal_key IS NOT NULL AND status = 'rejected'
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("api", "0036_refusal_columns")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(FORGET, migrations.RunSQL.noop),
                migrations.RunSQL(INDEX, FORGET),
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
