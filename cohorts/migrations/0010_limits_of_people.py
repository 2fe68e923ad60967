from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Rows of people and groups know their bytes; the first personas of a site are found by an index."""

    atomic = False  # the index is built beside a running digest

    dependencies = [("cohorts", "0009_fill_search_texts")]

    operations = [
        migrations.AddField("identity", "bytes", models.PositiveIntegerField(editable=False, null=True)),
        migrations.AddField("group", "bytes", models.PositiveIntegerField(editable=False, null=True)),
        AddIndexConcurrently(
            model_name="persona", index=models.Index(fields=["site", "created_at", "id"], name="cohorts_persona_first")
        ),
    ]
