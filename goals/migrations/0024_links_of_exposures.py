"""Give exposures the anonymous id of their event, and the visitor code that a link gives. Rewrites no table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("goals", "0023_experiments")]

    operations = [
        migrations.AddField("exposure", "anonymous_id", models.CharField(db_default="", default="", max_length=255)),
        migrations.AddField("exposure", "linked_code", models.CharField(max_length=255, null=True)),
        migrations.AddField(
            "exposure",
            "linked_by",
            models.PositiveSmallIntegerField(null=True, help_text="The rule of the link: Conversion.KeyedBy."),
        ),
    ]
