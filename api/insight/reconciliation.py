"""Reconciliation: messages received per source against their outcomes; the difference should be 0 (promise K-89).

It counts the messages of the inbox one by one, and the duplicates that ingest counted without storing them. Both begin
at a whole hour, because duplicates are counted by the hour. The range is one that the site keeps, so that no message
was pruned.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import connection

from api.events.reasons import DROPS
from api.ingest.source_counts import SourceCounts, load_source_counts
from api.insight.delivery import KIND
from api.models import Site

MOST_MESSAGES: Final = 50_000  # the newest messages, of which all conversions are looked up
DAYS: Final = (1, 7, 14, 30)

OutcomeKey = tuple[str, str]  # (of OUTCOME_LABELS; the reason)


@dataclass(slots=True)
class SourceAccount:
    """Account of one source, or of all deleted sources together."""

    source_id: int | None
    lines: Counter[OutcomeKey] = field(default_factory=Counter)
    counted: int = 0  # converted messages whose conversion exists
    deleted: int = 0  # converted messages whose goal was deleted since
    missing: int = 0  # neither, which must never happen
    at_ingest: SourceCounts = field(default_factory=SourceCounts)

    @property
    def received(self) -> int:
        """Return the number of stored messages and their duplicates."""
        return sum(self.lines.values()) + self.at_ingest.duplicates

    @property
    def difference(self) -> int:
        """Return what ingest counted beyond that, mostly erased messages; below 0 while it has unsaved counts."""
        return self.at_ingest.received - self.received

    def of(self, outcome: str) -> int:
        """Return the number of messages with an outcome."""
        return sum(count for (kind, _), count in self.lines.items() if kind == outcome)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The accounts of a site's sources since a whole hour."""

    since: datetime
    is_cut: bool  # fewer hours than asked for: there were too many messages
    accounts: Sequence[SourceAccount]

    @property
    def total(self) -> SourceAccount:
        """Return the account of all sources together."""
        total = SourceAccount(None)
        for account in self.accounts:
            total.lines += account.lines
            total.counted += account.counted
            total.deleted += account.deleted
            total.missing += account.missing
        total.at_ingest = SourceCounts(
            sum(account.at_ingest.received for account in self.accounts),
            sum(account.at_ingest.duplicates for account in self.accounts),
            sum(account.at_ingest.rejected for account in self.accounts),
        )
        return total


def days_of(site: Site) -> list[int]:
    """Return the ranges in days from which no message was pruned."""
    kept = site.keeps_done_days or settings.KEEP_DONE_DAYS
    return [days for days in DAYS if days <= kept]


OUTCOMES: Final = f"""
WITH newest AS MATERIALIZED (
    SELECT source_id, received_at, reason, goal_id, {KIND} AS kind,
           CASE WHEN 'converted' = ANY(effects) THEN
               CASE WHEN message_id IS NULL THEN '#' || id ELSE type || ':' || message_id END
           END AS conversion
      FROM api_message WHERE site_id = %(site)s ORDER BY id DESC LIMIT %(most)s
)
SELECT m.source_id, m.kind, m.reason, count(*),
       count(*) FILTER (WHERE c.id IS NOT NULL AND g.id IS NOT NULL),
       count(*) FILTER (WHERE m.conversion IS NOT NULL AND g.id IS NULL),
       count(*) FILTER (WHERE m.conversion IS NOT NULL AND c.id IS NULL AND g.id IS NOT NULL)
  FROM newest m
  LEFT JOIN LATERAL (
    SELECT id, goal_id FROM goals_conversion
     WHERE site_id = %(site)s AND message_key = m.conversion LIMIT 1
  ) AS c ON true
  -- Rows of a deleted goal are deleted in steps. Until then its conversions exist, and count nowhere.
  LEFT JOIN goals_goal g ON g.site_id = %(site)s AND g.id = coalesce(c.goal_id, m.goal_id) AND g.deleted_at IS NULL
 WHERE m.received_at >= %(since)s
 GROUP BY 1, 2, 3
"""


def reconcile(site: Site, source_ids: Sequence[int], *, days: int, now: datetime) -> Reconciliation:
    """Return the accounts of the last `days`, of the newest MOST_MESSAGES. Three queries."""
    asked = now.replace(minute=0, second=0, microsecond=0) - timedelta(days=days, hours=-1)
    since = max(asked, _first_whole_hour(site.pk) or asked)
    accounts: Mapping[int | None, SourceAccount] = {
        None: SourceAccount(None),
        **{id_: SourceAccount(id_) for id_ in source_ids},
    }
    # Read before the messages, because events that arrive in between would look like deleted messages.
    for source_id, came in load_source_counts(site.pk, list(source_ids), since=since).items():
        accounts[source_id].at_ingest = came
    with connection.cursor() as cursor:
        cursor.execute(
            OUTCOMES,
            {"site": site.pk, "most": MOST_MESSAGES, "since": since, "drops": list(DROPS)},
        )
        for source_id, outcome, reason, count, counted, deleted, missing in cursor.fetchall():
            account = accounts[source_id if source_id in accounts else None]
            account.lines[outcome, reason] += count
            account.counted += counted
            account.deleted += deleted
            account.missing += missing
    deleted = accounts[None]  # the counts of deleted sources are deleted too
    deleted.at_ingest = SourceCounts(deleted.received)
    return Reconciliation(
        since, since > asked, [account for account in accounts.values() if account.source_id or account.lines]
    )


def _first_whole_hour(site_id: int) -> datetime | None:
    """Return the first hour whose messages are all among the newest MOST_MESSAGES, None if there are no more."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT date_trunc('hour', received_at, 'UTC') + interval '1 hour' FROM api_message
             WHERE site_id = %(site)s AND id = (
                   SELECT id FROM api_message WHERE site_id = %(site)s ORDER BY id DESC OFFSET %(most)s LIMIT 1)
            """,
            {"site": site_id, "most": MOST_MESSAGES - 1},
        )
        row = cursor.fetchone()
    return row[0] if row else None
