"""Deletion of old messages in chunks. Conversions keep unique keys, so a late copy counts nothing twice."""

import random
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import connection

from api.models import Message, RefusalCount, Site

CHUNK: Final = 5_000
FAILED_DAYS: Final = 90  # at least, because an operator needs time to fix the cause

Status = Message.Status


def days_kept(site: Site, status: str) -> int:
    """Return how many days a site keeps messages of a final status."""
    days = site.keeps_done_days or settings.KEEP_DONE_DAYS
    return max(days, FAILED_DAYS) if status == Status.FAILED else days


def prune_old(*, now: datetime, seconds: float) -> int:
    """Delete done, rejected and failed messages that are older than their site keeps them, and return how many.

    It ends after some seconds. Waiting messages never expire. Each chunk is a short transaction. Sites come in random
    order, so that the end of the time does not always skip the same ones.
    """
    until = time.monotonic() + seconds
    sites = list(Site.objects.only("keeps_done_days"))
    random.shuffle(sites)
    pruned = 0
    for site in sites:
        for status, statement in OLD_MESSAGES.items():
            before = now - timedelta(days=days_kept(site, status))
            while True:
                gone = prune_chunk(site.pk, statement, before=before)
                pruned += gone
                if time.monotonic() > until:
                    return pruned
                if gone < CHUNK:
                    break
        last_day = (now - timedelta(days=days_kept(site, Status.REJECTED))).date()
        RefusalCount.objects.filter(source__site=site, day__lt=last_day).delete()
    return pruned


# The index of rejected and failed messages is in the order of ids, which is that of receipt. If the oldest ones are
# young enough, all are.
OLD_BY_RECEIPT: Final = """
SELECT m.id FROM (
    SELECT id FROM api_message WHERE site_id = %(site)s AND status = '{status}' ORDER BY id LIMIT %(chunk)s) AS oldest
  JOIN api_message m ON m.id = oldest.id
 WHERE m.received_at < %(before)s AND coalesce(m.digested_at, m.received_at) < %(before)s AND m.status = '{status}'
   FOR UPDATE OF m SKIP LOCKED  -- locks only rows that this statement deletes, because a row lock writes the row
"""
# Both times are compared, because one is by another host's clock, which may have been behind.
OLD_MESSAGES: Final[Mapping[str, str]] = {
    Status.DONE: """
SELECT id FROM api_message
 WHERE site_id = %(site)s AND status = 'done' AND digested_at < %(before)s AND received_at < %(before)s
 ORDER BY digested_at LIMIT %(chunk)s FOR UPDATE SKIP LOCKED
""",
    Status.REJECTED: OLD_BY_RECEIPT.format(status="rejected"),
    Status.FAILED: OLD_BY_RECEIPT.format(status="failed"),
}


def prune_chunk(site_id: int, statement: str, *, before: datetime) -> int:
    """Delete up to CHUNK of a site's messages older than a time, oldest first. Return how many. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            # IN (SELECT … LIMIT) may run once for each row of the table, which locks and deletes other rows each time.
            f"WITH old AS MATERIALIZED ({statement}) DELETE FROM api_message m USING old WHERE m.id = old.id",
            {"site": site_id, "before": before, "chunk": CHUNK},
        )
        gone: int = cursor.rowcount
        return gone
