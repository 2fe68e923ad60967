from typing import Any

from django.db import migrations, models

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
    """A migration of its own: one that made the table, too, could not begin again after an interruption."""

    atomic = False  # what is noted stays noted

    dependencies = [("cohorts", "0008_beginnings_of_ids")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
