"""Exports of events and of the reasons why events failed, as CSV."""

from collections.abc import Iterator, Mapping
from typing import Final

from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from api.digest.site_config import SiteConfig, load_site_config
from api.events.reasons import sentence_of
from api.insight.failures import Failures, find_failures
from api.insight.messages import MessageFilter, MessageRow, find_messages
from api.models import Role, Site
from api.models.audit import write_audit
from api.pages.access import site_page
from api.pages.csv_cells import Cell, as_text, write_at
from api.pages.csv_file import send_csv
from api.pages.events.event_list import EventListQuery

EXPORTED: Final = 200  # events at a time, whose bodies have 13 MB at most
OF_EVENT: Final = (
    "event",
    "received",
    "type",
    "name",
    "status",
    "reason",
    "source",
    "messageId",
    "id from",
    "id",
    "goal",
)
OF_REASON: Final = (
    "reason",
    "status",
    "explanation",
    "source",
    "type",
    "name",
    "events",
    "first",
    "last",
    "newest event",
)


@site_page(Role.EDITOR)
def export_events(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Send all events that pass the filters, newest first. The audit log names the export, not the people."""
    prefetch_related_objects([site], "sources", "rules")
    wanted = EventListQuery(request.GET, site).wanted
    sources = {source.pk: source.name for source in site.sources.all()}
    write_audit(request.user, site, "Exported events", None, {"filtered": wanted != MessageFilter()})
    pages = _list_pages(load_site_config(site), wanted)
    return send_csv(
        f"events-{site.sitecode}", OF_EVENT, ([_make_cells(row, sources) for row in page] for page in pages)
    )


@site_page()
def export_failed(_: HttpRequest, site: Site) -> HttpResponseBase:
    """Send the reasons of rejected and failed events by source and event name; older events have neither."""
    prefetch_related_objects([site], "sources", "rules")
    sources = {source.pk: source.name for source in site.sources.all()}
    found = find_failures(load_site_config(site), now=timezone.now())
    rows = [row for each in found for row in _list_rows(site, each, sources)]
    return send_csv(f"failed-events-{site.sitecode}", OF_REASON, [rows])


def _list_pages(config: SiteConfig, wanted: MessageFilter) -> Iterator[list[MessageRow]]:
    """Yield the events that pass a filter. Two queries for each 200 of them, or for each 10,000 that are searched."""
    before: int | None = None
    while True:
        found = find_messages(config, wanted, before=before, limit=EXPORTED)
        yield found.rows
        before = found.before
        if before is None:
            return


def _make_cells(row: MessageRow, sources: Mapping[int, str]) -> list[Cell]:
    texts = (row.seen.name, row.outcome, row.reason, sources.get(row.source_id or 0, ""), row.message_id or "")
    ids = (row.seen.id_field, row.seen.id)
    return [
        row.id,
        write_at(row.received_at),
        row.type,
        *(as_text(text) for text in (*texts, *ids)),
        "" if row.goal_id is None else row.goal_id,
    ]


def _list_rows(site: Site, found: Failures, sources: Mapping[int, str]) -> Iterator[list[Cell]]:
    """Yield a row for each source and event name of a reason, and one for the events whose names were not read."""
    of_reason = [found.reason, found.label, as_text(sentence_of(found.reason, site))]
    for named in found.names:
        texts = (sources.get(named.source_id or 0, ""), named.type, named.name)
        times = (write_at(named.first_at), write_at(named.last_at))
        yield [*of_reason, *map(as_text, texts), named.count, *times, named.newest_id]
    others = found.count - sum(named.count for named in found.names)
    if others:
        yield [*of_reason, "", "", "", others, write_at(found.first_at), "", ""]
