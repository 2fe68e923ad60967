from django.db import migrations


class Migration(migrations.Migration):
    """An identity is written again by nearly every event of its person. With room in its page no index is touched."""

    dependencies = [("cohorts", "0001_first_tables")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE cohorts_identity SET (fillfactor = 70)",
            "ALTER TABLE cohorts_identity RESET (fillfactor)",
        ),
    ]
