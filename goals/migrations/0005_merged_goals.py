"""Goals may be merged: two empty columns, and the indexes of those that will be. Takes no time on a large table."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("goals", "0004_count_figures"),
    ]

    operations = [
        migrations.AddField(
            model_name="goal",
            name="counts_for",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                editable=False,
                help_text="The end of the chain of `merged_into`, whose figures hold this goal's too.",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="goals.goal",
            ),
        ),
        migrations.AddField(
            model_name="goal",
            name="merged_into",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="goals.goal",
            ),
        ),
        migrations.AddIndex(
            model_name="goal",
            index=models.Index(
                condition=models.Q(("counts_for__isnull", False)), fields=["counts_for"], name="goals_goal_counts_for"
            ),
        ),
        migrations.AddIndex(
            model_name="goal",
            index=models.Index(
                condition=models.Q(("merged_into__isnull", False)),
                fields=["merged_into"],
                name="goals_goal_merged_into",
            ),
        ),
    ]
