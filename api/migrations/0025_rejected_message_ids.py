"""Rejected messages by the messageId that their sender knows."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # the index is built beside a running inbox

    dependencies = [("api", "0024_goal_changes")]

    operations = [
        AddIndexConcurrently(
            model_name="message",
            index=models.Index(
                condition=models.Q(("message_id__isnull", False), ("status", "rejected")),
                fields=["site", "message_id", "-id"],
                name="api_message_rejected_key",
            ),
        ),
    ]
