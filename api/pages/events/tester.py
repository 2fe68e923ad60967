"""Event tester: a dry run of an event, and sending it live (promises K-82, W12)."""

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.contrib import messages
from django.db.models import prefetch_related_objects
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from api.events.envelope import IncomingEvent
from api.events.refusal import Refusal
from api.events.types import EVENT_TYPES, PERSON
from api.http.credentials import SourceAccess, find_source
from api.http.database import DatabaseDownError
from api.ingest import accept
from api.ingest.parsed_event import ParsedEvent, list_rows, parse_event
from api.ingest.provisioning import live_write_keys
from api.insight.trace import Trace, trace
from api.insight.trace_facts import find_accepted
from api.models import Message, Role, Site, Source
from api.models.audit import write_audit
from api.models.message_rows import load_body
from api.pages.access import may, show, show_forbidden, site_page
from api.pages.json_text import pretty, visible
from api.pages.query_form import read_id

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
    is_off: bool = False  # the source is disabled
    duplicate_of: int | None = None  # the message that has this messageId
    trace: Trace | None = None
    body: str = ""  # as it would be stored


@site_page()
def test_event(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Try an event dry, which every member may; sending it takes an editor."""
    prefetch_related_objects([site], "sources", "rules")
    sources = list(site.sources.all())
    source_id = read_id(request.POST.get("source"))
    source = next((row for row in sources if row.pk == source_id), sources[0] if sources else None)
    sample = request.GET.get("sample", "")
    sample = sample if sample in SAMPLES else "track"
    begun = _body_of(site, read_id(request.GET.get("event"))) or json.dumps(SAMPLES[sample], indent=2)
    body = request.POST.get("body", begun)
    access = access_of(source) if source and request.method == "POST" else None
    dry = None
    problem = ""
    if request.method == "POST":
        if access is None:
            problem = "This source has no valid write key. Create one in the settings, then test again."
        elif request.POST.get("do") != "send":
            dry = try_event(site, access, body)
        elif not may(request, Role.EDITOR):
            return show_forbidden(request, Role.EDITOR)
        else:
            try:
                number = send_event(site, access, body)
            except (Refusal, DatabaseDownError) as error:
                problem = f"Nothing was stored: {error.message if isinstance(error, Refusal) else 'no database.'}"
            else:
                write_audit(
                    request.user, site, f"Sent a test event through the source {access.id}", None, {"message": number}
                )
                messages.success(request, "Event sent. Here is what happened.")
                if number is None:  # it was counted only
                    return redirect("pages:events", site.sitecode)
                return redirect(f"{reverse('pages:event', args=[site.sitecode, number])}?follow=1")
    return show(
        request,
        "pages/tester.html",
        title="Event tester",
        sources=sources,
        source=source,
        samples=SAMPLES,
        sample=sample,
        body=body,
        dry=dry,
        problem=problem,
    )


def _body_of(site: Site, event: int | None) -> str:
    """Return the body of a stored event without its messageId, so that it is no duplicate. One query, if any."""
    if event is None:
        return ""
    try:
        fields = json.loads(load_body(site.pk, event).body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(fields, dict):
        return ""
    return visible(pretty({name: value for name, value in fields.items() if name != "messageId"})[0])


def access_of(source: Source) -> SourceAccess | None:
    """Return a source as ingest finds it by a valid key; None without one. Two queries at most."""
    key = live_write_keys(now=timezone.now()).filter(source=source).order_by("-pk").first()
    return find_source(key.key) if key else None


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
        return DryRun(refusal=refusal)
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
        trace=trace(site, message, event.body),
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
