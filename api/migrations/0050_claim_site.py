"""Name the site of a worker's note. Notes of stopped workers leave: they cost nothing, because no batch is running."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0049_message_partitions")]

    operations = [
        migrations.RunSQL("DELETE FROM api_claim", "DELETE FROM api_claim"),
        migrations.AddField(
            model_name="claim",
            name="site",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                default=0,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="api.site",
            ),
            preserve_default=False,
        ),
    ]
