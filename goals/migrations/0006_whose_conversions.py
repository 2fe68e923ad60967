"""The index of a goal's conversions holds whose they are: visits of merged goals are counted from it alone."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the index is built beside a running digest

    dependencies = [("goals", "0005_merged_goals")]

    operations = [
        AddIndexConcurrently(
            model_name="conversion",
            index=models.Index(
                fields=["goal", "occurred_at", "id"], include=["visitor_code"], name="goals_conversion_of_goal"
            ),
        ),
        RemoveIndexConcurrently(model_name="conversion", name="goals_conversion_goal"),
    ]
