from typing import Any

import django.db.models.deletion
from django.db import connection, migrations, models

CHUNK = 20_000
# Without a foreign key in the database, a row may have outlived its identity.
FILL = """
UPDATE cohorts_personafact AS f SET site_id = p.site_id
  FROM cohorts_persona p WHERE p.id = f.persona_id AND f.site_id IS NULL AND f.id > %s AND f.id <= %s
"""
ORPHANS = "DELETE FROM cohorts_personafact WHERE site_id IS NULL"


def site_column(*, null: bool) -> "models.ForeignKey[Any, Any]":
    return models.ForeignKey(
        "api.site",
        on_delete=django.db.models.deletion.CASCADE,
        db_constraint=False,
        db_index=False,
        null=null,
        related_name="+",
    )


def fill(apps: Any, _: Any) -> None:
    """Note the site of each row, a chunk at a time; begun again, it goes on."""
    last = apps.get_model("cohorts", "PersonaFact").objects.aggregate(last=models.Max("pk"))["last"] or 0
    with connection.cursor() as cursor:
        for begin in range(0, last, CHUNK):
            cursor.execute(FILL, [begin, begin + CHUNK])
        cursor.execute(ORPHANS)


class Migration(migrations.Migration):
    """An event of a persona names its site, so that statements find it by its site."""

    atomic = False  # what is filled stays filled, and no row is locked for long

    dependencies = [("cohorts", "0011_first_personas")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE cohorts_personafact ADD COLUMN IF NOT EXISTS site_id bigint",
            "ALTER TABLE cohorts_personafact DROP COLUMN IF EXISTS site_id",
            state_operations=[migrations.AddField("personafact", "site", site_column(null=True))],
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField("personafact", "site", site_column(null=False)),
    ]
