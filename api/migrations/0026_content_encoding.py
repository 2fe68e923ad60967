"""Say under which encoding the body of a refused request is kept, where nobody can take it off."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0025_rejected_message_ids")]

    operations = [
        migrations.AddField(
            model_name="message",
            name="content_encoding",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="What the body of a refused request still bears, because it could not be taken off.",
                max_length=40,
            ),
        ),
        migrations.AlterField(
            model_name="message",
            name="detail",
            field=models.TextField(
                blank=True, help_text="What the reason's sentence cannot say: what the sender was told, a traceback."
            ),
        ),
    ]
