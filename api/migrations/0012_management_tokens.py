"""Keys of programs to the management API."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0011_erasures")]

    operations = [
        migrations.CreateModel(
            name="ManagementToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("token_hash", models.CharField(editable=False, max_length=64, unique=True)),
                ("description", models.CharField(max_length=100)),
                (
                    "role",
                    models.CharField(
                        choices=[("viewer", "viewer"), ("editor", "editor"), ("owner", "owner")],
                        default="viewer",
                        max_length=8,
                    ),
                ),
                ("made_by", models.CharField(max_length=150)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField(blank=True, help_text="Empty: never.", null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "last_used_at",
                    models.DateTimeField(editable=False, help_text="To the minute (api.last_uses).", null=True),
                ),
                ("sites", models.ManyToManyField(related_name="management_tokens", to="api.site")),
            ],
        ),
    ]
