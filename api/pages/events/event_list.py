"""The events of a site: the list that fills by itself, and each event with what happened to it."""

from typing import Final

from django.db.models import prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, QueryDict
from django.template.loader import render_to_string
from django.utils import timezone

from api.digest.site_config import load_site_config
from api.events.encodings import decode
from api.events.reasons import REASONS, sentence_of
from api.events.types import TYPES
from api.ingest.event_batch import BATCH_BYTES
from api.insight.messages import (
    LOOK,
    OUTCOMES,
    MessageFilter,
    MessageRow,
    find_messages,
    messages_by_id,
    settled_id,
)
from api.insight.trace import trace
from api.models import Message, Site
from api.pages.access import show, site_page
from api.pages.json_text import pretty_body, visible
from api.pages.spans import read_time, trouble_of_times

PER_PAGE: Final = 50
PER_POLL: Final = 100
MOST_ID_DIGITS: Final = 18


@site_page()
def list_events(request: HttpRequest, site: Site) -> HttpResponseBase:
    """The list, newest first; the first page fills by itself (promises B-04, B-05)."""
    prefetch_related_objects([site], "sources", "rules")
    wanted, before = read_wanted(request.GET), read_number(request.GET.get("before"))
    is_live = before is None and wanted.until is None
    after = settled_id(site.pk, after=0, now=timezone.now()) if is_live else 0
    found = find_messages(load_site_config(site), wanted, before=before, limit=PER_PAGE)
    filters = request.GET.copy()
    filters.pop("before", None)
    older = filters.copy()
    older["before"] = str(found.before)
    return show(
        request,
        "pages/events/list.html",
        title="Events",
        rows=with_sources(site, found.rows),
        found=found,
        look=LOOK,
        wanted=wanted,
        trouble=trouble_of_times(request.GET, now=timezone.now()),
        before=before,
        is_live=is_live,
        after=after,
        query=filters.urlencode(),
        older=older.urlencode() if found.before is not None else "",
        is_narrowed=wanted != MessageFilter(),
        outcomes=OUTCOMES.items(),
        reasons=[(code, sentence_of(code, site)) for code in REASONS],
        sources=list(site.sources.all()),
        types=TYPES,
    )


@site_page()
def list_new_events(request: HttpRequest, site: Site) -> HttpResponseBase:
    """What a page that is open asks every second: `?after=<id>&open=<id>,<id>` and the list's filters.

    `{"after": …, "html": "<tr>…"}`: the rows above `after` that are wanted, 100 at most, and those of `open`, as they
    are by now; and where to begin the next time. Some rows come more than once: see `settled_id`.
    """
    prefetch_related_objects([site], "sources", "rules")
    config, wanted = load_site_config(site), read_wanted(request.GET)
    after = read_number(request.GET.get("after")) or 0
    settled = settled_id(site.pk, after=after, now=timezone.now())  # before the rows: what comes meanwhile is asked for
    rows = find_messages(config, wanted, after=after, limit=PER_POLL).rows
    asked = [number for each in request.GET.get("open", "").split(",")[:PER_POLL] if (number := read_number(each))]
    known = {row.id for row in rows}
    still_open = [each for each in asked if each not in known]
    rows += messages_by_id(config, still_open) if still_open else []
    context = {"rows": with_sources(site, rows), "site": site}
    return JsonResponse({"after": settled, "html": render_to_string("pages/events/rows.html", context)})


@site_page()
def show_event(request: HttpRequest, site: Site, number: int) -> HttpResponseBase:
    """One event: its trace, and its body as it was received (promises K-42, N-04)."""
    prefetch_related_objects([site], "sources", "rules")
    message = Message.objects.filter(site=site, pk=number).first()
    if message is None:
        raise Http404
    message.site = site  # its sentence says the site's limits
    sources = {source.pk: source for source in site.sources.all()}
    body, is_part = pretty_body(readable(message))
    return show(
        request,
        "pages/events/event.html",
        title=f"Event {number}",
        message=message,
        source=sources.get(message.source_id or 0),
        trace=trace(site, message),
        effects=[OUTCOMES.get(effect, effect) for effect in message.effects],
        body=visible(body),
        is_part=is_part,
        size=len(message.body),
    )


@site_page()
def download_body(_request: HttpRequest, site: Site, number: int) -> HttpResponseBase:
    """Send the body of an event as it is kept: its page shows the beginning of a large one."""
    body = Message.objects.filter(site=site, pk=number).values_list("body", flat=True).first()
    if body is None:
        raise Http404
    response = HttpResponse(bytes(body), content_type="application/octet-stream")  # whatever it is, no browser shows it
    response["Content-Disposition"] = f'attachment; filename="event-{number}.json"'
    return response


def read_wanted(given: QueryDict) -> MessageFilter:
    """The filters of an address; what cannot be read does not matter."""
    outcome, type_ = given.get("outcome", ""), given.get("type", "")
    reason = given.get("reason", "")
    return MessageFilter(
        outcome=outcome if outcome in OUTCOMES else "",
        reason=reason if reason in REASONS else "",
        source_id=read_number(given.get("source")),
        type=type_ if type_ in TYPES else "",
        message_id=given.get("message_id", "").strip()[:255],
        text=given.get("text", "").strip()[:500],
        since=read_time(given.get("since", "")),
        until=read_time(given.get("until", "")),
    )


def read_number(given: str | None) -> int | None:
    """An id, None for anything else."""
    is_number = given and given.isascii() and given.isdigit() and len(given) <= MOST_ID_DIGITS
    return int(given) if is_number and given else None


def with_sources(site: Site, rows: list[MessageRow]) -> list[tuple[MessageRow, str]]:
    """Each row with the name of its source."""
    names = {source.pk: source.name for source in site.sources.all()}
    return [(row, names.get(row.source_id or 0, "")) for row in rows]


def readable(message: Message) -> bytes:
    """Return the body of a message without its Content-Encoding if that can be taken off, else as it came."""
    body = bytes(message.body)
    plain = decode(body, message.content_encoding, most=BATCH_BYTES) if message.content_encoding else body
    return body if plain is None else plain
