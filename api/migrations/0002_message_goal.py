"""A message tells which goal it converted; those digested before this keep NULL. Takes no time on a large table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0001_first_tables")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="goal_id",
            field=models.BigIntegerField(help_text="The goal it converted.", null=True),
        ),
    ]
