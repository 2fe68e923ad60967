"""A conversion tells who sent its event; those made before this keep NULL. Takes no time on a large table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("goals", "0001_first_tables")]

    operations = [
        migrations.AddField(
            model_name="conversion",
            name="source_id",
            field=models.BigIntegerField(help_text="Who sent its event; empty before this was noted.", null=True),
        ),
    ]
