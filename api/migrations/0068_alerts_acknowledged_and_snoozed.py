"""Let people acknowledge and snooze alerts. Columns without a default: no rewrite."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0067_base_goal_of_rates"),
    ]

    operations = [
        migrations.AddField(
            model_name="alert",
            name="acknowledged_at",
            field=models.DateTimeField(
                editable=False, help_text="A person takes care of it: a reminder every three days only.", null=True
            ),
        ),
        migrations.AddField(
            model_name="alert",
            name="snoozed_until",
            field=models.DateTimeField(
                editable=False, help_text="No reminders before this time, and one then if it still fires.", null=True
            ),
        ),
    ]
