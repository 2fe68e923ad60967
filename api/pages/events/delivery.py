"""Delivery: received events, their outcomes and delays; failed events and their retry."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

import names
from api.digest.prune import days_kept
from api.digest.replay import MOST_MESSAGES, BusyKeysError, plan_replay, replay
from api.events.effects import Effect
from api.events.reasons import REPLAYABLE, sentence_of
from api.http.wording import count_of
from api.ingest.refusals import RefusalCounts, load_refusal_counts
from api.ingest.source_counts import SourceCounts
from api.insight.delivery import (
    FAILED_LOOK,
    LAG_LOOK,
    OUTCOMES_LOOK,
    DeliveryPeriod,
    Outcomes,
    ReasonCount,
    count_failures,
    count_outcomes,
    measure_lag,
    received_by_source,
)
from api.insight.refused_requests import find_refused_requests
from api.models import Message, Role, Site
from api.models.audit import write_audit
from api.pages.access import show, site_page
from api.pages.charts import Chart, Series, Tone
from api.pages.query_form import read_id

UNPROCESSED: Final = tuple(status for status in Message.Status if status != Message.Status.DONE)
# The kinds of outcomes, in the order in which they are stacked.
KINDS: Final = (
    ("converted", Effect.CONVERTED.label),
    ("done", "Processed, no conversion"),
    ("ignored", Effect.NONE.label),
    *((status.value, str(status.label)) for status in UNPROCESSED),
)
TONES: Final[dict[str, Tone]] = {"pending": "warn", "deferred": "warn", "rejected": "bad", "failed": "strong"}


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source in the table."""

    id: int
    name: str
    received: SourceCounts
    outcomes: Sequence[int]  # of the kinds that occur


@site_page()
def show_delivery(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show received events and their outcomes over 24 hours or 14 days, of all sources or one (promise K-84)."""
    now = timezone.now()
    span = DeliveryPeriod.FORTNIGHT if request.GET.get("span") == DeliveryPeriod.FORTNIGHT else DeliveryPeriod.DAY
    sources = list(site.sources.order_by(names.sort_key("name"), "pk"))
    source_pk = read_id(request.GET.get("source"))
    chosen = next((source for source in sources if source.pk == source_pk), None)
    source_id = chosen.pk if chosen else None
    source_ids = [chosen.pk] if chosen else [source.pk for source in sources]
    received = received_by_source(site.pk, source_ids, span=span, now=now)
    outcome_counts = count_outcomes(site.pk, span=span, now=now, source_id=source_id)
    kinds = [
        (kind, label) for kind, label in KINDS if any(counts[kind] for counts in outcome_counts.by_source.values())
    ]
    return show(
        request,
        "pages/delivery/delivery.html",
        title="Delivery",
        span=span,
        spans=((DeliveryPeriod.DAY, "24 hours"), (DeliveryPeriod.FORTNIGHT, "14 days")),
        sources=sources,
        chosen=chosen,
        received=draw_received(received, span=span, now=now),
        outcome_chart=draw_outcomes(outcome_counts, span=span, now=now),
        outcomes=outcome_counts,
        succeeded=outcome_counts.decided - outcome_counts.failed,
        queued=sum(counts["pending"] + counts["deferred"] for counts in outcome_counts.by_source.values()),
        kinds=[label for _, label in kinds],
        rows=[
            SourceRow(
                source.pk,
                source.name,
                total(received.get(source.pk, {}).values()),
                [outcome_counts.by_source.get(source.pk, Counter())[kind] for kind, _ in kinds],
            )
            for source in sources
            if chosen in {None, source}
        ],
        lag=measure_lag(site.pk, source_id=source_id, since=span.times(now)[0]),
        reasons=[(reason, sentence_of(reason.code, site)) for reason in outcome_counts.reasons],
        outcomes_look=OUTCOMES_LOOK,
        lag_look=LAG_LOOK,
        refused=find_refused_requests(site, now=now),
    )


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A reason why events were rejected or failed, with its counts and whether a retry is possible."""

    reason: ReasonCount
    sentence: str
    may_replay: bool
    is_cut: bool  # not all were counted
    counts: RefusalCounts  # of events rejected by ingest


@site_page()
def list_failed(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List the reasons of rejected, failed and queued events, each with its action (promise N-05)."""
    counts = count_rejected(site)
    reasons = count_failures(site.pk)
    listed = {reason.code for reason in reasons if reason.status == Message.Status.REJECTED}
    reasons += [
        ReasonCount(code, Message.Status.REJECTED)
        for code, rejected in counts.items()
        if rejected.not_kept and code not in listed
    ]
    rows = [
        FailedRow(
            reason,
            sentence_of(reason.code, site),
            reason.code in REPLAYABLE and reason.count > 0,
            reason.count >= FAILED_LOOK,
            counts.get(reason.code, RefusalCounts()) if reason.status == Message.Status.REJECTED else RefusalCounts(),
        )
        for reason in reasons
    ]
    deferred = Message.objects.filter(site=site, status=Message.Status.DEFERRED)[: FAILED_LOOK + 1].count()
    return show(
        request,
        "pages/delivery/failed.html",
        title="Failed events",
        rows=rows,
        deferred=deferred,
        look=FAILED_LOOK,
        rejected_days=days_kept(site, Message.Status.REJECTED),
        failed_days=days_kept(site, Message.Status.FAILED),
    )


def count_rejected(site: Site) -> dict[str, RefusalCounts]:
    """Return the counts of a site's rejected events by reason. Two queries."""
    total: dict[str, RefusalCounts] = {}
    for of_source in load_refusal_counts(site.pk, list(site.sources.values_list("pk", flat=True))).values():
        for reason, counts in of_source.items():
            total[reason] = total.get(reason, RefusalCounts()) + counts
    return total


@site_page(Role.EDITOR)
def retry(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Preview a retry of the events with a reason; on POST do it."""
    reason = request.GET.get("reason", "")
    if reason not in REPLAYABLE:
        raise Http404
    if request.method == "POST":
        try:
            with transaction.atomic():
                done = replay(site.pk, reason, who=request.user.get_username())
                if done.messages:
                    what = f"Retried {count_of(done.messages, 'event')}: {reason}"
                    write_audit(request.user, site, what, {"status": "failed"}, {"status": "pending"})
        except BusyKeysError:
            messages.error(request, "The sender is sending the same events now. Retry in a minute.")
        else:
            unreadable = f" {done.unreadable:,} can't be read." if done.unreadable else ""
            messages.success(request, f"{count_of(done.messages, 'event')} retried.{unreadable}")
        return redirect("pages:events-failed", site.sitecode)
    return show(
        request,
        "pages/delivery/retry.html",
        title="Retry events",
        reason=reason,
        sentence=sentence_of(reason, site),
        plan=plan_replay(site, reason),
        most=MOST_MESSAGES,
    )


def draw_received(received: dict[int, dict[datetime, SourceCounts]], *, span: DeliveryPeriod, now: datetime) -> Chart:
    """Return a chart of received events by time, all sources together."""
    times = span.times(now)
    steps = [total(by_time[time] for by_time in received.values() if time in by_time) for time in times]
    return Chart(
        label_times(times, span),
        [
            Series("New", [step.received - step.duplicates - step.rejected for step in steps]),
            Series("Duplicates", [step.duplicates for step in steps]),
            Series("Rejected on arrival", [step.rejected for step in steps], "bad"),
        ],
        unit=unit_of(span),
        stacked=True,
    )


def draw_outcomes(outcome_counts: Outcomes, *, span: DeliveryPeriod, now: datetime) -> Chart:
    """Return a chart of outcomes by time of receipt, without kinds that do not occur."""
    times = span.times(now)
    steps = [outcome_counts.by_time.get(time, Counter()) for time in times]
    series = [
        Series(label, [step[kind] for step in steps], TONES.get(kind, ""))
        for kind, label in KINDS
        if any(step[kind] for step in steps)
    ]
    return Chart(label_times(times, span), series, unit=unit_of(span), stacked=True)


def label_times(times: Sequence[datetime], span: DeliveryPeriod) -> list[str]:
    return [f"{time:%H:%M}" if span == DeliveryPeriod.DAY else f"{time:%m-%d}" for time in times]


def unit_of(span: DeliveryPeriod) -> str:
    return "Hour, UTC" if span == DeliveryPeriod.DAY else "Day, UTC"


def total(figures: Iterable[SourceCounts]) -> SourceCounts:
    """Return the sum of figures."""
    rows = list(figures)
    return SourceCounts(
        sum(row.received for row in rows),
        sum(row.duplicates for row in rows),
        sum(row.rejected for row in rows),
        max((row.last_received_at for row in rows if row.last_received_at), default=None),
    )
