"""A message notes which version of what events mean it was digested under."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0020_stand_ins")]

    operations = [
        # Nullable, without a default or a check: a live table is neither rewritten nor scanned, and an older version
        # that still writes need not name the column. It stays when somebody goes back to such a version: without it,
        # what was digested under a newer reading would be taken for what the first one made of it.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    "ALTER TABLE api_message ADD COLUMN IF NOT EXISTS reading smallint NULL",
                    reverse_sql=migrations.RunSQL.noop,
                )
            ],
            state_operations=[
                migrations.AddField(
                    model_name="message",
                    name="reading",
                    field=models.SmallIntegerField(
                        help_text=("The version of what events mean that it was digested under (api.digest.readings)."),
                        null=True,
                    ),
                ),
            ],
        ),
    ]
