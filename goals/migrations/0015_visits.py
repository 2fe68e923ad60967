"""Tables of visits and exposures. They are new, so that this takes no time."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0054_sources_of_sdks"),
        ("goals", "0014_conversions_of_goal"),
    ]

    operations = [
        migrations.CreateModel(
            name="Exposure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("visitor_code", models.CharField(max_length=255)),
                ("is_user", models.BooleanField()),
                ("experiment_id", models.BigIntegerField()),
                ("variation_id", models.BigIntegerField()),
                ("first_at", models.DateTimeField()),
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
                "constraints": [
                    models.UniqueConstraint(
                        fields=("site", "visitor_code", "is_user", "experiment_id", "variation_id"),
                        name="goals_exposure_variation",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="VisitActivity",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("visitor_code", models.CharField(max_length=255)),
                ("is_user", models.BooleanField()),
                ("started_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
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
                "constraints": [
                    models.UniqueConstraint(
                        fields=("site", "visitor_code", "is_user", "started_at"), name="goals_visitactivity_start"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="VisitFact",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("visitor_code", models.CharField(max_length=255)),
                ("is_user", models.BooleanField(help_text="True if the visitor code is the id of a user.")),
                (
                    "type",
                    models.PositiveSmallIntegerField(
                        choices=[(1, "page view"), (2, "static data"), (3, "geolocation"), (4, "custom data")]
                    ),
                ),
                ("occurred_at", models.DateTimeField()),
                ("position", models.PositiveIntegerField(help_text="The place in the request that brought it.")),
                ("message_id", models.CharField(max_length=255)),
                ("fact", models.JSONField()),
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
                "constraints": [
                    models.UniqueConstraint(
                        fields=("site", "visitor_code", "is_user", "type", "occurred_at", "position", "message_id"),
                        name="goals_visitfact_event",
                    )
                ],
            },
        ),
    ]
