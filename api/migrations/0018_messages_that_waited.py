"""Note which messages waited for the limit on new goals or were retried, which says nothing about the digest's lag."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0017_backfills")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="has_waited",
            field=models.BooleanField(
                default=False,
                db_default=False,
                help_text="It waited for the limit on new goals, or was retried: the time until its digest is no lag.",
            ),
        ),
    ]
