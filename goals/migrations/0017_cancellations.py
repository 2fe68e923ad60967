"""A table of cancelled conversions. It is new, so that this takes no time."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0059_erase_cancellations"),
        ("goals", "0016_feature_flags"),
    ]

    operations = [
        migrations.CreateModel(
            name="Cancellation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("visitor_code", models.CharField(max_length=255)),
                ("is_user", models.BooleanField()),
                ("occurred_at", models.DateTimeField()),
                ("revenue", models.DecimalField(decimal_places=6, max_digits=20, null=True)),
                ("currency", models.CharField(max_length=3, null=True)),
                ("properties", models.JSONField(default=dict)),
                ("message_key", models.CharField(max_length=300)),
                (
                    "goal",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="cancellations",
                        to="goals.goal",
                    ),
                ),
                (
                    "site",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="api.site",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["site", "goal", "occurred_at"],
                        include=("revenue", "currency"),
                        name="goals_cancellation_goal",
                    ),
                    models.Index(fields=["site", "visitor_code", "occurred_at"], name="goals_cancellation_visitor"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("site", "message_key"), name="goals_cancellation_message")
                ],
            },
        ),
    ]
