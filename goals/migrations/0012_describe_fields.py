"""Describe fields in plain words; no statement changes a table."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("goals", "0011_word_goal_origins"),
    ]

    operations = [
        migrations.AlterField(
            model_name="conversion",
            name="source_id",
            field=models.BigIntegerField(help_text="Sender of its event; empty in rows of old versions.", null=True),
        ),
        migrations.AlterField(
            model_name="goal",
            name="has_multiple_conversions",
            field=models.BooleanField(
                default=False, help_text="True if every conversion counts, False if one a visit counts."
            ),
        ),
        migrations.AlterField(
            model_name="goalday",
            name="visits",
            field=models.IntegerField(help_text="Visits that began on this day; below 0 if other parts hold too many."),
        ),
        migrations.AlterField(
            model_name="goalvisitor",
            name="has_gone_on",
            field=models.BooleanField(
                help_text="True if the last upsert continued an existing visit; read only by that statement.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="waitingname",
            name="has_goal",
            field=models.BooleanField(
                default=False,
                help_text="Its goal exists now: its messages are released, and it is no longer in the queue.",
            ),
        ),
        migrations.AlterField(
            model_name="waitingname",
            name="look_again_at",
            field=models.DateTimeField(
                help_text="The site's rules changed at this time. Messages that were digested before it are "
                "digested once more, and the name keeps its place until then.",
                null=True,
            ),
        ),
    ]
