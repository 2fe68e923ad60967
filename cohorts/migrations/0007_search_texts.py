from typing import Any

import django.db.models.deletion
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Collate, Lower

from cohorts.search import FOUND_BY, search_texts

CHUNK = 2_000


def fill(apps: Any, _: Any) -> None:
    """Note by what the people are found who are known already, a chunk at a time; begun again, it goes on."""
    identity_model, text_model = apps.get_model("cohorts", "Identity"), apps.get_model("cohorts", "SearchText")
    last = text_model.objects.aggregate(last=models.Max("identity_id"))["last"] or 0
    named = identity_model.objects.filter(registers__traits__has_any_keys=sorted(FOUND_BY)).order_by("pk")
    while chunk := list(named.filter(pk__gt=last)[:CHUNK]):
        text_model.objects.bulk_create(
            text_model(site_id=identity.site_id, identity_id=identity.pk, text=text)
            for identity in chunk
            for text in sorted(search_texts(identity.registers))
        )
        last = chunk[-1].pk


class Migration(migrations.Migration):
    """People are found by e-mail address, name, username and the beginning of an id."""

    atomic = False  # the index is built beside a running digest

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
        AddIndexConcurrently(
            model_name="identity",
            index=models.Index(
                models.F("site"),
                Collate(Lower("value"), "C"),
                name="cohorts_identity_beginning",
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
