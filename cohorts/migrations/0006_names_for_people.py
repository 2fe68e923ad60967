"""Keep the keys that put personas and groups in the order in which people read them. Rewrites both tables."""

from django.db import migrations, models


def column(field):
    output = models.TextField(db_collation="C")
    expression = models.Func(field, function="goalpost_sort_key", output_field=output)
    return models.GeneratedField(db_persist=True, expression=expression, output_field=output)


class Migration(migrations.Migration):
    # The function is made there.
    dependencies = [("cohorts", "0005_links"), ("goals", "0009_names_for_people")]

    operations = [
        migrations.AddField("persona", "sort_key", column("name")),
        migrations.AddField("group", "sort_key", column("group_id")),
        migrations.AddIndex("persona", models.Index(fields=["site", "sort_key"], name="cohorts_persona_order")),
        migrations.AddIndex("group", models.Index(fields=["site", "sort_key"], name="cohorts_group_order")),
    ]
