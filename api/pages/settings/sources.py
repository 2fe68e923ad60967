"""The sources of a site and their write keys."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.http import budgets
from api.http.wording import count_of
from api.ingest.provisioning import change_source, create_source, live_write_keys, revoke_write_key, rotate_write_key
from api.ingest.source_counts import SourceCounts, begin_of_last_day, load_source_counts
from api.insight.key_usage import describe_events, describe_use
from api.models import DuplicateSources, Role, Site, Source, WriteKey
from api.models.audit import audit_values, write_audit
from api.models.budgets import MAX_BUDGET, MIB, BudgetSpan
from api.pages.access import get_in_site, page_of, show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.undo import CannotUndoError, say_with_kept

MOST_HOURS: Final = 720  # of overlap
KIND: Final = "source"  # of what Undo gives back
TAKES_EFFECT: Final = "It takes effect within 5 seconds."
KINDS: Final = [(kind.value, kind.label) for kind in Source.Kind if kind not in Source.SINGLE_KINDS]


@dataclass(frozen=True, slots=True)
class LoadedSource:
    """A source with its live keys, its counts, and its budgets."""

    source: Source
    ever: SourceCounts
    day: SourceCounts  # the last 24 hours
    budgets: Sequence["BudgetRow"]

    @property
    def is_over_budget(self) -> bool:
        return any(row.used.turned_away for row in self.budgets)


def load_rows(site: Site, sources: QuerySet[Source], *, now: datetime) -> list[LoadedSource]:
    """Return sources with what their pages show. Five queries."""
    live = live_write_keys(now=now).order_by("pk")
    loaded = list(sources.prefetch_related(Prefetch("write_keys", queryset=live)))
    ids = [source.pk for source in loaded]
    ever = load_source_counts(site.pk, ids)
    day = load_source_counts(site.pk, ids, since=begin_of_last_day(now))
    used = budgets.load_use(site.pk, ids)
    return [
        LoadedSource(
            source,
            ever.get(source.pk, SourceCounts()),
            day.get(source.pk, SourceCounts()),
            budget_rows(source, used[source.pk]),
        )
        for source in loaded
    ]


@site_page()
def list_sources(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the sources with their counts and live keys. Six queries of its own."""
    return show(
        request,
        "pages/settings/sources.html",
        title="Sources and write keys",
        tab="settings-sources",
        rows=load_rows(site, site.sources.order_by("pk"), now=timezone.now()),
        duplicates=DuplicateSources.objects.filter(site=site)
        .select_related("one", "other")
        .order_by("-last_seen_at")[:10],
        kinds=KINDS,
        csv=page_of(site, "settings-sources-export"),
    )


@site_page()
def show_source(request: HttpRequest, site: Site, source_id: int) -> HttpResponseBase:
    """Show a source with its budgets and keys, and the forms that change it. Five queries of its own."""
    rows = load_rows(site, site.sources.filter(pk=source_id), now=timezone.now())
    if not rows:
        raise Http404
    return show(
        request,
        "pages/settings/source.html",
        title=rows[0].source.name,
        tab="settings-sources",
        row=rows[0],
        most_hours=MOST_HOURS,
    )


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One budget of a source on its page: its use, and the figures of the form as they were typed."""

    span: BudgetSpan
    used: budgets.BudgetUse
    most_events: int
    most_bytes: int
    own_events: str
    own_mib: str

    @property
    def used_mib(self) -> str:
        return f"{self.used.bytes / MIB:,.1f}".removesuffix(".0")

    @property
    def most_mib(self) -> str:
        return f"{self.most_bytes / MIB:,.1f}".removesuffix(".0")


def budget_rows(source: Source, used: Mapping[BudgetSpan, budgets.BudgetUse]) -> list[BudgetRow]:
    rows = []
    for span in BudgetSpan:
        own_events, own_bytes = (getattr(source, f"{unit}_per_{span}") for unit in ("events", "bytes"))
        own = "" if own_events is None else str(own_events), "" if own_bytes is None else spell_mib(own_bytes)
        rows.append(BudgetRow(span, used[span], *source.budget.limits(span), *own))
    return rows


def spell_mib(size: int) -> str:
    """Return bytes in MiB. Seven digits lose no byte."""
    return f"{Decimal(size) / MIB:.7f}".rstrip("0").rstrip(".")


@site_page(Role.OWNER)
@require_POST
def change_sources(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Create or change a source, or rotate or revoke a write key, as the button `do` says."""
    do = request.POST.get("do", "")
    if do == "create":
        with transaction.atomic():
            return redirect(create(request, site))
    source = get_in_site(Source, site, request.POST.get("source", ""))
    if do in QUESTIONS and not is_confirmed(request):
        return QUESTIONS[do](request, source) or redirect(address_of(source))
    with transaction.atomic():
        answer = CHANGES[do](request, source) if do in CHANGES else ""
    if answer:
        messages.success(request, answer)
    return redirect(address_of(source))


def address_of(source: Source) -> str:
    return page_of(source.site, "settings-source", source.pk)


def create(request: HttpRequest, site: Site) -> str:
    """Create a source and return the address of its page; that of the list after an error message."""
    kind = request.POST.get("kind", "")
    try:
        with transaction.atomic():
            if kind not in dict(KINDS):
                raise ValidationError("Choose a kind.")
            source = create_source(site, name=request.POST.get("name", "").strip(), kind=kind)
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return page_of(site, "settings-sources")
    write_audit(request.user, site, f"Created the source {source.pk}", None, {"name": source.name, "kind": source.kind})
    messages.success(request, f"Source “{source.name}” created. Send events with the write key below.")
    return address_of(source)


def save(request: HttpRequest, source: Source) -> str:
    fields = {
        "name": request.POST.get("name", source.name).strip() or source.name,
        "is_enabled": "is_enabled" in request.POST,
        "takes_track": "takes_track" in request.POST,
    }
    return apply_change(request, source, fields)


def save_budget(request: HttpRequest, source: Source) -> str:
    try:
        fields = read_budget(request)
    except ValueError:
        messages.error(request, "Enter a number of events or MiB above 0, or leave it empty for the default.")
        return ""
    return apply_change(request, source, fields)


def read_budget(request: HttpRequest) -> dict[str, int | None]:
    """Return the figures of a form, None for the default. Raises ValueError for anything but numbers above 0."""
    fields: dict[str, int | None] = {}
    for span in BudgetSpan:
        events = request.POST.get(f"events_per_{span}", "").strip().replace(",", "")
        mib = request.POST.get(f"mib_per_{span}", "").strip().replace(",", "")
        fields[f"events_per_{span}"] = read_number(events) if events else None
        fields[f"bytes_per_{span}"] = read_number(mib, unit=MIB) if mib else None
    return fields


def read_number(text: str, *, unit: int = 1) -> int:
    """Return a number of units. Raises ValueError for other spellings and for more than a budget can hold."""
    parts = r"(\.[0-9]{0,7})?" if unit > 1 else ""
    if not re.fullmatch(r"[0-9]{1,16}" + parts, text, re.ASCII):
        raise ValueError
    number = round(Decimal(text) * unit)
    if not 1 <= number <= MAX_BUDGET:
        raise ValueError
    return number


def apply_change(request: HttpRequest, source: Source, fields: Mapping[str, Any]) -> str:
    before, after = audit_values({name: getattr(source, name) for name in fields}, fields)
    if not after:
        return "No changes."
    try:
        for name, value in after.items():
            setattr(source, name, value)
        source.full_clean()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return ""
    change_source(source, fields=after, now=timezone.now())
    write_audit(request.user, source.site, f"Changed the source {source.pk}", before, after)
    kept = {"source": source.pk, "before": before, "after": after}
    say_with_kept(request, source.site, f"{describe_change(source, after)} {TAKES_EFFECT}", KIND, kept)
    return ""


def describe_change(source: Source, after: Mapping[str, Any]) -> str:
    """Return a sentence on a switch of a source, otherwise that it is saved. Pure."""
    if after.keys() == {"is_enabled"}:
        return f"Source “{source.name}” is {'on' if source.is_enabled else 'off'}."
    if after.keys() == {"takes_track"}:
        return f"Track events of “{source.name}” {'count' if source.takes_track else 'do not count'}."
    return "Saved."


def undo_change(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Give a source its fields before a change. Raises CannotUndoError if they were changed again meanwhile."""
    before, after = values["before"], values["after"]
    with transaction.atomic():
        source = site.sources.select_for_update().filter(pk=values["source"]).first()
        if source is None:
            raise CannotUndoError("The source no longer exists.")
        if {name: getattr(source, name) for name in after} != after:
            raise CannotUndoError("The source was changed again meanwhile.")
        change_source(source, fields=before, now=timezone.now())
        write_audit(request.user, site, f"Changed the source {source.pk}", after, before)
    messages.success(request, f"{describe_change(source, before)} {TAKES_EFFECT}")
    return redirect(address_of(source))


def read_hours(request: HttpRequest) -> int | None:
    """Return how long the old keys keep working, None after an error message for an invalid number."""
    hours = request.POST.get("hours", "")
    if not hours.isdecimal() or len(hours) > 4 or int(hours) > MOST_HOURS:  # noqa: PLR2004
        messages.error(request, f"Keep old keys for 0 to {MOST_HOURS} hours.")
        return None
    return int(hours)


def live_keys(source: Source) -> list[WriteKey]:
    """Return the valid write keys of a source, oldest first. One query."""
    return list(live_write_keys(now=timezone.now()).filter(source=source).order_by("pk"))


def ask_rotate(request: HttpRequest, source: Source) -> HttpResponseBase | None:
    """Return the page that says which keys end, None if the number of hours is invalid."""
    hours = read_hours(request)
    if hours is None:
        return None
    then = f"in {count_of(hours, 'hour')}" if hours else "at once"
    keys = live_keys(source)
    return ask(
        request,
        title=f"Rotate the write key of “{source.name}”",
        facts=[
            f"{count_of(len(keys), 'write key')} of this source {'ends' if len(keys) == 1 else 'end'} {then}.",
            *(f"The key {key.key[:4]}…: {describe_use(key.last_used_at)}" for key in keys),
            *describe_events([source], now=timezone.now()),
        ],
        warning="Give the new key to the senders in time. Events with an ended key are rejected and lost.",
        action="Rotate key",
        back=address_of(source),
    )


def ask_revoke(request: HttpRequest, source: Source) -> HttpResponseBase | None:
    """Return the page that shows the use of a key, None for a key that the source does not have."""
    keys = live_keys(source)
    key = next((key for key in keys if key.key == request.POST.get("key")), None)
    if key is None:
        return None
    others = len(keys) - 1
    return ask(
        request,
        title=f"Revoke the write key {key.key[:4]}… of “{source.name}”",
        facts=[
            describe_use(key.last_used_at),
            *describe_events([source], now=timezone.now()),
            f"The source keeps {count_of(others, 'other key')}." if others else "The source has no other key.",
        ],
        warning="Events with this key are rejected within 5 seconds, and lost. This can't be undone.",
        action="Revoke key",
        back=address_of(source),
    )


def rotate(request: HttpRequest, source: Source) -> str:
    hours = read_hours(request)
    if hours is None:
        return ""
    key = rotate_write_key(source, overlap=timedelta(hours=hours), now=timezone.now())
    after = {"key begins with": key.key[:4], "others end in hours": hours}
    write_audit(request.user, source.site, f"Rotated the write key of the source {source.pk}", None, after)
    return f"New key created. Old keys of “{source.name}” work for {count_of(hours, 'more hour')}."


def revoke(request: HttpRequest, source: Source) -> str:
    for key in source.write_keys.all():
        if key.key == request.POST.get("key"):
            revoke_write_key(key, now=timezone.now())
            before = {"key begins with": key.key[:4]}
            write_audit(request.user, source.site, f"Revoked a write key of the source {source.pk}", before, None)
            return "Key revoked. It is rejected within 5 seconds."
    return ""


CHANGES: Final = {"save": save, "budget": save_budget, "rotate": rotate, "revoke": revoke}
QUESTIONS: Final = {"rotate": ask_rotate, "revoke": ask_revoke}
