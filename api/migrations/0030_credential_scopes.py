"""Scopes of credentials; those that exist keep all of them."""

import django.contrib.postgres.fields
from django.db import migrations, models

import api.models.keys

SCOPES = [
    ("send", "send events"),
    ("read", "read remote data, private traits included"),
    ("manage", "use the management API as an owner"),
]


class Migration(migrations.Migration):
    dependencies = [("api", "0029_revenue_from")]

    operations = [
        migrations.AddField(
            model_name="credential",
            name="scopes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(choices=SCOPES, max_length=8),
                db_default=["send", "read", "manage"],
                default=api.models.keys.least_scopes,
                size=None,
            ),
        ),
    ]
