"""Give each management token the user who made it; tokens of users who are gone stay without one."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

FIND = """
UPDATE api_managementtoken t SET user_id = u.id FROM auth_user u WHERE u.username = t.made_by AND t.user_id IS NULL
"""


class Migration(migrations.Migration):
    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("api", "0022_removals"),
    ]

    operations = [
        migrations.AddField(
            model_name="managementtoken",
            name="user",
            field=models.ForeignKey(
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="management_tokens",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.RunSQL(FIND, migrations.RunSQL.noop),
    ]
