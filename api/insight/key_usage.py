"""Recent use of a key, which its owner must know before it ends."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from api.events.body import UnreadableBodyError, read_body, read_object
from api.http.wording import count_of
from api.ingest.source_counts import SourceCounts, begin_of_last_day, load_source_counts
from api.models import AuditEntry, Message, Site, Source
from api.models.message_rows import load_body

NEWEST_EVENTS: Final = 1_000  # the newest events of a site among which a source's last one is looked for
CHANGES: Final = timedelta(days=30)


def describe_use(last_used_at: datetime | None) -> str:
    """Return when a key was last used."""
    if last_used_at is None:
        return "It was never used."
    return f"It was last used on {last_used_at:%Y-%m-%d} at {last_used_at:%H:%M} UTC."


def describe_events(sources: Collection[Source], *, now: datetime) -> list[str]:
    """Return what came in through each source in the last 24 hours, and what sent the last event.

    Three queries each.
    """
    uses = []
    for source in sources:
        came = load_source_counts(source.site_id, [source.pk], since=begin_of_last_day(now))
        count = came.get(source.pk, SourceCounts()).received
        sender = _last_sender(source)
        uses.append(
            f"{count_of(count, 'event')} came in through “{source.name}” in the last 24 hours"
            f"{f', the last one from {sender}' if sender and count else ''}."
        )
    return uses


def describe_changes(sites: Collection[Site], who: str, *, now: datetime) -> str:
    """Return how often a person or a key changed something on these sites recently. One query a site."""
    recent = AuditEntry.objects.filter(who=who[:150], at__gt=now - CHANGES)
    count = sum(recent.filter(site=site).count() for site in sites)
    return f"Changes that the log has of it in the last {CHANGES.days} days: {count:,}."


def find_last_event(source: Source) -> int | None:
    """Return the number of a source's last event if it is among the newest of its site. One query."""
    newest = (
        Message.objects.filter(site_id=source.site_id).order_by("-pk")[:NEWEST_EVENTS].values_list("pk", "source_id")
    )
    return next((number for number, source_id in newest if source_id == source.pk), None)


def _last_sender(source: Source) -> str:
    """Return the library that sent the last event of a source, as `analytics.js 4.2`; empty if the event names none."""
    last = find_last_event(source)
    if last is None:
        return ""
    try:
        fields = read_body(load_body(source.site_id, last).body, set())
    except UnreadableBodyError:
        return ""
    library = read_object(read_object(fields.get("context"), set()).get("library"), set())
    return " ".join(str(library[name])[:50] for name in ("name", "version") if isinstance(library.get(name), str))
