"""Failed events: their reasons with the next step, and the retry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.contrib import messages
from django.db import transaction
from django.db.models import prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone

from api.digest.prune import days_kept
from api.digest.replay import MOST_MESSAGES, BusyKeysError, ReplayPlan, plan_replay, replay
from api.digest.site_config import load_site_config
from api.events.reasons import REPLAYABLE, sentence_of
from api.http.wording import count_of
from api.ingest.refusals import RefusalCounts, load_refusal_counts
from api.insight.failures import (
    FAILED_LOOK,
    Failures,
    NamedFailures,
    NamePattern,
    find_failures,
    find_name_patterns,
    find_waiting_names,
)
from api.models import Message, Role, Rule, Site
from api.models.audit import write_audit
from api.pages.access import may, page_of, show, site_page

MOST_NAMES: Final = 5  # of a reason
# The page on which the cause is fixed, by reason: (label, page, place on it, role).
FIXES: Final[Mapping[str, tuple[str, str, str, Role]]] = {
    "integration_off": ("Switch on the source", "settings-sources", "", Role.OWNER),
    "source_off": ("Switch on the source", "settings-sources", "", Role.OWNER),
    "unknown_goal": ("Create the goal", "goal-new", "", Role.EDITOR),
    "goal_backlog_full": ("Raise the limit", "settings", "#id_max_waiting_names", Role.OWNER),
    "no_identity": ("Which ids an event needs", "guide", "", Role.VIEWER),
    "missing_name": ("Name the events by a rule", "settings-rule-new", "?action=rename", Role.OWNER),
    "name_too_long": ("Rename the events by a rule", "settings-rule-new", "?action=rename", Role.OWNER),
}


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A reason why events were rejected or failed, its counts, and what to do."""

    found: Failures
    sentence: str
    may_replay: bool
    is_new: bool
    step: tuple[str, str]  # the next step: its label and address
    names: Sequence[tuple[NamedFailures, str]]  # each with its source
    other_names: int
    read: int  # events whose names were read
    counts: RefusalCounts  # of events rejected by ingest
    patterns: Sequence[tuple[NamePattern, str]]  # of names that found no place, each with its rule's form

    @property
    def is_part(self) -> bool:
        """Return True if the names of older events were not read."""
        return self.read < self.found.count


@site_page()
def list_failed(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List the reasons of rejected, failed and queued events, each with its action (promise N-05)."""
    now = timezone.now()
    prefetch_related_objects([site], "sources", "rules")
    sources = {source.pk: source.name for source in site.sources.all()}
    counts = count_rejected(site.pk, list(sources))
    found = find_failures(load_site_config(site), now=now)
    listed = {each.reason for each in found if each.status == Message.Status.REJECTED}
    found += [
        Failures(code, Message.Status.REJECTED)
        for code, rejected in counts.items()
        if rejected.not_kept and code not in listed
    ]
    waiting = find_waiting_names(site, now=now)
    return show(
        request,
        "pages/delivery/failed.html",
        title="Failed events",
        tab="events-failed",
        rows=[
            FailedRow(
                each,
                sentence_of(each.reason, site),
                each.reason in REPLAYABLE and each.count > 0,
                each.is_new(now),
                choose_step(request, site, each),
                [(named, sources.get(named.source_id or 0, "")) for named in each.names[:MOST_NAMES]],
                len(each.names[MOST_NAMES:]),
                sum(named.count for named in each.names),
                counts.get(each.reason, RefusalCounts()) if each.status == Message.Status.REJECTED else RefusalCounts(),
                link_patterns(request, site, patterns_of(each)),
            )
            for each in found
        ],
        csv=page_of(site, "events-failed-export") if found else "",
        waiting=waiting,
        patterns=link_patterns(request, site, waiting.patterns if waiting else ()),
        look=FAILED_LOOK,
        rejected_days=days_kept(site, Message.Status.REJECTED),
        failed_days=days_kept(site, Message.Status.FAILED),
    )


def choose_step(request: HttpRequest, site: Site, found: Failures) -> tuple[str, str]:
    """Return the label and the address of what to do next: the page of the fix, otherwise the newest event."""
    label, page, place, role = FIXES.get(found.reason, ("", "", "", Role.OWNER))
    if page and may(request, role):
        return label, f"{page_of(site, page)}{place}"
    return ("See the newest event", page_of(site, "event", found.samples[0])) if found.samples else ("", "")


def patterns_of(found: Failures) -> list[NamePattern]:
    """Return the patterns of the names for which the queue had no place. Pure."""
    is_full = found.reason == "goal_backlog_full"
    return find_name_patterns((named.type, named.name) for named in found.names) if is_full else []


def link_patterns(
    request: HttpRequest, site: Site, patterns: Sequence[NamePattern]
) -> Sequence[tuple[NamePattern, str]]:
    """Return the first patterns that no rule combines, each with the address of the rule's form, filled in."""
    if not may(request, Role.OWNER):
        return ()
    rules = [rule for rule in site.rules.all() if rule.is_enabled and rule.source_id is None]
    grouped = {rule.argument for rule in rules if rule.action == Rule.Action.PATTERN_GOAL}
    return [
        (pattern, page_of(site, "settings-rule-new", **draft_of(pattern)))
        for pattern in patterns
        if pattern.pattern not in grouped
    ][:MOST_NAMES]


def draft_of(pattern: NamePattern) -> dict[str, str]:
    """Return the fields of a rule that combines the names of a pattern. Pure."""
    return {
        "name": f"One goal for {pattern.pattern}"[:100],
        "event_type": pattern.event_type,
        "action": str(Rule.Action.PATTERN_GOAL),
        "argument": pattern.pattern,
    }


def count_rejected(site_id: int, source_ids: Sequence[int]) -> dict[str, RefusalCounts]:
    """Return the counts of a site's rejected events by reason. One query."""
    total: dict[str, RefusalCounts] = {}
    for of_source in load_refusal_counts(site_id, source_ids).values():
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
    plan = plan_replay(site, reason)
    return show(
        request,
        "pages/delivery/retry.html",
        title="Retry events",
        tab="events-failed",
        reason=reason,
        sentence=sentence_of(reason, site),
        plan=plan,
        is_in_vain=is_in_vain(plan),
        step=choose_step(request, site, Failures(reason, "")),
        most=MOST_MESSAGES,
    )


def is_in_vain(plan: ReplayPlan) -> bool:
    """Return True if every event that the forecast read would fail again, or cannot be read. Pure."""
    return plan.messages > 0 and plan.forecast is not None and plan.forecast.rejected_then >= plan.forecast.messages
