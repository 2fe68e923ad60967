import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Every device and former id of a user, of which an identity keeps the last one only."""

    dependencies = [("cohorts", "0004_persona_history")]

    operations = [
        migrations.CreateModel(
            name="Link",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.PositiveSmallIntegerField(choices=[(1, "user"), (2, "visitor"), (3, "anonymous")]),
                ),
                ("value", models.CharField(max_length=255)),
                ("user_value", models.CharField(max_length=255)),
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
                "indexes": [models.Index(fields=["site", "user_value"], name="cohorts_link_device")],
                "constraints": [
                    models.UniqueConstraint(fields=["site", "kind", "value", "user_value"], name="cohorts_link_user")
                ],
            },
        ),
        migrations.AlterField(
            model_name="identity",
            name="registers",
            field=models.JSONField(default=dict, help_text="Traits, group, personas, owners and first visitor codes."),
        ),
    ]
