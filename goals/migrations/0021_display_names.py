"""Give goals a display name, with its keys for search and order. Rewrites the table: a second for 20,000 goals."""

from django.db import migrations, models


def column(function, collation=None):
    output = models.TextField(db_collation=collation)
    expression = models.Func("display_name", function=function, output_field=output)
    return models.GeneratedField(db_persist=True, expression=expression, output_field=output)


class Migration(migrations.Migration):
    dependencies = [("goals", "0020_conversions_of_source")]

    operations = [
        migrations.AddField(
            "goal", "display_name", models.CharField(blank=True, db_default="", default="", max_length=200)
        ),
        migrations.AddField("goal", "display_search_key", column("goalpost_fold")),
        migrations.AddField("goal", "display_sort_key", column("goalpost_sort_key", "C")),
    ]
