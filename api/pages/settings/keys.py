"""All keys of a site on one page: which one a sender, reader or program needs, and what each did last."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from api.http.tokens import live_tokens, with_open_sites
from api.ingest.provisioning import live_write_keys
from api.ingest.source_counts import SourceCounts, begin_of_last_day, load_source_counts
from api.models import ManagementToken, Role, Scope, Site, Source, WriteKey
from api.pages.access import may, show, site_page

MOST_TOKENS: Final = 200


@dataclass(frozen=True, slots=True)
class WriteKeyRow:
    """A write key with the events of its source in the last 24 hours."""

    key: WriteKey
    source: Source
    received: int
    rejected: int


@site_page()
def list_keys(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the live keys of a site. Five queries of its own; only owners see credentials and tokens."""
    now, may_own = timezone.now(), may(request, Role.OWNER)
    return show(
        request,
        "pages/settings/keys.html",
        title="Keys",
        tab="settings-keys",
        write_keys=list_write_keys(site, now=now),
        credentials=site.credentials.filter(revoked_at=None).order_by("pk") if may_own else [],
        tokens=list_tokens(site) if may_own else [],
        all_scopes=len(Scope),
    )


def list_tokens(site: Site) -> list[ManagementToken]:
    """Return the tokens that open this site now, MOST_TOKENS at most. One query."""
    tokens = with_open_sites(live_tokens().filter(sites=site).order_by("-pk"))
    return [token for token in tokens[:MOST_TOKENS] if site.pk in vars(token)["open_sites"]]


def list_write_keys(site: Site, *, now: datetime) -> list[WriteKeyRow]:
    """Return the live write keys by source. Three queries."""
    sources = {source.pk: source for source in site.sources.order_by("pk")}
    counts = load_source_counts(site.pk, list(sources), since=begin_of_last_day(now))
    live = live_write_keys(now=now).filter(source__in=list(sources.values()))
    rows = []
    for key in live.order_by("source_id", "pk"):
        came = counts.get(key.source_id, SourceCounts())
        rows.append(WriteKeyRow(key, sources[key.source_id], came.received, came.rejected))
    return rows
