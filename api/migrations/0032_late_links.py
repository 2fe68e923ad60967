"""Links of ids with too many conversions or users for one batch, and how far a worker has come with each."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("api", "0031_key_fingerprint")]

    operations = [
        migrations.CreateModel(
            name="LateLink",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.PositiveSmallIntegerField()),
                ("value", models.CharField(max_length=255)),
                (
                    "conversions_after",
                    models.BigIntegerField(
                        help_text="The last conversion that was re-keyed; empty if none is left.", null=True
                    ),
                ),
                (
                    "users_after",
                    models.CharField(
                        help_text="The last user that has its code; no value if none is left.",
                        max_length=255,
                        null=True,
                    ),
                ),
                ("stepped_at", models.DateTimeField(db_default=Now())),
                ("created_at", models.DateTimeField(db_default=Now())),
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
                "indexes": [models.Index(fields=["stepped_at", "id"], name="api_latelink_turn")],
                "constraints": [models.UniqueConstraint(fields=("site", "kind", "value"), name="api_latelink_id")],
            },
        ),
    ]
