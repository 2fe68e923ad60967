"""Delivery of a period: the pipeline of its events with reasons and samples, its delays, charts and sources."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.utils import timezone

import names
from api.digest.prune import days_kept
from api.digest.site_config import load_site_config
from api.events.reasons import sentence_of
from api.http.wording import stamp_of
from api.ingest.source_counts import SourceCounts, sum_counts
from api.insight.delivery import (
    LAG_LOOK,
    OUTCOME_LABELS,
    OUTCOMES_LOOK,
    ReasonCount,
    Steps,
    count_outcomes,
    count_received,
    measure_lag,
)
from api.insight.messages import MOST_ID, id_at, messages_by_id
from api.insight.refused_requests import find_refused_requests
from api.models import Message, Site
from api.models.site_days import zone_of
from api.pages.access import page_of, show, site_page
from api.pages.events.pipeline import (
    BY_CODE,
    STACKED,
    StepLabels,
    build_pipeline,
    choose_reasons,
    draw_outcomes,
    draw_received,
    is_by_hour,
    list_steps,
)
from api.pages.query_form import read_id
from api.pages.ranges import OF_DELIVERY, Range, make_control, read_range


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source in the table."""

    id: int
    name: str
    received: SourceCounts
    outcomes: Sequence[tuple[str, int]]  # of the kinds that occur, by their label
    link: str  # to its events of the period


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """A reason with its sentence and its events of the period."""

    reason: ReasonCount
    sentence: str
    link: str


@dataclass(frozen=True, slots=True)
class EventLinks:
    """Links to the events of a period, and of a source if one is chosen."""

    site: Site
    period: Range
    source_id: int | None

    def to(self, **filters: object) -> str:
        """Return the list of these events; an end that is now is left out, so that the list goes on."""
        until = None if self.period.is_running else self.period.end
        return self.between(self.period.begin, until, **filters)

    def between(self, since: datetime, until: datetime | None, **filters: object) -> str:
        times = {"since": stamp_of(since), "until": stamp_of(until) if until else None}
        asked = {"source": self.source_id, **filters, **times}
        return page_of(self.site, "events", **{name: str(value) for name, value in asked.items() if value})


@site_page()
def show_delivery(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show what became of the events of a period, of all sources or one (promise K-84)."""
    now = timezone.now()
    range_ = read_range(request, site, now=now, offer=OF_DELIVERY)
    sources = list(site.sources.order_by(names.sort_key("name"), "pk"))
    source_pk = read_id(request.GET.get("source"))
    chosen = next((source for source in sources if source.pk == source_pk), None)
    source_id = chosen.pk if chosen else None
    kind = BY_CODE.get(request.GET.get("stage", ""))
    steps, links = list_steps(range_, zone_of(site)), EventLinks(site, range_, source_id)
    below = MOST_ID if range_.is_running else id_at(site.pk, range_.end)
    received = count_received(site.pk, [source_id] if source_id else [each.pk for each in sources], steps, now=now)
    days = days_kept(site, Message.Status.DONE)
    oldest = now - timedelta(days=days)
    is_pruned = steps.begin < oldest
    outcomes = count_outcomes(
        site.pk,
        _kept(steps, oldest),
        source_id=source_id,
        below=below,
        sampled=kind.kinds if kind else (),
    )
    counts, rate = outcomes.total, outcomes.success_rate
    came = {each: sum_counts(by_time.values()) for each, by_time in received.by_source.items()}
    all_came = sum_counts(came.values())
    kinds = [code for code in STACKED if counts[code]]
    labels = StepLabels(steps, range_.is_running, zone_of(site), links.between)
    return show(
        request,
        "pages/delivery/delivery.html",
        title="Delivery",
        tab="delivery",
        range=range_,
        control=make_control(range_, request.GET, offer=OF_DELIVERY),
        kept=_query_without(request.GET, "stage"),
        sources=sources,
        chosen=chosen,
        pipeline=build_pipeline(
            outcomes,
            all_came,
            received.before,
            steps,
            chosen=kind.code if kind else "",
            is_pruned=is_pruned,
        ),
        pruned_after=days if is_pruned else None,
        came=all_came,
        is_by_hour=is_by_hour(steps),
        events_link=links.to(outcome=kind.outcome if kind else ""),
        deferred_link=links.to(outcome="deferred"),
        deferred=counts["deferred"],
        samples=messages_by_id(load_site_config(site), outcomes.samples) if outcomes.samples else [],
        reasons=[
            ReasonRow(reason, sentence_of(reason.code, site), links.to(outcome=_outcome_of(reason), reason=reason.code))
            for reason in choose_reasons(outcomes, kind)
        ],
        received=draw_received(received, labels) if is_by_hour(steps) else None,
        outcome_chart=draw_outcomes(outcomes, labels),
        outcomes=outcomes,
        succeeded=outcomes.decided - outcomes.failed,
        success_share=None if rate is None else rate / 100,
        queued=counts["pending"] + counts["deferred"],
        kinds=[OUTCOME_LABELS[code] for code in kinds],
        rows=[
            SourceRow(
                source.pk,
                source.name,
                came.get(source.pk, SourceCounts()),
                [(OUTCOME_LABELS[code], outcomes.by_source.get(source.pk, Counter())[code]) for code in kinds],
                links.to(source=source.pk),
            )
            for source in sources
            if chosen in {None, source}
        ],
        lag=measure_lag(
            site.pk,
            source_id=source_id,
            since=range_.begin,
            until=None if range_.is_running else range_.end,
            below=below,
        ),
        outcomes_look=OUTCOMES_LOOK,
        lag_look=LAG_LOOK,
        refused=find_refused_requests(site, now=now),
    )


def _kept(steps: Steps, oldest: datetime) -> Steps:
    """Return the steps without a compared period of which processed events were deleted."""
    return steps if steps.compared is None or steps.compared[0] >= oldest else Steps(steps.times, steps.end)


def _outcome_of(reason: ReasonCount) -> str:
    return reason.status if reason.status != Message.Status.DONE else ""


def _query_without(query: QueryDict, name: str) -> str:
    """Return the parameters of a page without one, for links that set it."""
    kept = query.copy()
    kept.pop(name, None)
    return kept.urlencode()
