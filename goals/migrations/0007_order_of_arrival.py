"""Keep the place of a name that waits for quota, whatever changes.

Names that wait at the time of the migration have arrival 0 and keep their order among each other, before all others.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the index is built beside a running digest

    dependencies = [("goals", "0006_whose_conversions")]

    operations = [
        migrations.AddField(
            model_name="waitingname",
            name="arrival",
            field=models.BigIntegerField(
                default=0, db_default=0, help_text="The number of the earliest message that waits for it."
            ),
        ),
        migrations.AddField(
            model_name="waitingname",
            name="look_again_at",
            field=models.DateTimeField(
                null=True,
                help_text="The site's rules changed at this time. The messages that were digested before it are "
                "digested once more, and the name keeps its place until then.",
            ),
        ),
        AddIndexConcurrently(
            model_name="waitingname",
            index=models.Index(
                fields=["site", "arrival", "id"],
                condition=models.Q(has_goal=False),
                name="goals_waitingname_order",
            ),
        ),
        RemoveIndexConcurrently(model_name="waitingname", name="goals_waitingname_queue"),
    ]
