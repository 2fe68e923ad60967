from typing import Any

from django.db import migrations


def keep_table(old: str, new: str, table: str) -> list[Any]:
    """Rename a model and keep its table."""
    return [migrations.AlterModelTable(old, table), migrations.RenameModel(old, new)]


class Migration(migrations.Migration):
    """State only: the tables keep their names, because a rename would lock them and break the version before."""

    # The content types of renamed models are renamed too, which needs their last migration.
    dependencies = [("contenttypes", "0002_remove_content_type_name"), ("api", "0039_failed_status")]

    operations = [
        *keep_table("SourceTally", "SourceCount", "api_sourcetally"),
        *keep_table("RefusalTally", "RefusalCount", "api_refusaltally"),
        *keep_table("Twin", "DuplicateSources", "api_twin"),
    ]
