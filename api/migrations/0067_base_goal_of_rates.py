"""Let a site choose the goal whose visitors are the base of its rates. A column without a default: no rewrite."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0066_slots_of_refused_keys"),
    ]

    operations = [
        migrations.AddField(
            model_name="site",
            name="base_goal_id",
            field=models.BigIntegerField(
                blank=True,
                help_text="Rates are converting visitors over those of this goal. Empty: over all visitors seen.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="base goal for rates",
            ),
        ),
    ]
