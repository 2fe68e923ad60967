"""Reads of visits by a unique identifier need a token. The column has a default, so that no row is rewritten."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0059_erase_cancellations"),
    ]

    operations = [
        migrations.AddField(
            model_name="site",
            name="identified_visits_require_token",
            field=models.BooleanField(
                db_default=True,
                default=True,
                help_text=(
                    "Otherwise whoever knows a user id or an e-mail address that SDKs send reads that user's visits."
                ),
                verbose_name="require a token to read visits by a unique identifier",
            ),
        ),
    ]
