"""Columns of cancellations in the totals of days and goals.

Their default takes no time on any table. The table of cancellations is as new, so that nothing has to be counted.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("goals", "0017_cancellations"),
    ]

    operations = [
        migrations.AddField(
            model_name="goalday",
            name="cancellations",
            field=models.IntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="goaltotal",
            name="cancellations",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AlterField(
            model_name="goalday",
            name="revenue",
            field=models.JSONField(help_text="By currency, as texts, without that of cancellations of this day."),
        ),
        migrations.AlterField(
            model_name="goaltotal",
            name="revenue",
            field=models.JSONField(help_text="By currency, as texts, without that of cancellations."),
        ),
        migrations.AlterField(
            model_name="goalvisitor",
            name="revenue",
            field=models.JSONField(
                help_text="Of the conversions, by currency, as texts: a float would not be exact. Cancellations "
                "subtract none."
            ),
        ),
    ]
