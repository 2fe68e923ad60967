"""Describe the time zone of a site, in which its days of figures are now. Changes no table."""

from django.db import migrations, models

import api.models.sites


class Migration(migrations.Migration):
    dependencies = [("api", "0068_alerts_acknowledged_and_snoozed")]

    operations = [
        migrations.AlterField(
            "site",
            "time_zone",
            models.CharField(
                db_default="UTC",
                default="UTC",
                help_text="Days and weeks of figures are in this zone. A change counts them again in the background. "
                "Times on pages are in it, too, unless a person chose another one.",
                max_length=64,
                validators=[api.models.sites.validate_time_zone],
            ),
        ),
    ]
