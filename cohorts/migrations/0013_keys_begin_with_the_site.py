import django.db.models.deletion
from django.db import migrations, models

FIELDS = ["site", "identity", "persona", "occurred_at", "position", "message_id", "is_member"]
COLUMNS = "site_id, identity_id, persona_id, occurred_at, position, message_id, is_member"


def index(name: str, on: str) -> migrations.RunSQL:
    """Return an operation that builds an index beside a running digest, after what an earlier build has left."""
    forget = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"
    unique = "UNIQUE " if name == "cohorts_personafact_event" else ""
    return migrations.RunSQL([forget, f"CREATE {unique}INDEX CONCURRENTLY {name} ON {on}"], forget)


def drop(name: str, on: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        f"DROP INDEX CONCURRENTLY IF EXISTS {name}", f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {on}"
    )


class Migration(migrations.Migration):
    """Keys and indexes of the history of personas and of search texts begin with the site."""

    atomic = False

    dependencies = [("cohorts", "0012_site_of_persona_facts")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(  # of a run that was interrupted, because its index could not be built again
                    "ALTER TABLE cohorts_personafact DROP CONSTRAINT IF EXISTS cohorts_personafact_event",
                    migrations.RunSQL.noop,
                ),
                index("cohorts_personafact_event", f"cohorts_personafact ({COLUMNS})"),
                index("cohorts_personafact_of_persona", "cohorts_personafact (site_id, persona_id, occurred_at)"),
                index("cohorts_searchtext_identity", "cohorts_searchtext (site_id, identity_id)"),
                migrations.RunSQL(
                    """
                    ALTER TABLE cohorts_personafact
                      ADD CONSTRAINT cohorts_personafact_event UNIQUE USING INDEX cohorts_personafact_event,
                     DROP CONSTRAINT IF EXISTS cohorts_personafact_stamp
                    """,
                    """
                    ALTER TABLE cohorts_personafact
                      ADD CONSTRAINT cohorts_personafact_stamp
                   UNIQUE (identity_id, persona_id, occurred_at, position, message_id, is_member),
                     DROP CONSTRAINT IF EXISTS cohorts_personafact_event
                    """,
                ),
                drop("cohorts_personafact_time", "cohorts_personafact (persona_id, occurred_at)"),
                drop("cohorts_searchtext_identity_id_2037fdc8", "cohorts_searchtext (identity_id)"),
            ],
            state_operations=[
                migrations.RemoveConstraint("personafact", "cohorts_personafact_stamp"),
                migrations.RemoveIndex("personafact", "cohorts_personafact_time"),
                migrations.AddConstraint(
                    "personafact", models.UniqueConstraint(fields=FIELDS, name="cohorts_personafact_event")
                ),
                migrations.AddIndex(
                    "personafact",
                    models.Index(fields=["site", "persona", "occurred_at"], name="cohorts_personafact_of_persona"),
                ),
                migrations.AlterField(
                    "searchtext",
                    "identity",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        db_constraint=False,
                        db_index=False,
                        related_name="search_texts",
                        to="cohorts.identity",
                    ),
                ),
                migrations.AddIndex(
                    "searchtext", models.Index(fields=["site", "identity"], name="cohorts_searchtext_identity")
                ),
            ],
        ),
    ]
