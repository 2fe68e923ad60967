from django.db import migrations, models


class Migration(migrations.Migration):
    """Rows of people and groups know their bytes. Without a check of the column, which would cost a scan."""

    dependencies = [("cohorts", "0009_fill_search_texts")]

    operations = [
        migrations.AddField("identity", "bytes", models.IntegerField(editable=False, null=True)),
        migrations.AddField("group", "bytes", models.IntegerField(editable=False, null=True)),
    ]
