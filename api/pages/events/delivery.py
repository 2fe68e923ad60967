"""How events arrive and what comes of them; and those that failed, to be tried again."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.contrib import messages
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

import names
from api import audit
from api.alerts.conditions import show_percent
from api.digest.prune import days_kept
from api.digest.replay import MOST, plan_replay, replay
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
from api.insight.refused import find_refused
from api.models import Message, Role, Site
from api.pages.access import show, site_page
from api.pages.charts import Chart, Series, Tone
from api.pages.events.event_list import read_number

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
    came: SourceCounts
    outcomes: Sequence[int]  # of the kinds that occur


@site_page()
def show_delivery(request: HttpRequest, site: Site) -> HttpResponseBase:
    """What came in and what came of it, over 24 hours or 14 days, of all sources or one (promise K-84)."""
    now = timezone.now()
    span = DeliveryPeriod.FORTNIGHT if request.GET.get("span") == DeliveryPeriod.FORTNIGHT else DeliveryPeriod.DAY
    sources = list(site.sources.order_by(names.sort_key("name"), "pk"))
    wanted = read_number(request.GET.get("source"))
    chosen = next((source for source in sources if source.pk == wanted), None)
    source_id = chosen.pk if chosen else None
    came = received_by_source([chosen.pk] if chosen else [source.pk for source in sources], span=span, now=now)
    became = count_outcomes(site.pk, span=span, now=now, source_id=source_id)
    kinds = [(kind, label) for kind, label in KINDS if any(counts[kind] for counts in became.by_source.values())]
    return show(
        request,
        "pages/delivery/delivery.html",
        title="Delivery",
        span=span,
        spans=((DeliveryPeriod.DAY, "24 hours"), (DeliveryPeriod.FORTNIGHT, "14 days")),
        sources=sources,
        chosen=chosen,
        received=chart_received(came, span=span, now=now),
        became=chart_outcomes(became, span=span, now=now),
        outcomes=became,
        success_rate=show_percent(became.success_rate),
        kinds=[label for _, label in kinds],
        rows=[
            SourceRow(
                source.pk,
                source.name,
                total(came.get(source.pk, {}).values()),
                [became.by_source.get(source.pk, Counter())[kind] for kind, _ in kinds],
            )
            for source in sources
            if chosen in {None, source}
        ],
        lag=measure_lag(site.pk, source_id=source_id, since=span.times(now)[0]),
        reasons=[(reason, sentence_of(reason.code, site)) for reason in became.reasons],
        outcomes_look=OUTCOMES_LOOK,
        lag_look=LAG_LOOK,
        refused=find_refused(site, now=now),
    )


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A reason why events were rejected or failed, and what can be done about them."""

    reason: ReasonCount
    sentence: str
    may_replay: bool
    is_cut: bool  # there are more than were counted
    counts: RefusalCounts  # of what was rejected at ingest


@site_page()
def list_failed(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Why events were rejected, failed or wait, each with what can be done about it (promise N-05)."""
    counts = counted_in(site)
    reasons = count_failures(site.pk)
    listed = {reason.code for reason in reasons if reason.status == Message.Status.REJECTED}
    reasons += [
        ReasonCount(code, Message.Status.REJECTED)
        for code, each in counts.items()
        if each.not_kept and code not in listed
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


def counted_in(site: Site) -> dict[str, RefusalCounts]:
    """Return what became of rejected events of a site, by reason. Two queries."""
    found: dict[str, RefusalCounts] = {}
    for of_source in load_refusal_counts(list(site.sources.values_list("pk", flat=True))).values():
        for reason, counts in of_source.items():
            found[reason] = found.get(reason, RefusalCounts()) + counts
    return found


@site_page(Role.EDITOR)
def try_again(request: HttpRequest, site: Site) -> HttpResponseBase:
    """GET: what trying the events of a reason again would do. POST: do it."""
    reason = request.GET.get("reason", "")
    if reason not in REPLAYABLE:
        raise Http404
    if request.method == "POST":
        try:
            with transaction.atomic():
                done = replay(site.pk, reason, who=request.user.get_username())
                if done.messages:
                    what = f"Tried {count_of(done.messages, 'message')} again, rejected or failed: {reason}"
                    audit.note(request, site, what, {"status": "failed"}, {"status": "pending"})
        except IntegrityError:
            messages.error(request, "Their sender sends the same at this moment. Try again in a minute.")
        else:
            unreadable = f" Could not be read: {done.unreadable:,}." if done.unreadable else ""
            messages.success(request, f"Tried again: {done.messages:,}.{unreadable}")
        return redirect("pages:events-failed", site.sitecode)
    return show(
        request,
        "pages/delivery/retry.html",
        title="Try again",
        reason=reason,
        sentence=sentence_of(reason, site),
        plan=plan_replay(site, reason),
        most=MOST,
    )


def chart_received(came: dict[int, dict[datetime, SourceCounts]], *, span: DeliveryPeriod, now: datetime) -> Chart:
    """What came in by time, all sources together."""
    times = span.times(now)
    at = [total(by_time[time] for by_time in came.values() if time in by_time) for time in times]
    return Chart(
        labels_of(times, span),
        [
            Series("New", [each.received - each.duplicates - each.rejected for each in at]),
            Series("Duplicates", [each.duplicates for each in at]),
            Series("Rejected on arrival", [each.rejected for each in at], "bad"),
        ],
        unit=unit_of(span),
        stacked=True,
    )


def chart_outcomes(became: Outcomes, *, span: DeliveryPeriod, now: datetime) -> Chart:
    """What came of it by the time of receipt; kinds that do not occur are left out."""
    times = span.times(now)
    at = [became.by_time.get(time, Counter()) for time in times]
    series = [
        Series(label, [each[kind] for each in at], TONES.get(kind, ""))
        for kind, label in KINDS
        if any(each[kind] for each in at)
    ]
    return Chart(labels_of(times, span), series, unit=unit_of(span), stacked=True)


def labels_of(times: Sequence[datetime], span: DeliveryPeriod) -> list[str]:
    return [f"{time:%H:%M}" if span == DeliveryPeriod.DAY else f"{time:%m-%d}" for time in times]


def unit_of(span: DeliveryPeriod) -> str:
    return "Hour, UTC" if span == DeliveryPeriod.DAY else "Day, UTC"


def total(figures: Iterable[SourceCounts]) -> SourceCounts:
    """The sum of figures."""
    each = list(figures)
    return SourceCounts(
        sum(one.received for one in each),
        sum(one.duplicates for one in each),
        sum(one.rejected for one in each),
        max((one.last_received_at for one in each if one.last_received_at), default=None),
    )
