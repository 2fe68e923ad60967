"""An erasure also searches the names that events give to experiments and variations."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0071_link_exposures_of_users"),
    ]

    operations = [
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
                    (16, "changes of many goals"),
                    (17, "answers kept for repeated requests"),
                    (18, "own keys of remote data"),
                    (19, "facts of visits"),
                    (20, "cancelled conversions"),
                    (21, "names of experiments"),
                    (22, "names of variations"),
                    (23, "done"),
                ],
                default=0,
            ),
        ),
    ]
