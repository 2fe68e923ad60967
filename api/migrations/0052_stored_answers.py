"""First answers to creations with an `Idempotency-Key`: a new table, and a stage of erasures that searches it."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0051_pairs_of_sources_by_site"),
    ]

    operations = [
        migrations.AlterField(
            model_name="erasure",
            name="stage",
            field=models.PositiveSmallIntegerField(
                choices=[
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
                    (17, "answers kept for repeated requests"),
                    (18, "done"),
                ],
                default=0,
            ),
        ),
        migrations.CreateModel(
            name="StoredAnswer",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("caller", models.CharField(max_length=40)),
                ("key_hash", models.CharField(max_length=64)),
                ("request_hash", models.CharField(max_length=64)),
                ("salt", models.CharField(help_text="A secret that is shown once is derived from it.", max_length=32)),
                ("answer", models.TextField(help_text="JSON, without a secret.")),
                ("created_at", models.DateTimeField()),
                (
                    "site",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="api.site",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("site", "caller", "key_hash"), name="api_storedanswer_key", nulls_distinct=False
                    )
                ],
            },
        ),
    ]
