"""Columns with texts: an erasure searches each of them, or its receipt says that it does not."""

from django.db import connection

from api.erasure.text_sweep import TEXTS

# Columns that hold texts and that no sweep looks at, by table; `*` for all. The receipt names what they hold.
NOT_SEARCHED = {
    "api_auditentry": {"*"},  # the database refuses to change it
    "api_alert": {"*"},
    "api_alertdelivery": {"*"},
    "api_credential": {"*"},
    "api_managementtoken": {"*"},
    "api_membership": {"*"},
    "api_writekey": {"*"},
    "api_refusedkey": {"*"},  # six characters of a key, for a day
    "api_site": {"*"},
    "api_erasure": {"*"},  # the receipts themselves; the ids are emptied when they are done
    "api_suppression": {"*"},  # hashes
    # Of this installation.
    "api_keyfingerprint": {"*"},
    "api_heartbeat": {"*"},
    "api_probe": {"*"},
    "api_profile": {"time_zone"},
    # Codes of the product.
    "api_message": {"type", "status", "reason", "warnings", "effects"},
    "api_rule": {"event_type", "name_test", "path_test", "action"},
    "api_source": {"kind"},
    "api_sourceuse": {"span"},
    "api_refusaltally": {"reason"},
    "api_load": {"fingerprint"},
    "api_removal": {"of", "removed_by"},
    "goals_goal": {"type", "origin", "day_zone"},
    "goals_goalbinding": {"event_type"},
    "goals_waitingname": {"event_type"},
    "goals_conversion": {"currency"},
    "goals_cancellation": {"currency"},
    "goals_goalvisitor": {"revenue"},
    "goals_goalday": {"revenue"},
    "goals_goaltotal": {"revenue"},
    "api_claim": {"message_ids"},  # numbers
    "api_goalschange": {"action", "goal_ids"},
    # Written by the members of a site, about values and not about persons.
    "api_goalview": {"*"},
    "api_annotation": {"*"},
    "cohorts_customdata": {"*"},
    "cohorts_segment": {"*"},
    "api_storedanswer": {"caller", "key_hash", "request_hash", "salt"},
    "api_sdkconfiguration": {"*"},
    "goals_environment": {"*"},
    "goals_featureflag": {"*"},
    "goals_flagversion": {"*"},
    "goals_importedsegment": {"*"},
    # Keys by which senders name experiments, and what members of a site write about them.
    "goals_experiment": {
        *("key", "name", "tags", "origin", "hypothesis", "owner", "decision", "decision_reason"),
    },
    "goals_variation": {"key", "name"},
    "goals_experimentgoal": {"*"},
    "goals_experimentphase": {"*"},
}
# Swept by code of their own.
SEARCHED = {
    "api_message": {"message_id", "detail", "waiting_for"},
    "api_messagebody": {"body", "content_encoding"},
    "cohorts_identity": {"value", "registers", "parent_value"},
    "cohorts_link": {"value", "user_value"},
    "api_latelink": {"value", "users_after"},
    "cohorts_searchtext": {"text"},  # goes with its identity, and follows its traits
    "cohorts_username": {"user_value"},
    "goals_conversion": {"visitor_code", "user_id", "anonymous_id"},
    "goals_goalvisitor": {"visitor_code"},  # follows the conversions
    **{key: {"visitor_code"} for key in ("goals_visitfact", "goals_visitactivity", "goals_cancellation")},
    "goals_exposure": {"visitor_code", "anonymous_id", "linked_code"},
    # PostgreSQL makes them of the names.
    "goals_goal": {"search_key", "sort_key", "display_search_key", "display_sort_key"},
    "goals_tag": {"sort_key"},
    "cohorts_persona": {"sort_key"},
    "cohorts_group": {"sort_key"},
}


def test_sweeps__of_every_column_that_holds_texts__are_there_or_not_promised(db: None) -> None:
    """A new table or column has to be entered: swept, or named on the receipt as not searched."""
    swept = {texts.model._meta.db_table: set(texts.columns) for texts in TEXTS.values()}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT table_name, column_name FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name ~ '^(api|goals|cohorts)_'
               AND table_name NOT IN (SELECT relname FROM pg_class WHERE relispartition)
               AND data_type IN ('text', 'character varying', 'jsonb', 'bytea', 'ARRAY')
            """
        )
        columns = cursor.fetchall()
    unknown = [
        (table, column)
        for table, column in columns
        if not {column, "*"} & (swept.get(table, set()) | SEARCHED.get(table, set()) | NOT_SEARCHED.get(table, set()))
    ]
    assert unknown == []
