from django.contrib.postgres.operations import RemoveIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    """The beginning of an id is sought by the key, so that each new id is written to one index less."""

    atomic = False  # beside a running digest

    dependencies = [("cohorts", "0018_links_of_former_owners")]

    operations = [RemoveIndexConcurrently(model_name="identity", name="cohorts_identity_beginning")]
