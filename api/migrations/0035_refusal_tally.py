"""Count what becomes of refused events, by source, day and reason; and say on the settings page how long they stay."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0034_source_budgets")]

    operations = [
        migrations.CreateModel(
            name="RefusalTally",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("day", models.DateField()),
                ("reason", models.CharField(max_length=32)),
                ("kept", models.BigIntegerField()),
                ("kept_bytes", models.BigIntegerField()),
                ("copies", models.BigIntegerField(help_text="Identical to one that is kept.")),
                ("not_kept", models.BigIntegerField(help_text="Over the allowance of the day: counted only.")),
                ("last_at", models.DateTimeField()),
                (
                    "source",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="api.source",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("source", "day", "reason"), name="api_refusaltally_day")
                ],
            },
        ),
        migrations.AlterField(
            model_name="site",
            name="keeps_done_days",
            field=models.PositiveSmallIntegerField(
                blank=True,
                help_text="Counted from when an event was done. Then its body and its trace are deleted; goals, "
                "conversions and people stay. What was refused goes as many days after it came, what is dead after 90 "
                "at the earliest; what waits stays. At least 7; empty: as this installation keeps them "
                "(GOALPOST_KEEP_DONE_DAYS, 30).",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(7),
                    django.core.validators.MaxValueValidator(3650),
                ],
                verbose_name="days that events are kept",
            ),
        ),
    ]
