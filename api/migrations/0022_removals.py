import django.db.models.deletion
from django.db import migrations, models

# Before the constraint comes back: an entry of a removed site becomes one of the installation. Its trigger, which lets
# nobody change an entry, is set aside for this one statement.
RETURN = """
ALTER TABLE api_auditentry DISABLE TRIGGER USER;
UPDATE api_auditentry SET site_id = NULL
 WHERE NOT EXISTS (SELECT 1 FROM api_site WHERE api_site.id = api_auditentry.site_id);
ALTER TABLE api_auditentry ENABLE TRIGGER USER;
"""


class Migration(migrations.Migration):
    """Personas, groups and sites can be removed; the log of a removed site stays."""

    dependencies = [("api", "0021_message_reading")]

    operations = [
        migrations.CreateModel(
            name="Removal",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "of",
                    models.CharField(
                        choices=[("persona", "persona"), ("group", "group"), ("site", "site")], max_length=7
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                (
                    "number",
                    models.BigIntegerField(default=0, help_text="Of the row that is gone: its history is found by it."),
                ),
                ("removed_by", models.CharField(max_length=150)),
                ("created_at", models.DateTimeField()),
                (
                    "position",
                    models.BigIntegerField(default=0, help_text="The last identity that was looked at."),
                ),
                ("until", models.BigIntegerField(default=0, help_text="And the last that is to be.")),
                ("rows", models.BigIntegerField(default=0, help_text="Rows removed so far.")),
                ("finished_at", models.DateTimeField(null=True)),
                (
                    "site",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="removals", to="api.site"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("finished_at__isnull", True)), fields=["id"], name="api_removal_unfinished"
                    )
                ],
            },
        ),
        migrations.AlterField(
            model_name="auditentry",
            name="site",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="audit_entries",
                to="api.site",
            ),
        ),
        migrations.RunSQL(migrations.RunSQL.noop, RETURN),
        migrations.AlterField(
            model_name="erasure",
            name="stage",
            field=models.PositiveSmallIntegerField(
                choices=[
                    (0, "events"),
                    (1, "conversions"),
                    (2, "identifiers of people, with traits and links"),
                    (3, "groups"),
                    (4, "personas"),
                    (5, "history of personas"),
                    (6, "usernames"),
                    (7, "goals"),
                    (8, "events bound to goals"),
                    (9, "goal names that wait"),
                    (10, "tags"),
                    (11, "rules"),
                    (12, "pairs of sources that send the same"),
                    (13, "sources"),
                    (14, "loaded files"),
                    (15, "removed personas and groups"),
                    (16, "done"),
                ],
                default=0,
            ),
        ),
    ]
