"""Say what the finding of an alert is that fires. No SQL."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0018_messages_that_waited")]

    operations = [
        migrations.AlterField(
            model_name="alert",
            name="finding",
            field=models.TextField(
                blank=True,
                editable=False,
                help_text="What was found at the last look; while it fires, when it last held.",
            ),
        ),
    ]
