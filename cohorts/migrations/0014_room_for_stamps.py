from django.db import migrations


class Migration(migrations.Migration):
    """Room in a page of identities for a new version of each.

    A batch of events of known people moves the stamps of all devices and visitor codes in a page. With less room half
    of them went to another page, each with a new entry in every index.
    """

    dependencies = [("cohorts", "0013_keys_begin_with_the_site")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE cohorts_identity SET (fillfactor = 50)",
            "ALTER TABLE cohorts_identity SET (fillfactor = 70)",
        ),
    ]
