"""Count requests with keys that open nothing."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0026_content_encoding")]

    operations = [
        migrations.CreateModel(
            name="RefusedKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("hour", models.DateTimeField()),
                ("reason", models.CharField(max_length=16)),
                ("hint", models.CharField(blank=True, max_length=8)),
                ("count", models.BigIntegerField()),
                ("last_at", models.DateTimeField()),
                (
                    "site",
                    models.ForeignKey(
                        db_constraint=False,
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
                        fields=("site", "hour", "reason", "hint"), name="api_refusedkey_hint", nulls_distinct=False
                    )
                ],
            },
        ),
    ]
