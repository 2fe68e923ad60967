"""Old messages leave the inbox, in chunks. Conversions have keys of their own: a late resend counts nothing twice."""

import random
import time
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import connection

from api.models import Site

CHUNK: Final = 5_000


def prune_done(*, now: datetime, seconds: float) -> int:
    """Delete done messages that are older than their site keeps them, for some seconds; how many.

    Others never expire by themselves. Each chunk is its own short transaction; the sites come in any order, so that
    what takes longer than the time is not always the same.
    """
    until = time.monotonic() + seconds
    sites = list(Site.objects.values_list("pk", "keeps_done_days"))
    random.shuffle(sites)
    pruned = 0
    for site_id, days in sites:
        before = now - timedelta(days=days or settings.KEEP_DONE_DAYS)
        while True:
            gone = prune_chunk(site_id, before=before)
            pruned += gone
            if time.monotonic() > until:
                return pruned
            if gone < CHUNK:
                break
    return pruned


def prune_chunk(site_id: int, *, before: datetime) -> int:
    """Delete up to CHUNK of a site's messages that were done before a time, oldest first; how many. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            DELETE FROM api_message WHERE id IN (
                SELECT id FROM api_message
                 WHERE site_id = %(site)s AND status = 'done' AND digested_at < %(before)s
                   AND received_at < %(before)s  -- by another host's clock, where the worker's was behind
                 ORDER BY digested_at LIMIT %(most)s FOR UPDATE SKIP LOCKED)
            """,
            {"site": site_id, "before": before, "most": CHUNK},
        )
        gone: int = cursor.rowcount
        return gone
