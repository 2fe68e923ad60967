from django.db import migrations, models

import api.models

# An erasure that goes on begins its sweep again: the tables have another order.
AGAIN = "UPDATE api_erasure SET stage = 0, position = 0, until = NULL WHERE finished_at IS NULL"
# Of a receipt from before nothing is known: it searched three tables.
EARLIER = "UPDATE api_erasure SET replaced = NULL WHERE finished_at IS NOT NULL"


class Migration(migrations.Migration):
    """An erased id goes from every table: in what others said a stand-in takes its place."""

    dependencies = [("api", "0019_finding_of_firing_alerts")]

    operations = [
        migrations.AddField(
            model_name="erasure",
            name="replaced",
            field=models.JSONField(
                null=True,
                default=dict,
                help_text="By stage, rows of others in which a stand-in took the place of an id; none of receipts from "
                "before.",
            ),
        ),
        migrations.AlterField(
            model_name="erasure",
            name="marker",
            field=models.CharField(
                default=api.models.make_marker,
                help_text="Stands for the person wherever others named them.",
                max_length=32,
            ),
        ),
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
                    (15, "done"),
                ],
                default=0,
            ),
        ),
        migrations.RunSQL(AGAIN + "; " + EARLIER, AGAIN),
    ]
