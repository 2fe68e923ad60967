"""Add the site to the counts of sources and to loads of files, first in their keys.

A source has a row an hour and some a day, so that this takes a second for 100,000 of them. Those of deleted sources
leave.
"""

import django.db.models.deletion
from django.db import migrations, models
from django.db.migrations.operations.base import Operation

KEYS = {
    "api_sourcetally": ("api_sourcetally_hour", "source_id, hour"),
    "api_sourceuse": ("api_sourceuse_span", "source_id, span"),
    "api_refusaltally": ("api_refusaltally_day", "source_id, day, reason"),
    "api_load": ("api_load_file", "source_id, fingerprint"),
}
ADD_SITE = """
ALTER TABLE {table} ADD COLUMN site_id bigint;
UPDATE {table} t SET site_id = s.site_id FROM api_source s WHERE s.id = t.source_id;
DELETE FROM {table} WHERE site_id IS NULL;
ALTER TABLE {table} ALTER COLUMN site_id SET NOT NULL, DROP CONSTRAINT {key},
      ADD CONSTRAINT {key} UNIQUE (site_id, {columns});
"""
REMOVE_SITE = """
ALTER TABLE {table} DROP CONSTRAINT {key}, DROP COLUMN site_id, ADD CONSTRAINT {key} UNIQUE ({columns});
"""
MODELS = {
    "sourcecount": ("api_sourcetally_hour", ("site", "source", "hour")),
    "sourceuse": ("api_sourceuse_span", ("site", "source", "span")),
    "refusalcount": ("api_refusaltally_day", ("site", "source", "day", "reason")),
    "load": ("api_load_file", ("site", "source", "fingerprint")),
}


def fill(statements: str) -> str:
    """Return the statements for each table."""
    return "".join(statements.format(table=table, key=key, columns=columns) for table, (key, columns) in KEYS.items())


def add_to_state(model: str) -> list[Operation]:
    """Return the operations that tell Django's models."""
    key, fields = MODELS[model]
    site: models.ForeignKey[object, object] = models.ForeignKey(
        "api.site",
        on_delete=django.db.models.deletion.CASCADE,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    return [
        migrations.RemoveConstraint(model, key),
        migrations.AddField(model, "site", site, preserve_default=False),
        migrations.AddConstraint(model, models.UniqueConstraint(fields=fields, name=key)),
    ]


class Migration(migrations.Migration):
    dependencies = [("api", "0060_token_for_identified_visits")]

    operations = [
        migrations.RunSQL(
            fill(ADD_SITE),
            fill(REMOVE_SITE),
            state_operations=[operation for model in MODELS for operation in add_to_state(model)],
        )
    ]
