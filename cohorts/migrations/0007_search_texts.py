import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """People are found by e-mail address, name, username and the beginning of an id."""

    dependencies = [("cohorts", "0006_names_for_people")]

    operations = [
        migrations.CreateModel(
            name="SearchText",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.CharField(max_length=255)),
                (
                    "identity",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="search_texts",
                        to="cohorts.identity",
                    ),
                ),
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
                "indexes": [
                    models.Index(
                        fields=["site", "text"],
                        name="cohorts_searchtext_text",
                        opclasses=["int8_ops", "varchar_pattern_ops"],
                    )
                ],
            },
        ),
    ]
