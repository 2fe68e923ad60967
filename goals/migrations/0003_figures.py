"""Tables for the figures of goals that are kept: by visitor, by day and in all."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("goals", "0002_conversion_source"),
    ]

    operations = [
        migrations.CreateModel(
            name="GoalDay",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "goal_id", "day", "part", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("day", models.DateField()),
                ("part", models.SmallIntegerField()),
                ("conversions", models.IntegerField()),
                (
                    "visits",
                    models.IntegerField(
                        help_text="That began on this day; less than 0 where other parts hold too many."
                    ),
                ),
                ("revenue", models.JSONField(help_text="By currency, as texts.")),
                (
                    "goal",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="goals.goal",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="GoalTotal",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "goal_id", "part", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("part", models.SmallIntegerField()),
                ("conversions", models.BigIntegerField()),
                ("visits", models.BigIntegerField()),
                ("visitors", models.BigIntegerField()),
                ("revenue", models.JSONField(help_text="By currency, as texts.")),
                (
                    "goal",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="goals.goal",
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="GoalVisitor",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "goal_id", "visitor_code", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("visitor_code", models.CharField(max_length=255)),
                ("conversions", models.IntegerField()),
                (
                    "visits",
                    models.IntegerField(
                        help_text="Stretches of conversions with less than 30 minutes between any two."
                    ),
                ),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("revenue", models.JSONField(help_text="By currency, as texts: a float would not be exact.")),
                (
                    "has_gone_on",
                    models.BooleanField(
                        help_text="Whether what was added last belongs to a visit from before; only its writer asks.",
                        null=True,
                    ),
                ),
                (
                    "goal",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="goals.goal",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["goal", "last_at"], name="goals_goalvisitor_last")],
            },
        ),
    ]
