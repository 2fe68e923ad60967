"""Give sources budgets of events and bytes. Nullable columns without a default, so no table is rewritten."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0033_heartbeats"),
    ]

    operations = [
        migrations.AddField(
            model_name="source",
            name="bytes_per_day",
            field=models.BigIntegerField(
                blank=True,
                help_text="Of bodies. Empty: the default of its kind.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(
                        1, "A budget is at least 1. Switch the source off if nothing may come through it."
                    ),
                    django.core.validators.MaxValueValidator(1000000000000000),
                ],
            ),
        ),
        migrations.AddField(
            model_name="source",
            name="bytes_per_minute",
            field=models.BigIntegerField(
                blank=True,
                help_text="Of bodies. Empty: the default of its kind.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(
                        1, "A budget is at least 1. Switch the source off if nothing may come through it."
                    ),
                    django.core.validators.MaxValueValidator(1000000000000000),
                ],
            ),
        ),
        migrations.AddField(
            model_name="source",
            name="events_per_day",
            field=models.BigIntegerField(
                blank=True,
                help_text="Empty: the default of its kind.",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(
                        1, "A budget is at least 1. Switch the source off if nothing may come through it."
                    ),
                    django.core.validators.MaxValueValidator(1000000000000000),
                ],
            ),
        ),
        migrations.AddField(
            model_name="source",
            name="events_per_minute",
            field=models.BigIntegerField(
                blank=True,
                help_text="Empty: the default of its kind (api.budgets).",
                null=True,
                validators=[
                    django.core.validators.MinValueValidator(
                        1, "A budget is at least 1. Switch the source off if nothing may come through it."
                    ),
                    django.core.validators.MaxValueValidator(1000000000000000),
                ],
            ),
        ),
        migrations.CreateModel(
            name="SourceUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "span",
                    models.CharField(choices=[("minute", "minute"), ("day", "day")], max_length=6),
                ),
                ("begins_at", models.DateTimeField()),
                ("events", models.BigIntegerField()),
                ("bytes", models.BigIntegerField()),
                (
                    "turned_away",
                    models.BigIntegerField(help_text="Requests that were refused because the budget was used up."),
                ),
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
                "constraints": [models.UniqueConstraint(fields=("source", "span"), name="api_sourceuse_span")],
            },
        ),
    ]
