"""Old messages leave the inbox, in chunks. Conversions have keys of their own: a late resend counts nothing twice."""

import time
from datetime import datetime
from typing import Final

from django.db import connection

CHUNK: Final = 5_000


def prune_done(*, before: datetime, seconds: float) -> int:
    """Delete done messages digested before a time, for some seconds; how many. Others never expire by themselves.

    Each chunk is its own short transaction.
    """
    until = time.monotonic() + seconds
    pruned: int = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                DELETE FROM api_message WHERE id IN (
                    SELECT id FROM api_message WHERE status = 'done' AND digested_at < %s
                     ORDER BY digested_at LIMIT %s FOR UPDATE SKIP LOCKED)
                """,
                [before, CHUNK],
            )
            pruned += cursor.rowcount
            if cursor.rowcount < CHUNK or time.monotonic() > until:
                return pruned
