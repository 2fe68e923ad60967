"""A source has several write keys, each with an end."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


def copy_keys(apps, _schema_editor):
    """Each source's key becomes its first."""
    write_keys = apps.get_model("api", "WriteKey").objects
    for source in apps.get_model("api", "Source").objects.all():
        write_keys.create(source=source, key=source.write_key)


def copy_keys_back(apps, _schema_editor):
    """A source keeps the newest of its keys; one that has none gets what nobody can send."""
    for source in apps.get_model("api", "Source").objects.all():
        newest = apps.get_model("api", "WriteKey").objects.filter(source=source).order_by("-id").first()
        source.write_key = newest.key if newest else f"none-{source.pk}"
        source.save(update_fields=["write_key"])


class Migration(migrations.Migration):
    dependencies = [("api", "0003_suspects")]

    operations = [
        migrations.CreateModel(
            name="WriteKey",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "key",
                    models.CharField(
                        max_length=64,
                        unique=True,
                        validators=[
                            django.core.validators.RegexValidator(
                                "^[A-Za-z0-9_-]+\\Z",
                                "Only letters, digits, _ and -: Segment puts it in a URL unencoded.",
                            )
                        ],
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("ends_at", models.DateTimeField(blank=True, help_text="Refused from then on.", null=True)),
                (
                    "source",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="write_keys", to="api.source"
                    ),
                ),
            ],
        ),
        # Empty for a moment on the way back, so that this can be undone.
        migrations.AlterField("source", "write_key", models.CharField(max_length=64, unique=True, null=True)),
        migrations.RunPython(copy_keys, copy_keys_back),
        migrations.RemoveField("source", "write_key"),
    ]
