from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Collate, Lower


class Migration(migrations.Migration):
    """People are found by the beginning of an id."""

    atomic = False  # the index is built beside a running digest

    dependencies = [("cohorts", "0007_search_texts")]

    operations = [
        AddIndexConcurrently(
            model_name="identity",
            index=models.Index(
                models.F("site"),
                Collate(Lower("value"), "C"),
                name="cohorts_identity_beginning",
            ),
        ),
    ]
