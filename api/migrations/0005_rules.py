"""Rules about events, of a site or one of its sources."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0004_write_keys")]

    operations = [
        migrations.CreateModel(
            name="Rule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("position", models.IntegerField(default=0)),
                ("name", models.CharField(blank=True, max_length=100)),
                ("is_enabled", models.BooleanField(default=True)),
                ("event_type", models.CharField(blank=True, help_text="Empty: any.", max_length=16)),
                (
                    "name_test",
                    models.CharField(
                        blank=True,
                        choices=[("equals", "is"), ("prefix", "begins with"), ("pattern", "has the pattern")],
                        max_length=8,
                    ),
                ),
                ("name_value", models.CharField(blank=True, max_length=500)),
                (
                    "path",
                    models.CharField(
                        blank=True, help_text="A field such as properties.plan or traits.tags.0", max_length=500
                    ),
                ),
                (
                    "path_test",
                    models.CharField(blank=True, choices=[("exists", "exists"), ("equals", "is")], max_length=8),
                ),
                ("path_value", models.CharField(blank=True, max_length=500)),
                (
                    "action",
                    models.CharField(
                        choices=[
                            ("drop", "ignore the event"),
                            ("no_goal", "make no goal and no conversion"),
                            ("rename", "rename the event"),
                            ("page_to_track", "take the page for a track event"),
                            ("pattern_goal", "group names of one pattern under one goal"),
                            ("group_from", "take the group from a field"),
                            ("drop_field", "remove a field before the event is stored"),
                            ("hash_field", "hash a field before the event is stored"),
                        ],
                        max_length=16,
                    ),
                ),
                (
                    "argument",
                    models.CharField(
                        blank=True,
                        help_text="The reason to ignore it, the template, the pattern, or the field.",
                        max_length=500,
                    ),
                ),
                (
                    "group_traits",
                    models.JSONField(blank=True, default=dict, help_text="Traits of the group, each with its field."),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "site",
                    models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="rules", to="api.site"),
                ),
                (
                    "source",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rules",
                        to="api.source",
                    ),
                ),
            ],
            options={
                "ordering": ["position", "id"],
            },
        ),
        migrations.AddField(
            model_name="site",
            name="rules_changed_at",
            field=models.DateTimeField(
                editable=False, help_text="When its rules, or what its sources take, were changed last.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="source",
            name="kind",
            field=models.CharField(
                choices=[
                    ("destination", "Segment's Kameleoon destination"),
                    ("server", "a server"),
                    ("browser", "a browser"),
                    ("import", "an import"),
                    ("altis", "Altis Analytics"),
                ],
                max_length=16,
            ),
        ),
    ]
