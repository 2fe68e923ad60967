"""Tables of experiments, their variations, goals and phases. Empty, so that no lock lasts."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0069_days_in_site_zone"),
        ("goals", "0022_zones_of_days"),
    ]

    operations = [
        migrations.CreateModel(
            name="Experiment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "number",
                    models.BigIntegerField(
                        help_text="The id in exposures: that of the SDKs, or one that its key gives."
                    ),
                ),
                ("key", models.CharField(help_text="As exposures name it.", max_length=255)),
                ("name", models.CharField(blank=True, help_text="Chosen by a person.", max_length=255)),
                (
                    "event_name",
                    models.CharField(
                        blank=True, editable=False, help_text="From the earliest event that names it.", max_length=255
                    ),
                ),
                ("named_at", models.DateTimeField(editable=False, null=True)),
                (
                    "tags",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=100),
                        blank=True,
                        default=list,
                        editable=False,
                        help_text="Kinds of senders, sorted.",
                        size=None,
                    ),
                ),
                (
                    "origin",
                    models.CharField(
                        choices=[
                            ("event", "automatic"),
                            ("person", "created manually"),
                            ("api", "created through the API"),
                        ],
                        default="person",
                        editable=False,
                        max_length=8,
                    ),
                ),
                ("hypothesis", models.TextField(blank=True)),
                ("owner", models.CharField(blank=True, max_length=150)),
                (
                    "window_days",
                    models.PositiveSmallIntegerField(
                        default=7,
                        help_text="Days after the first exposure in which conversions count.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(90),
                        ],
                    ),
                ),
                (
                    "started_at",
                    models.DateTimeField(blank=True, help_text="Empty: with its first exposure.", null=True),
                ),
                ("stopped_at", models.DateTimeField(blank=True, null=True)),
                (
                    "decision",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("", "none yet"),
                            ("ship", "ship a variation"),
                            ("keep", "keep the reference"),
                            ("repeat", "test again"),
                        ],
                        default="",
                        max_length=8,
                    ),
                ),
                (
                    "decided_for",
                    models.BigIntegerField(blank=True, help_text="The number of the variation to ship.", null=True),
                ),
                ("decision_reason", models.TextField(blank=True)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("archived_at", models.DateTimeField(blank=True, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("updated_at", models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.CreateModel(
            name="ExperimentGoal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "role",
                    models.CharField(
                        choices=[("primary", "primary"), ("secondary", "secondary"), ("guardrail", "guardrail")],
                        max_length=9,
                    ),
                ),
            ],
        ),
        migrations.CreateModel(
            name="ExperimentPhase",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("started_at", models.DateTimeField()),
                ("reason", models.CharField(max_length=500)),
                ("shares", models.JSONField(default=dict, help_text="By the number of the variation, as texts.")),
                ("made_by", models.CharField(max_length=150)),
            ],
            options={
                "ordering": ["started_at"],
            },
        ),
        migrations.CreateModel(
            name="Variation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("number", models.BigIntegerField()),
                ("key", models.CharField(max_length=255)),
                ("name", models.CharField(blank=True, help_text="Chosen by a person.", max_length=255)),
                ("event_name", models.CharField(blank=True, editable=False, max_length=255)),
                ("named_at", models.DateTimeField(editable=False, null=True)),
                (
                    "share",
                    models.DecimalField(
                        blank=True,
                        decimal_places=8,
                        help_text="Of the exposed visitors. Empty: all variations alike.",
                        max_digits=9,
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(0),
                            django.core.validators.MaxValueValidator(1),
                        ],
                    ),
                ),
                ("is_reference", models.BooleanField(default=False, help_text="The others are compared with it.")),
            ],
            options={
                "ordering": ["number"],
            },
        ),
        migrations.AddField(
            model_name="experiment",
            name="site",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="+", to="api.site"
            ),
        ),
        migrations.AddField(
            model_name="experimentgoal",
            name="experiment",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name="goals", to="goals.experiment"
            ),
        ),
        migrations.AddField(
            model_name="experimentgoal",
            name="goal",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="goals.goal"),
        ),
        migrations.AddField(
            model_name="experimentgoal",
            name="site",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="api.site",
            ),
        ),
        migrations.AddField(
            model_name="experimentphase",
            name="experiment",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="phases",
                to="goals.experiment",
            ),
        ),
        migrations.AddField(
            model_name="experimentphase",
            name="site",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="api.site",
            ),
        ),
        migrations.AddField(
            model_name="variation",
            name="experiment",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="variations",
                to="goals.experiment",
            ),
        ),
        migrations.AddField(
            model_name="variation",
            name="site",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="api.site",
            ),
        ),
        migrations.AddConstraint(
            model_name="experiment",
            constraint=models.UniqueConstraint(fields=("site", "number"), name="goals_experiment_number"),
        ),
        migrations.AddConstraint(
            model_name="experimentgoal",
            constraint=models.UniqueConstraint(fields=("site", "experiment", "goal"), name="goals_experimentgoal_goal"),
        ),
        migrations.AddConstraint(
            model_name="experimentgoal",
            constraint=models.UniqueConstraint(
                condition=models.Q(("role", "primary")),
                fields=("site", "experiment"),
                name="goals_experimentgoal_primary",
                violation_error_message="An experiment has one primary goal.",
            ),
        ),
        migrations.AddConstraint(
            model_name="experimentphase",
            constraint=models.UniqueConstraint(
                fields=("site", "experiment", "started_at"), name="goals_experimentphase_start"
            ),
        ),
        migrations.AddConstraint(
            model_name="variation",
            constraint=models.UniqueConstraint(fields=("site", "experiment", "number"), name="goals_variation_number"),
        ),
    ]
