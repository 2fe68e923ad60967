"""Slots of five minutes in place of hours, in the same column, and room for the end of a key."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("api", "0065_annotations")]

    operations = [
        # The database stays: the attribute has another name, and the constraint names it.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RemoveConstraint("refusedkey", "api_refusedkey_hint"),
                migrations.AlterField("refusedkey", "hour", models.DateTimeField(db_column="hour")),
                migrations.RenameField("refusedkey", "hour", "slot"),
                migrations.AddConstraint(
                    "refusedkey",
                    models.UniqueConstraint(
                        fields=["site", "slot", "reason", "hint"], name="api_refusedkey_hint", nulls_distinct=False
                    ),
                ),
            ]
        ),
        migrations.AlterField("refusedkey", "hint", models.CharField(blank=True, max_length=16)),
        # On the way back, hints that are too long for the shorter column go. They live for a day at most.
        migrations.RunSQL(migrations.RunSQL.noop, "DELETE FROM api_refusedkey WHERE length(hint) > 8"),
    ]
