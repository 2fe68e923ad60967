"""Keep what people do to many goals at once: which goals, and how far it has come."""

import django.db.models.deletion
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models

ACTIONS = [
    ("tag", "give the tag"),
    ("untag", "take the tag away"),
    ("archive", "archive"),
    ("restore", "restore"),
    ("delete", "delete"),
]


STAGES = [
    (0, "events"),
    (1, "conversions"),
    (2, "identifiers of people, with traits and links"),
    (3, "groups"),
    (4, "personas"),
    (5, "history of personas"),
    (6, "usernames"),
    (7, "goals"),
    (8, "events bound to goals"),
    (9, "goal names that wait"),
    (10, "tags"),
    (11, "rules"),
    (12, "pairs of sources that send the same"),
    (13, "sources"),
    (14, "loaded files"),
    (15, "removed personas and groups"),
    (16, "changes of many goals"),
    (17, "done"),
]


class Migration(migrations.Migration):
    dependencies = [("api", "0023_whose_tokens"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="GoalsChange",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("action", models.CharField(choices=ACTIONS, max_length=8)),
                ("tag", models.CharField(blank=True, max_length=100)),
                ("goal_ids", ArrayField(base_field=models.BigIntegerField(), size=None)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("place", models.PositiveIntegerField(default=0, help_text="How many of the goals it has come past.")),
                ("changed", models.PositiveIntegerField(default=0, help_text="How many of these it changed.")),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "site",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="goal_changes", to="api.site"
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("finished_at__isnull", True), ("started_at__isnull", False)),
                        fields=["id"],
                        name="api_goalschange_unfinished",
                    )
                ],
            },
        ),
        migrations.AlterField(
            model_name="erasure",
            name="stage",
            field=models.PositiveSmallIntegerField(choices=STAGES, default=0),
        ),
    ]
