"""Exports of the audit log and of the sources, as CSV."""

from collections.abc import Iterator
from typing import Final

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from api.ingest.source_counts import SourceCounts, begin_of_last_day, load_source_counts
from api.models import AuditEntry, Role, Site, Source
from api.models.audit import write_audit
from api.pages.access import site_page
from api.pages.csv_cells import Cell, as_text, write_at, write_json
from api.pages.csv_file import send_csv
from api.pages.settings.audit_log import AuditQuery, find_entries

EXPORTED: Final = 200  # entries at a time
OF_ENTRY: Final = ("entry", "time", "user", "change", "before", "after")
COUNTS: Final = ("received", "duplicates", "rejected")
OF_SOURCE: Final = (
    "source",
    "name",
    "kind",
    "enabled",
    "counts track events",
    "last event",
    *(f"{count}, {span}" for span in ("24 h", "all") for count in COUNTS),
)


@site_page(Role.OWNER)
def export_audit_entries(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Send the entries that pass the filters, newest first. The export is an entry, too."""
    query = AuditQuery(request.GET)
    write_audit(request.user, site, "Exported the audit log", None, {"filtered": bool(query.lookups)})
    pages = _list_pages(find_entries(site, query))
    return send_csv(
        f"audit-log-{site.sitecode}", OF_ENTRY, ([_make_entry_cells(entry) for entry in page] for page in pages)
    )


@site_page()
def export_sources(_: HttpRequest, site: Site) -> HttpResponseBase:
    """Send the sources with their counts, and without their keys."""
    sources = list(site.sources.order_by("pk"))
    ids = [source.pk for source in sources]
    ever = load_source_counts(site.pk, ids)
    day = load_source_counts(site.pk, ids, since=begin_of_last_day(timezone.now()))
    nothing = SourceCounts()
    rows = [_make_source_cells(source, day.get(source.pk, nothing), ever.get(source.pk, nothing)) for source in sources]
    return send_csv(f"sources-{site.sitecode}", OF_SOURCE, [rows])


def _list_pages(entries: QuerySet[AuditEntry]) -> Iterator[list[AuditEntry]]:
    """Yield entries, newest first. One query for each 200."""
    page = list(entries[:EXPORTED])
    while page:
        yield page
        page = list(entries.filter(pk__lt=page[-1].pk)[:EXPORTED]) if len(page) == EXPORTED else []


def _make_entry_cells(entry: AuditEntry) -> list[Cell]:
    return [
        entry.pk,
        write_at(entry.at),
        as_text(entry.who),
        as_text(entry.what),
        write_json(entry.before),
        write_json(entry.after),
    ]


def _make_source_cells(source: Source, day: SourceCounts, ever: SourceCounts) -> list[Cell]:
    return [
        source.pk,
        as_text(source.name),
        source.get_kind_display(),
        *("yes" if is_so else "no" for is_so in (source.is_enabled, source.takes_track)),
        write_at(ever.last_received_at),
        *(getattr(counts, name) for counts in (day, ever) for name in COUNTS),
    ]
