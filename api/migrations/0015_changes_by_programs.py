"""The log also tells what programs and commands changed, and what concerns no site."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# Back to before, the columns stay as they are: nothing may be put into entries that have neither a site nor a user.
OPEN = "ALTER TABLE api_auditentry ALTER site_id DROP NOT NULL, ALTER user_id DROP NOT NULL"


class Migration(migrations.Migration):
    dependencies = [("api", "0014_retention")]

    operations = [
        migrations.RunSQL(
            OPEN,
            migrations.RunSQL.noop,
            state_operations=[
                migrations.AlterField(
                    model_name="auditentry",
                    name="site",
                    field=models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="audit_entries",
                        to="api.site",
                    ),
                ),
                migrations.AlterField(
                    model_name="auditentry",
                    name="user",
                    field=models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
        ),
    ]
