"""Add segments to what may be removed. It changes no table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0062_time_zones"),
    ]

    operations = [
        migrations.AlterField(
            model_name="removal",
            name="of",
            field=models.CharField(
                choices=[("persona", "persona"), ("group", "group"), ("site", "site"), ("segment", "segment")],
                max_length=7,
            ),
        ),
    ]
