"""Let a rule name the field that holds the revenue. No SQL."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0028_pages_by_title")]

    operations = [
        migrations.AlterField(
            model_name="rule",
            name="action",
            field=models.CharField(
                choices=[
                    ("drop", "ignore the event"),
                    ("no_goal", "make no goal and no conversion"),
                    ("rename", "rename the event"),
                    ("page_to_track", "take the page for a track event"),
                    ("pattern_goal", "group names of one pattern under one goal"),
                    ("group_from", "take the group from a field"),
                    ("revenue_from", "take the revenue from a field where the event has none"),
                    ("drop_field", "remove a field before the event is stored"),
                    ("hash_field", "hash a field before the event is stored"),
                ],
                max_length=16,
            ),
        ),
    ]
