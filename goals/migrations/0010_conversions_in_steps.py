"""The indexes of an id's conversions hold their order: late links follow them some at a time."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the indexes are built beside a running digest

    dependencies = [("goals", "0009_names_for_people")]

    operations = [
        # What a build that was cut short has left is not valid.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS goals_conversion_of_user", migrations.RunSQL.noop),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS goals_conversion_of_device", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="conversion",
            index=models.Index(
                fields=["site", "user_id", "id"],
                condition=models.Q(("keyed_by__gte", 1), ("user_id__isnull", False)),
                name="goals_conversion_of_user",
            ),
        ),
        AddIndexConcurrently(
            model_name="conversion",
            index=models.Index(
                fields=["site", "anonymous_id", "id"],
                condition=models.Q(("anonymous_id__isnull", False), ("keyed_by__gte", 1)),
                name="goals_conversion_of_device",
            ),
        ),
        RemoveIndexConcurrently(model_name="conversion", name="goals_conversion_user"),
        RemoveIndexConcurrently(model_name="conversion", name="goals_conversion_device"),
    ]
