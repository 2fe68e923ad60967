"""Event tester: a dry run of an event, and sending it live (promises K-82, W12)."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from api.digest.site_config import load_site_config
from api.events.envelope import IncomingEvent
from api.events.refusal import Refusal
from api.events.types import EVENT_TYPES, PERSON, TYPES
from api.http.credentials import SourceAccess, find_source
from api.http.database import DatabaseDownError
from api.ingest import accept
from api.ingest.parsed_event import ParsedEvent, list_rows, parse_event
from api.ingest.provisioning import live_write_keys
from api.insight.last_events import find_last_events
from api.insight.trace import Trace, trace
from api.insight.trace_facts import find_accepted
from api.insight.trace_verdict import Verdict
from api.models import Message, Role, Site, Source
from api.models.audit import write_audit
from api.models.message_rows import load_body
from api.pages.access import may, page_of, show, show_forbidden, site_page
from api.pages.events.tester_fields import JsonTrouble, fill_in, find_trouble, list_fields
from api.pages.events.tester_history import find_body, list_tests, remember_test
from api.pages.json_text import pretty, visible
from api.pages.query_form import IdField, QueryForm, read_id

MOST_OF_FIELD: Final = 1_000  # characters
SAMPLES: Final[dict[str, dict[str, Any]]] = {
    **{type_.name: {"type": type_.name, **type_.sample} for type_ in EVENT_TYPES.values()},
    "audience": {
        "type": "track",
        "event": "Audience Entered",
        **PERSON,
        "properties": {"audience_key": "testers", "testers": True},
    },
}


@dataclass(frozen=True, slots=True)
class DryRun:
    """The result of a dry run; nothing was written."""

    refusal: Refusal | None = None  # the answer of ingest, which would store the event as rejected
    trouble: JsonTrouble | None = None  # where it stops being JSON
    is_off: bool = False  # the source is disabled
    duplicate_of: int | None = None  # the message that has this messageId
    trace: Trace | None = None
    body: str = ""  # as it would be stored

    @property
    def verdict(self) -> Verdict:
        """Return what would happen in one sentence."""
        if self.refusal is not None:
            return Verdict("bad", "Would be rejected", str(self.trouble or self.refusal.message))
        if self.is_off:
            return Verdict("bad", "Would be rejected", "The source is disabled.")
        if self.duplicate_of is not None:
            return Verdict("warn", "Would be a duplicate", f"Event {self.duplicate_of} has its messageId.")
        return self.trace.verdict if self.trace else Verdict("", "Would have no effect")


class TesterQuery(QueryForm):
    """The beginning of a test: an event of the site, an own dry run, or a sample. `find` searches for an event."""

    event = IdField()
    test = forms.CharField(max_length=20)
    sample = forms.ChoiceField(choices=[(name, name) for name in SAMPLES])
    find = forms.CharField(max_length=255)


@site_page()
def test_event(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Try an event dry, which every member may; sending it takes an editor.

    `do=fill` only writes the fields into the JSON; the page asks for it while a person types, without the lists.
    """
    prefetch_related_objects([site], "sources", "rules")
    sources = list(site.sources.all())
    source_id = read_id(request.POST.get("source"))
    source = next((row for row in sources if row.pk == source_id), sources[0] if sources else None)
    query = TesterQuery(request.GET)
    sample = query.values["sample"] or "track"
    body = request.POST.get("body")
    if body is None:
        body = _begin(request, site, query) or json.dumps(SAMPLES[sample], indent=2)
    is_fill = request.method == "POST" and request.POST.get("do") == "fill"
    body = fill_in(body, _values_of(request, "field."), _values_of(request, "was."))
    dry = None
    problem = ""
    if request.method == "POST" and not is_fill:
        access = access_of(source) if source else None
        if access is None:
            problem = "This source has no valid write key. Create one in the settings, then test again."
        elif request.POST.get("do") != "send":
            dry = try_event(site, access, body)
            remember_test(request, site, _name(body), outcome=dry.verdict.sentence, mood=dry.verdict.mood, body=body)
        elif not may(request, Role.EDITOR):
            return show_forbidden(request, Role.EDITOR)
        else:
            answer = _send(request, site, access, body)
            if not isinstance(answer, str):
                return answer
            problem = answer
    return show(
        request,
        "pages/tester.html",
        title="Event tester",
        sources=sources,
        source=source,
        samples=SAMPLES,
        sample="" if query.values["event"] or query.values["test"] else sample,
        begun_with=query.values["event"],
        address=request.build_absolute_uri(page_of(site, "tester", event=str(query.values["event"]))),
        body=body,
        fields=list_fields(body),
        trouble=find_trouble(body),
        find=query.values["find"],
        found=[] if is_fill else find_last_events(load_site_config(site), query.values["find"]),
        tests=[] if is_fill else list_tests(request, site),
        dry=dry,
        problem=problem,
    )


def _begin(request: HttpRequest, site: Site, query: TesterQuery) -> str:
    """Return the JSON that the address asks for, empty if it names none that is kept. One query, if any."""
    test, event = query.values["test"], query.values["event"]
    if test:
        return find_body(request, site, test)
    return "" if event is None else _body_of(site, event)


def _body_of(site: Site, event: int) -> str:
    """Return the body of a stored event with its type, and without its messageId, so that it is no duplicate.

    A sender may name the type in the path only. Two queries at most.
    """
    try:
        fields = json.loads(load_body(site.pk, event).body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(fields, dict):
        return ""
    if "type" not in fields:
        type_ = Message.objects.filter(site=site, pk=event).values_list("type", flat=True).first()
        fields = {"type": type_, **fields} if type_ in TYPES else fields
    return visible(pretty({name: value for name, value in fields.items() if name != "messageId"})[0])


def _values_of(request: HttpRequest, prefix: str) -> dict[str, str]:
    """Return the values of the form's fields whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): str(request.POST[name])[:MOST_OF_FIELD]
        for name in request.POST
        if name.startswith(prefix)
    }


def _name(body: str) -> str:
    """Return the name of an event for the list of tests, or its type if it has no name."""
    try:
        fields = json.loads(body)
        return str(fields.get("event") or fields.get("name") or fields.get("type") or "–")
    except (ValueError, RecursionError, AttributeError):
        return "–"


def _send(request: HttpRequest, site: Site, access: SourceAccess, body: str) -> HttpResponseBase | str:
    """Send an event. Return the way to its page, or the sentence that nothing was stored."""
    try:
        number = send_event(site, access, body)
    except (Refusal, DatabaseDownError) as error:
        return f"Nothing was stored: {error.message if isinstance(error, Refusal) else 'no database.'}"
    write_audit(request.user, site, f"Sent a test event through the source {access.id}", None, {"message": number})
    messages.success(request, "Event sent. Here is what happened.")
    remember_test(request, site, _name(body), outcome="Sent", event=number)
    if number is None:  # it was counted only
        return redirect("pages:events", site.sitecode)
    return redirect(f"{reverse('pages:event', args=[site.sitecode, number])}?follow=1")


def access_of(source: Source) -> SourceAccess | None:
    """Return a source as ingest finds it by a valid key; None without one. Two queries at most."""
    key = live_write_keys(now=timezone.now()).filter(source=source).order_by("-pk").first()
    return find_source(key.key, is_use=False) if key else None


def read_event(access: SourceAccess, body: str) -> tuple[IncomingEvent, Refusal | None]:
    """Return the event as the tracking API reads it. An event without messageId gets one, to be found again."""
    body = body.lstrip("\ufeff")  # a byte order mark, from an editor
    raw = body.encode("utf-8", "surrogatepass")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if isinstance(fields, dict) and "messageId" not in fields:
        raw = json.dumps({**fields, "messageId": f"tester-{uuid.uuid4().hex}"}).encode()
    return parse_event(access, raw, position=0, received_at=datetime.now(UTC))


def try_event(site: Site, access: SourceAccess, body: str) -> DryRun:
    """Return what would happen, by the code that would do it. Writes nothing; some ten queries."""
    incoming, refusal = read_event(access, body)
    if refusal:
        return DryRun(refusal=refusal, trouble=find_trouble(body))
    event = accept.apply_source_rules(access, incoming)
    message = Message(
        pk=0,
        site=site,
        source_id=access.id,
        type=event.type,
        message_id=event.message_id,
        received_at=event.received_at,
        occurred_at=event.occurred_at,
        status=Message.Status.PENDING,
        warnings=list(event.warnings),
    )
    return DryRun(
        is_off=not access.is_enabled,
        duplicate_of=find_accepted(site.pk, message) if event.message_id else None,
        trace=trace(site, message, event.body, is_stored=False),
        body=event.body.decode(errors="backslashreplace"),
    )


def send_event(site: Site, access: SourceAccess, body: str) -> int | None:
    """Send an event through the tracking API's code. Return the id of its message, or of the message it repeats.

    None if that message is gone, or if a rejected event was only counted. Raises Refusal if nothing can be stored, and
    DatabaseDownError.
    """
    accept.require_capacity(access.site_id, access)
    accept.count_bytes([access], len(body.encode()))
    incoming, refusal = read_event(access, body)
    stored = accept.store_now(*list_rows([ParsedEvent(access, incoming, refusal)]))
    if stored.duplicates:
        message = Message(type=incoming.type, message_id=incoming.message_id)
        return find_accepted(site.pk, message)
    return stored.numbers[0] or None
