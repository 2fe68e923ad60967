import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Whose each username of a site is."""

    dependencies = [("cohorts", "0002_room_for_updates")]

    operations = [
        migrations.CreateModel(
            name="Username",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=255)),
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
                "constraints": [models.UniqueConstraint(fields=("site", "name"), name="cohorts_username_name")],
            },
        ),
    ]
