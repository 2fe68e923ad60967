"""A conversion may count for a device of its user, and an anonymous id's link wins over a user's."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the index is built beside a running digest

    dependencies = [("goals", "0007_order_of_arrival")]

    operations = [
        migrations.AlterField(
            model_name="conversion",
            name="keyed_by",
            field=models.PositiveSmallIntegerField(
                choices=[
                    (0, "the event's visitor code"),
                    (2, "the visitor code first linked to its anonymous id"),
                    (1, "the visitor code first linked to its user"),
                    (5, "the first visitor code of a device of its user"),
                    (3, "its user id, unmatched"),
                    (4, "its anonymous id, unmatched"),
                ]
            ),
        ),
        AddIndexConcurrently(
            model_name="conversion",
            index=models.Index(
                fields=["site", "anonymous_id"],
                condition=models.Q(("keyed_by__gte", 1)),
                name="goals_conversion_device",
            ),
        ),
        RemoveIndexConcurrently(model_name="conversion", name="goals_conversion_anonymous"),
    ]
