import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """When somebody entered or left a persona, after the message that said so is pruned too."""

    dependencies = [("cohorts", "0003_usernames")]

    operations = [
        migrations.CreateModel(
            name="PersonaFact",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("occurred_at", models.DateTimeField()),
                ("position", models.PositiveIntegerField()),
                ("message_id", models.CharField(blank=True, max_length=255)),
                ("is_member", models.BooleanField()),
                (
                    "identity",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="persona_facts",
                        to="cohorts.identity",
                    ),
                ),
                (
                    "persona",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        to="cohorts.persona",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["persona", "occurred_at"], name="cohorts_personafact_time")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=["identity", "persona", "occurred_at", "position", "message_id", "is_member"],
                        name="cohorts_personafact_stamp",
                    )
                ],
            },
        ),
    ]
