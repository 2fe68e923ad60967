"""A message notes which version of what events mean it was digested under."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0020_stand_ins")]

    operations = [
        # Nullable, without a default or a check: a live table is neither rewritten nor scanned, and an older version
        # that still writes need not name the column.
        migrations.AddField(
            model_name="message",
            name="reading",
            field=models.SmallIntegerField(
                help_text="The version of what events mean that it was digested under (api.digest.readings).", null=True
            ),
        ),
    ]
