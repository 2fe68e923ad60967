"""Keep a fingerprint of the secret key."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0030_credential_scopes")]

    operations = [
        migrations.CreateModel(
            name="KeyFingerprint",
            fields=[
                ("id", models.SmallIntegerField(default=1, editable=False, primary_key=True, serialize=False)),
                ("value", models.CharField(max_length=16)),
            ],
            options={
                "constraints": [models.CheckConstraint(condition=models.Q(id=1), name="api_keyfingerprint_one")],
            },
        ),
    ]
