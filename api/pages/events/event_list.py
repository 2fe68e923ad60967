"""The events of a site: the live list, and each event with its trace."""

import shlex
from collections.abc import Iterator
from typing import Final

from django import forms
from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, QueryDict
from django.template.loader import render_to_string
from django.utils import timezone

from api.digest.site_config import load_site_config
from api.events.encodings import decode
from api.events.reasons import REASONS, REPLAYABLE
from api.events.types import ALL_TYPES, EVENT_TYPES
from api.http.wording import shorten
from api.ingest.event_batch import BATCH_BYTES
from api.insight.messages import (
    OUTCOMES,
    MessageFilter,
    MessageRow,
    find_messages,
    messages_by_id,
    settled_id,
)
from api.insight.trace import trace
from api.models import Message, Role, Site
from api.models.message_rows import StoredBody, load_body
from api.pages.access import get_in_site, may, page_of, show, site_page
from api.pages.json_text import SHOWN, pretty_body, visible
from api.pages.query_form import IdField, read_id
from api.pages.spans import TimesQuery, find_trouble_of_times

TITLE_LENGTH: Final = 200
RETRIED: Final = (Message.Status.REJECTED, Message.Status.FAILED)
PER_PAGE: Final = 50
PER_POLL: Final = 100
ANY: Final = ("", "any")


class EventListQuery(TimesQuery):
    """The filters of the list; `before` says where the page before ended."""

    outcome = forms.ChoiceField(label="Status", choices=[ANY, *OUTCOMES.items()])
    reason = forms.ChoiceField(label="Reason", choices=[ANY, *((code, code) for code in REASONS)])
    type = forms.ChoiceField(label="Type", choices=[ANY, *((type_, type_) for type_ in ALL_TYPES)])
    text = forms.CharField(label="Search name, ID or content")
    message_id = forms.CharField(label="messageId")
    before = IdField()
    field_order = ("outcome", "reason", "source", "type", "text", "message_id", "since", "until")

    def __init__(self, query: QueryDict, site: Site) -> None:
        super().__init__(query)
        choices = [ANY, *((row.pk, row.name) for row in site.sources.all())]
        self.fields["source"] = forms.TypedChoiceField(label="Source", choices=choices, coerce=int, empty_value=None)
        self.order_fields(self.field_order)

    @property
    def filters(self) -> Iterator[forms.BoundField]:
        """The fields that people fill in."""
        return (field for field in self if field.name != "before")

    @property
    def wanted(self) -> MessageFilter:
        """The filters as a value."""
        asked = self.values
        return MessageFilter(
            outcome=asked["outcome"],
            reason=asked["reason"],
            source_id=asked["source"] or read_id(self.raw("source")),  # a deleted source has no events
            type=asked["type"],
            message_id=asked["message_id"][:255],
            text=asked["text"][:500],
            since=asked["since"],
            until=asked["until"],
        )


@site_page()
def list_events(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List events, newest first; the first page is live (promises B-04, B-05)."""
    prefetch_related_objects([site], "sources", "rules")
    query = EventListQuery(request.GET, site)
    wanted, before = query.wanted, query.values["before"]
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
        query=query,
        trouble=find_trouble_of_times(query, now=timezone.now()),
        before=before,
        is_live=is_live,
        after=after,
        query_string=filters.urlencode(),
        csv=f"{page_of(site, 'events-export')}?{filters.urlencode()}" if may(request, Role.EDITOR) else "",
        older=older.urlencode() if found.before is not None else "",
        is_narrowed=wanted != MessageFilter(),
    )


@site_page()
def list_new_events(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Answer an open page, which asks when live.js says so: `?after=<id>&open=<id>,<id>` and the list's filters.

    `{"after": …, "html": "<tr>…"}` holds the rows above `after` that match, 100 at most, the current rows of `open`,
    and the `after` of the next request. Some rows come more than once: see `settled_id`.
    """
    prefetch_related_objects([site], "sources", "rules")
    config, wanted = load_site_config(site), EventListQuery(request.GET, site).wanted
    after = read_id(request.GET.get("after")) or 0
    settled = settled_id(site.pk, after=after, now=timezone.now())  # before the rows, so that none is missed
    rows = find_messages(config, wanted, after=after, limit=PER_POLL).rows
    asked = [id_ for text in request.GET.get("open", "").split(",")[:PER_POLL] if (id_ := read_id(text))]
    known = {row.id for row in rows}
    still_open = [id_ for id_ in asked if id_ not in known]
    rows += messages_by_id(config, still_open)
    context = {"rows": with_sources(site, rows), "site": site, "is_poll": True}
    return JsonResponse({"after": settled, "html": render_to_string("pages/events/rows.html", context)})


@site_page()
def show_event(request: HttpRequest, site: Site, number: int) -> HttpResponseBase:
    """Show one event with its trace and its body as received (promises K-42, N-04)."""
    prefetch_related_objects([site], "sources", "rules")
    message = get_in_site(Message, site, number)
    message.site = site  # its sentence names the site's limits
    sources = {source.pk: source for source in site.sources.all()}
    stored = load_body(site.pk, number)
    body, is_part = pretty_body(decode_body(stored))
    traced = trace(site, message, stored.body)
    return show(
        request,
        "pages/events/event.html",
        title=shorten(traced.name, TITLE_LENGTH) or f"{message.type.replace('_', ' ').capitalize()} event".strip(),
        message=message,
        source=sources.get(message.source_id or 0),
        trace=traced,
        may_retry=message.status in RETRIED and message.reason in REPLAYABLE,
        address=request.build_absolute_uri(request.path),
        curl=write_curl(request, message, stored.body),
        effects=[OUTCOMES.get(effect, effect) for effect in message.effects],
        body=visible(body),
        is_part=is_part,
        content_encoding=stored.content_encoding,
        size=len(stored.body),
    )


@site_page()
def download_body(_request: HttpRequest, site: Site, number: int) -> HttpResponseBase:
    """Send the stored body of an event, because its page shows only the beginning of a large one."""
    get_in_site(Message, site, number)
    body = load_body(site.pk, number).body
    response = HttpResponse(body, content_type="application/octet-stream")  # so that no browser shows it
    response["Content-Disposition"] = f'attachment; filename="event-{number}.json"'
    return response


def write_curl(request: HttpRequest, message: Message, body: bytes) -> str:
    """Return a command that sends the same event again, empty if the tracking API does not take its type. Pure."""
    if message.type not in EVENT_TYPES or len(body) > SHOWN:
        return ""
    address = request.build_absolute_uri(f"/v1/{message.type}")
    text = shlex.quote(visible(body.decode(errors="backslashreplace")))
    return f"curl -u \"$WRITE_KEY:\" -H 'Content-Type: application/json' --data-raw {text} {shlex.quote(address)}"


def with_sources(site: Site, rows: list[MessageRow]) -> list[tuple[MessageRow, str]]:
    """Return each row with the name of its source."""
    names = {source.pk: source.name for source in site.sources.all()}
    return [(row, names.get(row.source_id or 0, "")) for row in rows]


def decode_body(stored: StoredBody) -> bytes:
    """Return the body of a message without its Content-Encoding if it can be decoded, otherwise as received."""
    plain = decode(stored.body, stored.content_encoding, most=BATCH_BYTES) if stored.content_encoding else stored.body
    return stored.body if plain is None else plain
