"""How long a site keeps what is done, and the index that finds what is older."""

import django.core.validators
from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the index is built beside a running inbox

    dependencies = [("api", "0013_last_uses")]

    operations = [
        migrations.AddField(
            model_name="site",
            name="keeps_done_days",
            field=models.PositiveSmallIntegerField(
                blank=True,
                help_text="Counted from when an event was done. Then its body and its trace are deleted; goals, "
                "conversions and people stay. What was refused, is dead or waits stays until a person deals with it. "
                "At least 7; empty: as this installation keeps them (GOALPOST_KEEP_DONE_DAYS, 30).",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(7),
                    django.core.validators.MaxValueValidator(3650),
                ],
                verbose_name="days that events are kept",
            ),
        ),
        AddIndexConcurrently(
            model_name="message",
            index=models.Index(
                condition=models.Q(("status", "done")), fields=["site", "digested_at"], name="api_message_old"
            ),
        ),
        # Without the site: it would read what one site keeps longer each time that another's is pruned.
        RemoveIndexConcurrently(model_name="message", name="api_message_done"),
    ]
