"""A site may keep visits from readers without a token. The column has a default, so that no row is rewritten."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0054_sources_of_sdks"),
    ]

    operations = [
        migrations.AddField(
            model_name="site",
            name="visits_require_token",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="Otherwise web pages read the visits of a visitor code, with custom data and conversions.",
                verbose_name="require a token to read visits",
            ),
        ),
    ]
