"""A pair of sources is unique in its site. The table has a row for each pair, so that this takes no time.

The worker of the version before cannot count pairs afterwards. It is stopped before an upgrade (UPGRADING.md).
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0050_claim_site"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="duplicatesources",
            constraint=models.UniqueConstraint(fields=("site", "one", "other"), name="api_twin_sources"),
        ),
        migrations.RemoveConstraint(
            model_name="duplicatesources",
            name="api_twin_pair",
        ),
    ]
