"""Keep annotations of charts. A new, empty table."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0064_goal_views"),
        ("goals", "0021_display_names"),
    ]

    operations = [
        migrations.CreateModel(
            name="Annotation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("text", models.CharField(max_length=200, validators=[django.core.validators.MinLengthValidator(1)])),
                ("who", models.CharField(help_text="The author as the audit log names them.", max_length=150)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "goal",
                    models.ForeignKey(
                        help_text="Null: in the charts of all goals.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="goals.goal",
                    ),
                ),
                (
                    "site",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="annotations",
                        to="api.site",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["site", "-at", "-id"], name="api_annotation_at")],
            },
        ),
    ]
