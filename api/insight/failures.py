"""Rejected and failed events: their reasons, and of each the sources and event names that have it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db import connection

from api.digest.site_config import SiteConfig
from api.insight.messages import MessageRow, messages_by_id
from api.models import Message, Site
from api.rules.identifiers import suggest_pattern
from goals import quota
from goals.similar_names import split_name

FAILED_LOOK: Final = 10_000  # the newest of each status, whose reasons are counted: some 20 ms
NAMES_LOOK: Final = 60  # the newest of each reason, whose names are read from their bodies
MOST_NAMES: Final = 400  # bodies in all: some 20 ms
LINE_DAYS: Final = 14
NEW: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class NamedFailures:
    """The newest events of one reason that have the same source, type and event name."""

    source_id: int | None
    type: str
    name: str
    count: int
    first_at: datetime
    last_at: datetime
    newest_id: int


@dataclass(frozen=True, slots=True)
class Failures:
    """The events with one status and reason, of the newest FAILED_LOOK with this status."""

    reason: str
    status: str
    count: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    days: Sequence[int] = ()  # counts of the last LINE_DAYS times 24 hours
    samples: Sequence[int] = ()  # the newest, newest first
    names: list[NamedFailures] = field(default_factory=list)  # the most frequent first
    is_cut: bool = False  # there may be older ones: the status has more events than are looked at

    @property
    def label(self) -> str:
        return Message.Status(self.status).label

    def is_new(self, now: datetime) -> bool:
        """Return True if the first of them came in the last 24 hours."""
        return self.first_at is not None and not self.is_cut and now - self.first_at < NEW


DAYS: Final = ", ".join(f"count(*) FILTER (WHERE day = {day})" for day in reversed(range(LINE_DAYS)))
NEWEST: Final = f"""
SELECT status, reason, count(*), min(received_at), max(received_at), ARRAY[{DAYS}],
       array_agg(id ORDER BY id DESC) FILTER (WHERE place <= %(look)s)
  FROM (
    SELECT id, m.status, reason, received_at, floor(extract(epoch FROM %(now)s - received_at) / 86400) AS day,
           row_number() OVER (PARTITION BY m.status, reason ORDER BY id DESC) AS place
      FROM (VALUES ('rejected'), ('failed')) AS kind (name)
      JOIN LATERAL (
        SELECT id, status, reason, received_at FROM api_message
         WHERE site_id = %(site)s AND status = kind.name AND status IN ('rejected', 'failed')
         ORDER BY id DESC LIMIT %(most)s
      ) AS m ON true
  ) AS newest
 GROUP BY 1, 2
"""


def find_failures(config: SiteConfig, *, now: datetime) -> list[Failures]:
    """Return the reasons of a site's rejected and failed messages, the most frequent first.

    It reads the newest FAILED_LOOK of each status by their index, whatever their age, and the bodies of some. Two
    queries.
    """
    with connection.cursor() as cursor:
        cursor.execute(NEWEST, {"site": config.site_id, "most": FAILED_LOOK, "look": NAMES_LOOK, "now": now})
        rows = sorted(cursor.fetchall(), key=lambda row: (-row[2], row[1]))
    each = max(1, MOST_NAMES // max(1, len(rows)))
    found = {row.id: row for row in messages_by_id(config, [id_ for row in rows for id_ in row[6][:each]])}
    looked_at = Counter[str]()
    for status, _, count, *_ in rows:
        looked_at[status] += count
    return [
        Failures(
            reason,
            status,
            count,
            first,
            last,
            days,
            ids,
            group_by_name([found[id_] for id_ in ids if id_ in found]),
            is_cut=looked_at[status] >= FAILED_LOOK,
        )
        for status, reason, count, first, last, days, ids in rows
    ]


def group_by_name(rows: Sequence[MessageRow]) -> list[NamedFailures]:
    """Return messages, newest first, by source, type and event name, the most frequent first. Pure."""
    groups: dict[tuple[int | None, str, str], list[MessageRow]] = defaultdict(list)
    for row in rows:
        groups[row.source_id, row.type, row.seen.name].append(row)
    named = [
        NamedFailures(*key, len(same), same[-1].received_at, same[0].received_at, same[0].id)
        for key, same in groups.items()
    ]
    return sorted(named, key=lambda group: -group.count)


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A pattern such as `Viewed order {n}` that several event names share, each of which needs a goal of its own."""

    event_type: str  # empty: any
    pattern: str
    names: int


def find_name_patterns(names: Iterable[tuple[str, str]]) -> list[NamePattern]:
    """Return the patterns of event names, each given as (type, name), with the most names first. Pure."""
    counts = Counter((type_, pattern) for type_, name in set(names) if (pattern := suggest_pattern(name)))
    return [
        NamePattern(*key, count)
        for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if count > 1
    ]


@dataclass(frozen=True, slots=True)
class WaitingNames:
    """The events that wait for the new-goal limit, and when they may go on."""

    events: int  # FAILED_LOOK at most
    oldest_at: datetime
    names: Sequence[tuple[str, int]]  # with the most events first, MOST_WAITING at most
    all_names: int
    patterns: Sequence[NamePattern]  # of the PATTERN_LOOK names with the most events
    opens_at: datetime | None  # when the next goal may be created; None if that is now
    done_at: datetime  # when the last one of these may be


MOST_WAITING: Final = 10
PATTERN_LOOK: Final = 1_000  # names: some 20 ms


def find_waiting_names(site: Site, *, now: datetime) -> WaitingNames | None:
    """Return the events of a site that wait for the new-goal limit; None if none does. At most two queries."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT waiting_for, count(*), min(received_at) FROM (
                SELECT waiting_for, received_at FROM api_message
                 WHERE site_id = %s AND status = 'deferred' LIMIT %s
            ) AS waiting GROUP BY 1 ORDER BY 2 DESC, 1
            """,
            [site.pk, FAILED_LOOK],
        )
        rows = cursor.fetchall()
    if not rows:
        return None
    windows = quota.build_windows(per_10_seconds=site.goals_per_10_seconds, per_hour=site.goals_per_hour)
    places = quota.find_places(site.pk, windows, len(rows), now=now)
    split = [(name, split_name(name, template=site.goal_name_template)) for name, _, _ in rows[:PATTERN_LOOK]]
    return WaitingNames(
        events=sum(count for _, count, _ in rows),
        oldest_at=min(at for _, _, at in rows),
        names=[(name, count) for name, count, _ in rows[:MOST_WAITING]],
        all_names=len(rows),
        patterns=find_name_patterns(event for name, event in split if event[1] != name),
        opens_at=places[0] if places[0] > now else None,
        done_at=places[-1],
    )
