"""The sweeps of an erasure by table.

A test looks at every column of the database: one that holds texts is swept, or a receipt says that it is not.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from django.db import connection, models

from api.erasure.message_sweep import sweep_messages
from api.erasure.people_sweep import sweep_cancellations, sweep_conversions, sweep_identities, sweep_visit_facts
from api.erasure.text_sweep import TEXTS, Stage, replace_texts, sweep_own_keys, sweep_waiting_names
from api.models import Erasure, Message
from cohorts.models import Identity, OwnKey
from goals.models import Cancellation, Conversion, WaitingName
from goals.visit_models import VisitFact

MOST_ID: Final = 2**63 - 1
Sweep = Callable[[Erasure, int, int], None]  # sweeps the rows with ids above the first and up to the second number
# Bytes of a row, as stored, in the tables with large rows.
ROW_BYTES: Final[Mapping[Erasure.Stage, str]] = {
    Stage.CONVERSIONS: "pg_column_size(properties)",
    Stage.IDENTITIES: "pg_column_size(registers)",
    Stage.GROUPS: "pg_column_size(registers)",
    Stage.OWN_KEYS: "pg_column_size(document)",
}


def end_of_step(site_id: int, stage: Erasure.Stage, begin: int, *, most_rows: int, most_bytes: int) -> int:
    """Return the last id after `begin` that one step searches, limited in ids and in bytes of the site's rows.

    PostgreSQL searches the texts of all of them in one statement. At most one query.
    """
    if stage == Stage.MESSAGES:
        return _end_of_messages(site_id, begin, most_rows=most_rows, most_bytes=most_bytes)
    end = begin + most_rows
    if stage not in ROW_BYTES:
        return end
    table = SWEEPS[stage][0]._meta.db_table  # noqa: SLF001 - Django's own way
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT max(id) FILTER (WHERE so_far <= %(bytes)s), min(id), bool_and(so_far <= %(bytes)s)
              FROM (SELECT id, sum(size) OVER (ORDER BY id) AS so_far
                      FROM (SELECT id, {ROW_BYTES[stage]} AS size FROM {table}
                             WHERE site_id = %(site)s AND id > %(begin)s AND id <= %(end)s) AS t) AS t
            """,
            {"site": site_id, "begin": begin, "end": end, "bytes": most_bytes},
        )
        last, first, is_all = cursor.fetchone()
    return end if is_all in {None, True} else last or first


def _end_of_messages(site_id: int, begin: int, *, most_rows: int, most_bytes: int) -> int:
    """Return the last id of a step over the messages of a site, whose ids have gaps. One query."""
    rows = Message.objects.filter(site_id=site_id, pk__gt=begin).order_by("pk").values_list("pk", "size")[:most_rows]
    end, total = begin, 0
    for id_, size in rows:
        total += size
        if end > begin and total > most_bytes:
            break
        end = id_
    return end if end > begin else MOST_ID


SWEEPS: Final[Mapping[Erasure.Stage, tuple[type[models.Model], Sweep]]] = {
    **{stage: (texts.model, partial(replace_texts, stage)) for stage, texts in TEXTS.items()},
    Stage.MESSAGES: (Message, sweep_messages),
    Stage.CONVERSIONS: (Conversion, sweep_conversions),
    Stage.IDENTITIES: (Identity, sweep_identities),
    Stage.WAITING_NAMES: (WaitingName, sweep_waiting_names),
    Stage.OWN_KEYS: (OwnKey, sweep_own_keys),
    Stage.VISIT_FACTS: (VisitFact, sweep_visit_facts),
    Stage.CANCELLATIONS: (Cancellation, sweep_cancellations),
}
