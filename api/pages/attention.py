"""Problems of a site that need attention, worst first, each with the pages on which to act."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from api.alerts.conditions import explain
from api.http.refused_keys import KeyProblem
from api.http.wording import count_of, duration_of
from api.insight import site_status
from api.models import Alert, Site
from api.pages.access import page_of
from goals.shown_names import show_goal_name

LAG_WARNING: Final = timedelta(seconds=30)  # as the doctor's
# The page on which an owner finds a valid key.
PLACES: Final[Mapping[KeyProblem, tuple[str, str]]] = {
    KeyProblem.WRITE_KEY: ("settings-keys", "Keys"),
    KeyProblem.NO_KEY: ("guide", "Set-up guide"),
    KeyProblem.CREDENTIAL: ("settings-keys", "Keys"),
    KeyProblem.SITECODE: ("settings-keys", "Keys"),
    KeyProblem.SCOPE: ("settings-keys", "Keys"),
    KeyProblem.TOKEN: ("settings-keys", "Keys"),
}
NOT_OF_OWNERS: Final = ("guide", "Set-up guide")


@dataclass(frozen=True, slots=True)
class AttentionItem:
    """Something that needs attention, and the pages on which to act: (label, address)."""

    sentence: str
    actions: Sequence[tuple[str, str]]
    is_grave: bool = False  # events are late, lost or refused


def list_needs(
    site: Site,
    sources: Iterable[site_status.SourceState],
    inbox: site_status.InboxState,
    problems: site_status.Problems,
    firing: Iterable[Alert],
    *,
    may_own: bool,
    now: datetime,
) -> list[AttentionItem]:
    """Return what needs attention, the grave first. Pure."""
    found = [
        *alert_needs(site, firing, may_own=may_own, now=now),
        *needs(site, sources, inbox, problems, may_own=may_own, now=now),
    ]
    return sorted(found, key=lambda item: not item.is_grave)


def alert_needs(site: Site, firing: Iterable[Alert], *, may_own: bool, now: datetime) -> Iterable[AttentionItem]:
    """Yield an item for the firing alerts of each condition. Pure."""
    # Only owners may open the alerts; Delivery shows their figures to everybody.
    action = ("Alerts", page_of(site, "settings-alerts")) if may_own else ("Delivery", page_of(site, "delivery"))
    for _, same in groupby(sorted(firing, key=lambda each: each.condition), key=lambda each: each.condition):
        alerts: list[Alert] = list(same)
        duration = duration_of((now - (alerts[0].firing_since or now)).total_seconds())
        names = ", ".join(f"“{alert.name}”" for alert in alerts)
        subject = f"Alert {names} has" if len(alerts) == 1 else f"Alerts {names} have"
        yield AttentionItem(f"{subject} been firing for {duration}. {explain(alerts[0])}", [action], is_grave=True)


def needs(
    site: Site,
    sources: Iterable[site_status.SourceState],
    inbox: site_status.InboxState,
    troubles: site_status.Problems,
    *,
    may_own: bool,
    now: datetime,
) -> Iterable[AttentionItem]:
    """Yield what needs attention, without alerts. Pure."""
    yield from queue_needs(site, inbox, may_own=may_own, now=now)
    settings = page_of(site, "settings-sources")
    for one, other, count in troubles.duplicates:
        sentence = f"“{one}” and “{other}” are double-counting: {count_of(count, 'event')} so far."
        yield AttentionItem(sentence, [("Stop counting one of them", settings)])
    for source in sources:
        if not source.is_enabled and source.came.received:
            yield AttentionItem(
                f"“{source.name}” is disabled; its events are rejected and stored.", [("Sources", settings)]
            )
        elif source.is_silent(now):
            last = f"{source.came.last_received_at:%Y-%m-%d %H:%M:%S} UTC"
            yield AttentionItem(f"No events from “{source.name}” since {last}.", [("Sources", settings)])
    for goal in troubles.archived:
        name = show_goal_name(goal, template=site.goal_name_template)
        sentence = f"The archived goal “{name}” still counts conversions."
        yield AttentionItem(sentence, [("View goal", page_of(site, "goal", goal.pk))])
    for refused in troubles.refused:
        page, label = PLACES[refused.reason] if may_own else NOT_OF_OWNERS
        yield AttentionItem(refused.sentence, [(label, page_of(site, page))], is_grave=True)


def queue_needs(site: Site, inbox: site_status.InboxState, *, may_own: bool, now: datetime) -> Iterable[AttentionItem]:
    """Yield what is wrong with events that are queued or failed."""
    events = page_of(site, "events")
    if inbox.oldest and now - inbox.oldest > LAG_WARNING:
        duration = duration_of((now - inbox.oldest).total_seconds())
        sentence = f"The oldest event has been queued for {duration}. Is a worker running?"
        yield AttentionItem(sentence, [("Delivery", page_of(site, "delivery"))], is_grave=True)
    if inbox.failed:
        sentence = f"{in_words(inbox.failed)} failed. Fix the cause, then retry."
        yield AttentionItem(sentence, [("Review", f"{events}?outcome=failed")], is_grave=True)
    if inbox.deferred:
        limits = f"{site.goals_per_10_seconds:,} in 10 seconds, {site.goals_per_hour:,} an hour"
        actions = [("Review", f"{events}?outcome=deferred"), ("Group names", page_of(site, "goals-cleanup"))]
        if may_own:
            actions.insert(1, ("Raise limit", page_of(site, "settings")))
        verb = "is" if inbox.deferred == 1 else "are"
        yield AttentionItem(
            f"{in_words(inbox.deferred)} {verb} queued: the new-goal limit ({limits}) is reached.", actions
        )


def in_words(count: int) -> str:
    """Return `1 event` or `10,000 events or more`: no more are counted."""
    more = " or more" if count >= site_status.MOST_COUNTED else ""
    return f"{count_of(min(count, site_status.MOST_COUNTED), 'event')}{more}"
