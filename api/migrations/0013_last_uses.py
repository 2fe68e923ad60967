"""When a key was used last, and the secret of a credential that another takes over from."""

from typing import Any

from django.db import migrations, models


def last_used_at() -> "models.DateTimeField[Any, Any]":
    return models.DateTimeField(editable=False, help_text="To the minute (api.last_uses).", null=True)


class Migration(migrations.Migration):
    dependencies = [("api", "0012_management_tokens")]

    operations = [
        migrations.AddField(model_name="credential", name="last_used_at", field=last_used_at()),
        migrations.AddField(model_name="writekey", name="last_used_at", field=last_used_at()),
        migrations.AddField(
            model_name="credential",
            name="old_secret_hash",
            # With the default in the database: a version from before this one goes on making credentials.
            field=models.CharField(blank=True, db_default="", editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name="credential",
            name="old_secret_ends_at",
            field=models.DateTimeField(editable=False, help_text="The one before is taken until then.", null=True),
        ),
    ]
