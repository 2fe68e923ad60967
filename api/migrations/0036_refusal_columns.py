"""Refused events know what identical ones share, and how many of these there were. Nullable columns, no scan."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0035_refusal_tally")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="refusal_key",
            field=models.UUIDField(help_text="What identical refused events share: a keyed hash.", null=True),
        ),
        migrations.AddField(
            model_name="message",
            name="copies",
            field=models.BigIntegerField(
                help_text="Identical ones that were refused after it, and not stored.", null=True
            ),
        ),
    ]
