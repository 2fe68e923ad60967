"""Let a site name the events that say which variation of an experiment was seen. Rewrites no table."""

import django.contrib.postgres.fields
from django.db import migrations, models

import api.models.sites


class Migration(migrations.Migration):
    dependencies = [("api", "0069_days_in_site_zone")]

    operations = [
        migrations.AddField(
            "site",
            "exposure_event_names",
            django.contrib.postgres.fields.ArrayField(
                models.CharField(max_length=500),
                blank=True,
                db_default=["Experiment Viewed"],
                default=api.models.sites.exposure_event_names,
                size=None,
                verbose_name="variation seen",
            ),
        ),
    ]
