"""Scopes of management tokens; those that exist keep what their role may. The table has a row for each token."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0055_token_for_visits"),
    ]

    operations = [
        migrations.AddField(
            model_name="managementtoken",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(
                    choices=[
                        ("ingest", "send events to /segmentio"),
                        ("read", "read goals, sources, rules and settings, without data of people"),
                        ("read:personal", "read data of people: conversions, traces, traits, members, exports"),
                        ("write", "change goals"),
                        ("admin", "change settings, sources, keys, rules and alerts, and erase people"),
                    ],
                    max_length=16,
                ),
                blank=True,
                db_default=[],
                default=list,
                help_text="Empty for a token from before scopes: it does what its role may.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="managementtoken",
            name="role",
            field=models.CharField(
                choices=[("viewer", "viewer"), ("editor", "editor"), ("owner", "owner")],
                default="viewer",
                help_text="The least role that its user needs.",
                max_length=8,
            ),
        ),
    ]
