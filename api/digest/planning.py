"""How PostgreSQL plans the statements of the digest."""

from django.db import connection


def plan_by_keys() -> None:
    """Have every statement of this transaction go by keys. One query.

    A batch touches some thousand rows by their keys. Left alone, the planner joins that many by hashing the whole
    table, which costs milliseconds a batch for every 10,000 rows in it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT set_config(name, 'off', true)
              FROM unnest('{enable_hashjoin,enable_mergejoin,enable_seqscan}'::text[]) AS way (name)
            """
        )
