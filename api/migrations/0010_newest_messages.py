"""The list of messages that people read, newest first."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the index is built beside a running inbox

    dependencies = [("api", "0009_audit_entries")]

    operations = [
        AddIndexConcurrently(
            model_name="message",
            index=models.Index(fields=["site", "-id"], name="api_message_newest"),
        ),
    ]
