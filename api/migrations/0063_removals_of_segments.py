"""Add segments to what may be removed. It changes no table.

The way back deletes the rows of removed segments at once: an older worker would take these removals for personas'.
"""

from django.db import migrations, models

REMOVED = "api_removal AS r WHERE r.of = 'segment' AND t.site_id = r.site_id AND t.segment_id = r.number"
BACK = [
    "LOCK TABLE api_removal IN EXCLUSIVE MODE",  # an old worker that runs already waits
    f"DELETE FROM cohorts_segmentmember AS t USING {REMOVED}",
    f"DELETE FROM cohorts_segmentchange AS t USING {REMOVED}",
    f"DELETE FROM cohorts_segmentrecheck AS t USING {REMOVED} AND t.identity_id IS NULL",
    "DELETE FROM api_removal WHERE of = 'segment'",
]


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0062_time_zones"),
        ("cohorts", "0021_indexes_of_rechecks"),  # whose tables the way back reads
    ]

    operations = [
        migrations.RunSQL(migrations.RunSQL.noop, BACK),
        migrations.AlterField(
            model_name="removal",
            name="of",
            field=models.CharField(
                choices=[("persona", "persona"), ("group", "group"), ("site", "site"), ("segment", "segment")],
                max_length=7,
            ),
        ),
    ]
